"""A mesh with relays: sessions over them, direct paths preferred, homes chosen, regions that die."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.testing import Link, NatKind, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh

OPEN, BLOCKED = Link(), Link(datagrams=False)


def via(node: MemoryNode, other: MemoryNode) -> str:
    """The transport of the path to that peer."""
    path = node.peer(other.name).path
    return path.transport if path is not None else ""


def block(mesh: MemoryMesh, node: MemoryNode, link: Link = BLOCKED) -> None:
    """Let only streams pass to and from this node."""
    for host in mesh.network.hosts.values():
        if host is not node.host:
            mesh.network.link(node.host, host, link)


async def at_home(mesh: MemoryMesh, nodes: Sequence[MemoryNode], region: str | None = None) -> None:
    """Wait until these nodes are connected to their home, be it that region."""

    def arrived(node: MemoryNode) -> bool:
        home = node.status.home
        return home is not None and home.connected and region in (None, home.name)

    for node in nodes:
        await mesh.until(lambda node=node: arrived(node), f"{node.name} should be at home in {region}", timeout=200)


async def joined(mesh: MemoryMesh, *names: str, blocked: bool = False) -> list[MemoryNode]:
    """Nodes that are at home."""
    nodes = [await mesh.add(name) for name in names]
    for node in nodes if blocked else ():
        block(mesh, node)
    for node in nodes:
        await node.node.up(await mesh.server.token())
    await mesh.converged()
    await at_home(mesh, nodes)
    return nodes


@simulated
async def test_two_nodes_without_udp_talk_through_the_relay() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await joined(mesh, "alice", "bob", blocked=True)
        assert await alice.reach(bob) < 1
        path = alice.peer("bob").path
        assert path is not None
        assert (path.transport, path.relayed, path.region, path.relay) == ("derp", True, "home", "embedded")
        for _ in range(30):  # ten minutes and several sessions
            assert await bob.ping(alice, timeout=1) < 0.1
            await asyncio.sleep(20)
        assert via(alice, bob) == via(bob, alice) == "derp"


@simulated
async def test_where_udp_passes_a_session_is_direct_within_seconds() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await joined(mesh, "alice", "bob")
        assert await alice.reach(bob) < 1
        await mesh.until(lambda: via(alice, bob) == via(bob, alice) == "memory", "a direct path", timeout=3)
        await asyncio.sleep(150)
        await alice.ping(bob, timeout=1)
        for _ in range(30):
            await asyncio.sleep(1)
            await alice.ping(bob, timeout=1)
            assert via(alice, bob) == via(bob, alice) == "memory"
            await asyncio.sleep(20)


@pytest.mark.parametrize("kind", [NatKind.FULL_CONE, NatKind.ADDRESS_RESTRICTED, NatKind.PORT_RESTRICTED])
@simulated
async def test_two_nodes_behind_easy_translators_begin_over_the_relay_and_become_direct(kind: NatKind) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        nodes = []
        for number, name in enumerate(("alice", "bob")):
            nat = mesh.network.nat(f"nat-{name}", f"203.0.113.{number + 1}", kind)
            nodes.append(await mesh.join(name, address=f"10.0.{number}.2", nat=nat))
        alice, bob = nodes
        await mesh.converged()
        await at_home(mesh, nodes)
        assert await alice.reach(bob) < 1
        await mesh.until(lambda: via(alice, bob) == via(bob, alice) == "memory", "a direct path", timeout=10)
        assert await alice.ping(bob) < 0.05


@simulated
async def test_two_nodes_behind_hard_translators_stay_on_the_relay() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        nodes = []
        for number, name in enumerate(("alice", "bob")):
            nat = mesh.network.nat(f"nat-{name}", f"203.0.113.{number + 1}", NatKind.SYMMETRIC)
            nodes.append(await mesh.join(name, address=f"10.0.{number}.2", nat=nat))
        alice, bob = nodes
        await mesh.relay("second", "home")
        await mesh.converged()
        await at_home(mesh, nodes)
        for _ in range(30):
            await alice.reach(bob, timeout=3)
            await asyncio.sleep(10)
        assert via(alice, bob) == via(bob, alice) == "derp"
        assert (await alice.node.netcheck()).mapping_varies is True


@simulated
async def test_when_udp_is_cut_off_a_session_goes_on_over_the_relay_and_comes_back() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await joined(mesh, "alice", "bob")
        await alice.reach(bob)
        await mesh.until(lambda: via(alice, bob) == "memory", "a direct path", timeout=5)
        block(mesh, alice)
        assert await alice.reach(bob) < 2.5
        await mesh.until(lambda: via(alice, bob) == "derp", "the relay alone", timeout=5)
        for _ in range(20):
            await bob.ping(alice, timeout=1)
            await asyncio.sleep(10)
        block(mesh, alice, OPEN)
        for _ in range(30):
            await bob.ping(alice, timeout=1)
            await asyncio.sleep(5)
        assert via(alice, bob) == via(bob, alice) == "memory"


@pytest.mark.parametrize("speaks", ["alice", "bob"])
@simulated
async def test_where_udp_passes_one_way_only_the_relay_carries_the_other(speaks: str) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await joined(mesh, "alice", "bob")
        mesh.network.link(alice.host, bob.host, OPEN, BLOCKED)
        one, other = (alice, bob) if speaks == "alice" else (bob, alice)
        assert await one.reach(other) < 10
        for _ in range(120):
            assert await one.reach(other) < 2
            await asyncio.sleep(5)


@simulated
async def test_a_session_lives_through_udp_that_comes_and_goes_one_way() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await joined(mesh, "alice", "bob")
        await alice.reach(bob)
        for there, back in ((OPEN, BLOCKED), (OPEN, OPEN), (BLOCKED, OPEN), (BLOCKED, BLOCKED), (OPEN, OPEN)):
            mesh.network.link(alice.host, bob.host, there, back)
            assert await alice.reach(bob) < 30
            for _ in range(30):
                await alice.reach(bob, timeout=30)
                await asyncio.sleep(5)


@simulated
async def test_nodes_choose_the_nearest_region_and_reach_each_other_across_regions() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        fra, nyc = await mesh.relay("fra1", "fra"), await mesh.relay("nyc1", "nyc")
        nodes = [await mesh.add(name) for name in ("alice", "bob")]
        alice, bob = nodes
        for node, near in ((alice, fra), (bob, nyc)):
            block(mesh, node, Link(latency=90 * MILLISECOND))
            mesh.network.link(node.host, near.host, Link(latency=5 * MILLISECOND))
            await node.node.up(await mesh.server.token())
        mesh.network.link(alice.host, bob.host, BLOCKED)
        await mesh.converged()
        await at_home(mesh, [alice], "fra")
        await at_home(mesh, [bob], "nyc")
        assert await alice.reach(bob) < 3
        path = alice.peer("bob").path
        assert path is not None
        assert (path.region, path.relay) == ("nyc", "nyc1")
        report = await alice.node.netcheck()
        assert report.udp
        assert {each.name: round(each.latency_ms or 0) for each in report.regions} == {
            "home": 180,
            "fra": 10,
            "nyc": 180,
        }


@simulated
async def test_when_a_region_dies_its_nodes_move_and_their_peers_find_them() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        fra = await mesh.relay("fra1", "fra")
        mesh.network.default = Link(latency=40 * MILLISECOND)
        alice, bob = await mesh.add("alice"), await mesh.add("bob")
        for node in (alice, bob):
            block(mesh, node)
            mesh.network.link(node.host, fra.host, Link(latency=5 * MILLISECOND))
            mesh.network.link(node.host, mesh.server.host, Link(latency=40 * MILLISECOND))
            await node.node.up(await mesh.server.token())
        await at_home(mesh, [alice, bob], "fra")
        await alice.reach(bob)
        await fra.kill()
        await at_home(mesh, [alice, bob], "home")
        assert await alice.reach(bob) < 40
        await mesh.until(lambda: via(alice, bob) == "derp", "a path", timeout=10)
        path = alice.peer("bob").path
        assert path is not None
        assert path.region == "home"


@simulated
async def test_a_relay_that_restarts_costs_seconds() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        relay = await mesh.relay("near", "near")
        alice, bob = await mesh.add("alice"), await mesh.add("bob")
        for node in (alice, bob):
            block(mesh, node)
            mesh.network.link(node.host, relay.host, Link(latency=MILLISECOND))
            mesh.network.link(node.host, mesh.server.host, Link(latency=90 * MILLISECOND))
            await node.node.up(await mesh.server.token())
        await at_home(mesh, [alice, bob], "near")
        await alice.reach(bob)
        await relay.restart()
        assert await alice.reach(bob) < 15
        await at_home(mesh, [alice, bob], "near")


@simulated
async def test_while_the_server_is_away_relays_carry_on_and_homes_stay() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        near = await mesh.relay("near", "near")
        alice, bob = await mesh.add("alice"), await mesh.add("bob")
        for node in (alice, bob):
            block(mesh, node)
            mesh.network.link(node.host, near.host, Link(latency=MILLISECOND))
            mesh.network.link(node.host, mesh.server.host, Link(latency=90 * MILLISECOND))
            await node.node.up(await mesh.server.token())
        await at_home(mesh, [alice, bob], "near")
        await alice.reach(bob)
        await mesh.server.stop()
        await alice.restart()
        await at_home(mesh, [alice], "near")
        assert await alice.reach(bob) < 15
        await asyncio.sleep(700)
        assert await bob.reach(alice) < 15
        await at_home(mesh, [alice, bob], "near")


@simulated
async def test_a_node_behind_a_translator_tells_peers_the_address_that_relays_see() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        nat = mesh.network.nat("nat", "203.0.113.1", NatKind.PORT_RESTRICTED)
        alice = await mesh.join("alice", address="10.0.0.2", nat=nat)
        await at_home(mesh, [alice])
        report = await alice.node.netcheck()
        assert report.mapped_ipv4 == "203.0.113.1:41641"
        (shown,) = await mesh.server.nodes()
        assert "203.0.113.1:41641" in str(shown)
