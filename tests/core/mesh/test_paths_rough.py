"""Networks that lose packets, take their time or are crowded: a direct path that works is found and kept."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.testing import Link, simulated
from ghostwire.testing.members import BARE
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.pulse import Pulse

LOSSY = {
    "some": Link(latency=20 * MILLISECOND, jitter=10 * MILLISECOND, loss=0.02),
    "much": Link(latency=40 * MILLISECOND, jitter=20 * MILLISECOND, loss=0.1, reordering=0.02),
}
FAR = {"satellite": 300, "two satellites": 700}
CROWD = 12


async def ways(mesh: MemoryMesh, seconds: int, pulse: float) -> tuple[Counter[str], Pulse]:
    """How often which transports carried a stream of requests, from the first direct path on."""
    alice, bob = await mesh.join("alice", at="port-restricted"), await mesh.join("bob", at="full cone")
    await mesh.converged()
    await mesh.at_home()
    await alice.ping(bob)
    seen: Counter[str] = Counter()
    async with Pulse(alice, bob, every=pulse) as stream:
        await mesh.direct(alice, bob)
        for _ in range(5 * seconds):
            await asyncio.sleep(0.2)
            seen[alice.via(bob)] += 1
    return seen, stream


@pytest.mark.parametrize("loss", LOSSY)
@simulated
async def test_a_direct_path_that_loses_packets_is_kept(loss: str) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = LOSSY[loss]
        seen, stream = await ways(mesh, 40, 0.05)
        assert seen[BARE] > 0.9 * seen.total(), seen
        assert stream.gap() < 0.6


@pytest.mark.parametrize("far", FAR)
@simulated
async def test_a_direct_path_that_takes_its_time_is_kept(far: str) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = Link(latency=FAR[far] * MILLISECOND, jitter=5 * MILLISECOND)
        seen, _ = await ways(mesh, 40, 0.2)
        assert all(BARE in way.split("+") for way in seen), seen
        assert seen[BARE] > 0.8 * seen.total(), seen


@simulated
async def test_everybody_talks_to_everybody_at_once_and_all_find_direct_paths() -> None:
    """Handshakes of so many peers at once are answered late, which says nothing against the paths they go over."""
    async with MemoryMesh(relaying=True) as mesh:
        nodes = [await mesh.join(f"node{number}", at="port-restricted") for number in range(CROWD)]
        await mesh.converged()
        await mesh.at_home()
        pairs = [(one, other) for one in nodes for other in nodes if one.name < other.name]
        await asyncio.gather(*(one.ping(other) for one, other in pairs))
        for one, other in pairs:
            one.device.send_echo(other.addresses[0])
        await asyncio.sleep(2)
        assert Counter(one.via(other) for one, other in pairs) == {BARE: len(pairs)}
