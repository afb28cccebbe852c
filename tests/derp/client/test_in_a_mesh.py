"""Whole nodes between which no datagram passes: their traffic goes through real relays, whatever becomes of those."""

from __future__ import annotations

import asyncio

from ghostwire.engine import MILLISECOND
from ghostwire.testing import Link, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh

STREAMS_ALONE = Link(latency=10 * MILLISECOND, datagrams=False)


async def near_relays(mesh: MemoryMesh, *names: str) -> list[MemoryNode]:
    """Nodes that are at home in the region near, since the server is far away from them."""
    nodes = [await mesh.add(name) for name in names]
    for node in nodes:
        mesh.network.link(mesh.server.host, node.host, Link(latency=80 * MILLISECOND, datagrams=False))
        await node.node.up(await mesh.server.token())
    await mesh.converged()
    await at_home(mesh, *nodes, region="near")
    return nodes


async def at_home(mesh: MemoryMesh, *nodes: MemoryNode, region: str, timeout: float = 60) -> None:
    def settled() -> bool:
        homes = [node.status.home for node in nodes]
        return all(home is not None and home.connected and home.name == region for home in homes)

    await mesh.until(settled, f"all should be at home in {region}", timeout=timeout)


@simulated
async def test_two_nodes_without_udp_talk_through_the_servers_own_relay() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = STREAMS_ALONE
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await at_home(mesh, alice, bob, region="home")
        assert await alice.reach(bob) < 2
        assert 0.04 <= await alice.ping(bob) < 0.045
        assert 0.04 <= await bob.ping(alice, version=6) < 0.045


@simulated
async def test_nodes_of_different_regions_meet_at_the_callees_home() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = Link(latency=50 * MILLISECOND, datagrams=False)
        west, east = await mesh.relay("west", "west"), await mesh.relay("east", "east")
        alice, bob = await mesh.add("alice"), await mesh.add("bob")
        for node, relay in ((alice, west), (bob, east)):
            mesh.network.link(node.host, relay.host, STREAMS_ALONE)
            await node.node.up(await mesh.server.token())
        await mesh.converged()
        await at_home(mesh, alice, region="west")
        await at_home(mesh, bob, region="east")
        await alice.reach(bob)
        assert await alice.ping(bob) < 0.16, "there and back over one of the two relays"


@simulated
async def test_a_relay_that_restarts_interrupts_for_seconds_only() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = STREAMS_ALONE
        near = await mesh.relay("one", "near")
        alice, bob = await near_relays(mesh, "alice", "bob")
        await alice.reach(bob)
        await near.kill()
        await asyncio.sleep(1)
        await near.start()
        assert await alice.reach(bob) < 15


@simulated
async def test_a_region_that_dies_is_left_and_traffic_goes_on() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = STREAMS_ALONE
        near = await mesh.relay("one", "near")
        alice, bob = await near_relays(mesh, "alice", "bob")
        await alice.reach(bob)
        await near.kill()
        assert await alice.reach(bob, timeout=180) < 150
        await at_home(mesh, alice, bob, region="home")


@simulated
async def test_no_ping_is_lost_while_relays_drain() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = STREAMS_ALONE
        await mesh.relay("one", "near")
        await mesh.relay("two", "near")
        alice, bob = await near_relays(mesh, "alice", "bob")
        await alice.reach(bob)
        for drained, filled in (("one", "two"), ("two", "one")):
            await mesh.server.request("POST", f"/api/v1/relays/{filled}/undrain")
            await mesh.server.request("POST", f"/api/v1/relays/{drained}/drain")
            for _ in range(80):
                await alice.ping(bob, timeout=1)
                await asyncio.sleep(0.05)
            for node in (alice, bob):
                met = {stream.remote.name for stream in mesh.network.streams_of(node.host)}
                assert met & {"one", "two"} == {filled}
