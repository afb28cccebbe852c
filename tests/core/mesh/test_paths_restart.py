"""A node that restarts has forgotten its sessions; whoever talks to it hardly notices."""

from __future__ import annotations

import asyncio

import pytest

from ghostwire.testing import simulated
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.pulse import Pulse

GAP = 4.0


@pytest.mark.parametrize("absence", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("end", ["kill", "stop"])
@simulated
async def test_a_relayed_peer_that_restarts_is_back_within_seconds(end: str, absence: float) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice", at="port-restricted"), await mesh.join("bob", at="UDP blocked")
        await mesh.converged()
        await mesh.at_home()
        await alice.ping(bob)
        async with Pulse(alice, bob, every=0.2) as pulse:
            await asyncio.sleep(10)
            assert alice.via(bob) == "derp"
            began = asyncio.get_running_loop().time()
            await getattr(bob, end)()
            await asyncio.sleep(absence)
            await bob.start()
            await asyncio.sleep(15)
            assert pulse.gap(began) < max(GAP, 2 * absence + 1)
            assert alice.via(bob) == "derp"
