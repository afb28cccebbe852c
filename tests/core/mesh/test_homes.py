"""Nodes measure relays, choose a home and keep it; in memory, with the real relays."""

from __future__ import annotations

import asyncio

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.errors import Unavailable
from ghostwire.node.routes import routes
from ghostwire.testing import Link, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh

NEAR, FAR = Link(latency=5 * MILLISECOND), Link(latency=60 * MILLISECOND)


def home(node: MemoryNode) -> str:
    """The home's name, once the node is connected to it."""
    status = node.status.home
    return status.name if status is not None and status.connected else ""


async def settled(mesh: MemoryMesh, node: MemoryNode, region: str, timeout: float = 60) -> None:
    await mesh.until(lambda: home(node) == region, f"{node.name} should be at home in {region}", timeout=timeout)


def stun_sent(mesh: MemoryMesh, node: MemoryNode) -> list[tuple[str, int]]:
    """Every STUN request that the node sends from now on."""
    sent: list[tuple[str, int]] = []

    def see(host: object, target: tuple[str, int], payload: bytes) -> None:
        if host is node.host and payload[4:8] == b"\x21\x12\xa4\x42":
            sent.append(target)

    mesh.network.taps.append(see)
    return sent


@simulated
async def test_a_node_reports_its_home_and_the_others_learn_it() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await settled(mesh, alice, "home")
        known = bob.node._knowledge.network.nodes.values()
        await mesh.until(lambda: all(node.home is not None for node in known), "bob should know alice's home")


@simulated
async def test_where_udp_is_blocked_the_home_is_chosen_over_https() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        near = await mesh.relay("near", "near")
        alice = await mesh.add("alice")
        mesh.network.link(alice.host, near.host, Link(latency=5 * MILLISECOND, datagrams=False))
        mesh.network.link(alice.host, mesh.server.host, Link(latency=60 * MILLISECOND, datagrams=False))
        await alice.node.up(await mesh.server.token())
        await settled(mesh, alice, "near")
        report = await alice.node.netcheck()
        assert (report.udp, report.ipv4, report.mapped_ipv4) == (False, False, "")
        assert {each.name: (each.ipv4_ms, round(each.https_ms or 0)) for each in report.regions} == {
            "home": (None, 120),
            "near": (None, 10),
        }


@simulated
async def test_a_relay_that_comes_is_used_and_one_that_goes_is_left() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = FAR
        alice = await mesh.join("alice")
        await settled(mesh, alice, "home")
        relay = await mesh.relay("near", "near")
        mesh.network.link(alice.host, relay.host, NEAR)
        await alice.node.netcheck()
        await settled(mesh, alice, "near")
        await mesh.server.request("DELETE", "/api/v1/relays/near")
        await settled(mesh, alice, "home")


@simulated
async def test_a_region_that_drains_is_left_for_another() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = FAR
        near = await mesh.relay("near", "near")
        alice = await mesh.add("alice")
        mesh.network.link(alice.host, near.host, NEAR)
        await alice.node.up(await mesh.server.token())
        await settled(mesh, alice, "near")
        await mesh.server.request("POST", "/api/v1/relays/near/drain")
        await settled(mesh, alice, "home")
        await mesh.server.request("POST", "/api/v1/relays/near/undrain")
        await settled(mesh, alice, "near")


@simulated
async def test_a_relay_that_answers_but_lets_nobody_in_is_no_home_for_long() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = FAR
        near = await mesh.relay("near", "near")
        alice = await mesh.add("alice")
        mesh.network.link(alice.host, near.host, NEAR)
        near.host.listeners[443].close()
        await alice.node.up(await mesh.server.token())
        await settled(mesh, alice, "home", timeout=180)
        await asyncio.sleep(300)
        assert home(alice) == "home"


@simulated
async def test_an_idle_node_asks_only_every_five_minutes() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice = await mesh.join("alice")
        await settled(mesh, alice, "home")
        sent = stun_sent(mesh, alice)
        await asyncio.sleep(299)
        assert sent == []
        await asyncio.sleep(3600)
        assert 12 <= len(sent) <= 13


@simulated
async def test_a_node_that_moves_looks_at_its_new_network() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice = await mesh.join("alice")
        await settled(mesh, alice, "home")
        sent = stun_sent(mesh, alice)
        alice.host.move("198.51.100.77")
        await asyncio.sleep(5)
        assert sent
        assert (await alice.node.netcheck()).mapped_ipv4 == "198.51.100.77:41641"
        await settled(mesh, alice, "home")


@simulated
async def test_two_who_ask_at_once_share_one_look() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice = await mesh.join("alice")
        await settled(mesh, alice, "home")
        sent = stun_sent(mesh, alice)
        one, other = await asyncio.gather(alice.node.netcheck(), alice.node.netcheck())
        assert one == other
        assert len(sent) == 1


@simulated
async def test_a_mesh_without_relays_has_no_home_and_asks_nobody() -> None:
    async with MemoryMesh() as mesh:
        alice = await mesh.join("alice")
        sent = stun_sent(mesh, alice)
        await asyncio.sleep(3600)
        report = await alice.node.netcheck()
        assert (report.regions, report.home, report.udp) == ((), None, None)
        assert alice.status.home is None
        assert sent == []


@simulated
async def test_a_relays_name_is_resolved() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        await mesh.relay("near", "near", host="near")
        alice = await mesh.join("alice")
        report = await alice.node.netcheck()
        assert [each.name for each in report.regions if each.ipv4_ms is not None] == ["home", "near"]


@simulated
async def test_the_local_api_answers_with_a_full_look_and_says_where_there_is_no_node() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice = await mesh.add("alice")
        netcheck = routes(alice.node)["GET", "/v1/netcheck"]
        with pytest.raises(Unavailable, match="gwctl up"):
            await netcheck(b"")
        await alice.node.up(await mesh.server.token())
        await settled(mesh, alice, "home")
        report = await netcheck(b"")
        assert (report.full, report.udp, report.home) == (True, True, report.regions[0].region)
        assert report.reason == "the fastest"


@simulated
async def test_a_home_that_dies_is_left_within_seconds() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = FAR
        near = await mesh.relay("near", "near")
        alice = await mesh.add("alice")
        mesh.network.link(alice.host, near.host, NEAR)
        await alice.node.up(await mesh.server.token())
        await settled(mesh, alice, "near")
        await asyncio.sleep(100)
        await near.kill()
        await settled(mesh, alice, "home", timeout=6)


@simulated
async def test_a_relay_that_restarts_keeps_its_nodes() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        mesh.network.default = FAR
        near = await mesh.relay("near", "near")
        alice = await mesh.add("alice")
        mesh.network.link(alice.host, near.host, NEAR)
        await alice.node.up(await mesh.server.token())
        await settled(mesh, alice, "near")
        await asyncio.sleep(100)
        await near.kill()
        await asyncio.sleep(1)
        await near.start()
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert alice.status.home.name == "near"
        assert home(alice) == "near"
