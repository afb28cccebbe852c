"""Peers that have nothing to say cost nothing, and the next packet finds its way at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ghostwire.testing import simulated
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.network import Host
from ghostwire.testing.trace import describe

ASLEEP = 60
"""Seconds after the last data by which a session has gone to sleep."""
IDLE = 600
FIRST = 0.3
NODES = 8


@contextmanager
def datagrams(mesh: MemoryMesh) -> Iterator[Counter[str]]:
    """Counts what is sent between nodes, and by nodes to relays, by kind."""
    seen: Counter[str] = Counter()

    def tap(sender: Host, target: tuple[str, int], payload: bytes) -> None:
        seen[f"{describe(payload)} from {'a node' if sender.name in mesh.nodes else 'a relay'}"] += 1

    mesh.network.taps.append(tap)
    yield seen
    mesh.network.taps.remove(tap)


@contextmanager
def timers() -> Iterator[Counter[str]]:
    """Counts the timers that are set, by what they call."""
    loop, seen = asyncio.get_running_loop(), Counter[str]()
    plain = loop.call_at

    def call_at(when: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
        seen[getattr(callback, "__qualname__", repr(callback))] += 1
        return plain(when, callback, *args, **more)

    loop.call_at = call_at  # type: ignore[method-assign]
    yield seen
    loop.call_at = plain  # type: ignore[method-assign]


async def met(mesh: MemoryMesh, count: int, *, talk: bool) -> None:
    """That many nodes behind routers; with ``talk`` the first has a direct path to every other."""
    for number in range(count):
        await mesh.join(f"node{number}", at="port-restricted")
    await mesh.converged()
    await mesh.at_home()
    first, *others = mesh.nodes.values()
    for other in others if talk else ():
        await first.ping(other)
        await mesh.direct(first, other)
    await asyncio.sleep(ASLEEP)


@simulated
async def test_idle_peers_send_each_other_nothing_and_the_next_packet_wakes_them() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        await met(mesh, NODES, talk=True)
        with datagrams(mesh) as seen:
            await asyncio.sleep(IDLE)
        assert {kind for kind in seen if not kind.startswith("STUN")} == set(), seen
        first, *others = mesh.nodes.values()
        for other in others:
            assert await other.ping(first) < FIRST
            assert await mesh.direct(first, other) < 1


async def timers_of_ten_minutes(count: int, *, talk: bool) -> Counter[str]:
    async with MemoryMesh(relaying=True) as mesh:
        await met(mesh, count, talk=talk)
        with timers() as seen:
            await asyncio.sleep(IDLE)
        return seen


def test_the_timers_of_idle_nodes_do_not_depend_on_who_talked_with_whom() -> None:
    strangers, friends = (simulated(timers_of_ten_minutes)(NODES, talk=talk) for talk in (False, True))
    assert friends.total() <= 1.1 * strangers.total() + 10, friends - strangers


@simulated
async def test_an_idle_node_asks_relays_for_its_address_no_more_often_than_for_its_home() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        await met(mesh, 2, talk=True)
        with datagrams(mesh) as seen:
            await asyncio.sleep(IDLE)
        assert seen["STUN from a node"] < 2 * IDLE / 20, seen


@pytest.mark.parametrize("idle", [50, 130, 1000, 4000])
@simulated
async def test_after_any_rest_the_first_packet_arrives_at_once(idle: int) -> None:
    """A rest may be longer than the path's trust, the routers' mappings, or the session's keys."""
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice", at="port-restricted"), await mesh.join("bob", at="full cone")
        await mesh.converged()
        await mesh.at_home()
        await alice.ping(bob)
        await mesh.direct(alice, bob)
        for one, other in ((alice, bob), (bob, alice)):
            await asyncio.sleep(idle)
            assert await one.ping(other) < FIRST
            assert await mesh.direct(one, other) < 1


@simulated
async def test_a_machine_that_moved_while_its_peer_slept_is_found_at_once() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice", at="port-restricted"), await mesh.join("bob", at="full cone")
        await mesh.converged()
        await mesh.at_home()
        await alice.ping(bob)
        await mesh.direct(alice, bob)
        await asyncio.sleep(ASLEEP)
        mesh.move(bob, "port-restricted")
        await asyncio.sleep(ASLEEP)
        assert await alice.ping(bob) < FIRST
        assert await mesh.direct(alice, bob) < 1
