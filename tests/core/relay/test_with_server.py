"""Relays and the real server, in virtual time."""

from __future__ import annotations

import pytest

from ghostwire.errors import Refused
from ghostwire.keys import NodeKey
from ghostwire.testing import simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.relays import MemoryRelay


def admits(relay: MemoryRelay, node: MemoryNode) -> bool:
    assert relay.running is not None
    return relay.running.relaying.admits(node.node._identity.node_key.public(NodeKey))


def links(relay: MemoryRelay) -> float:
    assert relay.running is not None
    assert not hasattr(relay.running.serving, "slots")
    return relay.running.serving.metrics.values()["ghostwire_relay_mesh_links"]


@simulated
async def test_an_enrolled_relay_serves_the_meshs_nodes_as_they_come_and_go() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice = await mesh.join("alice")
        relay = await mesh.relay("r1", "west")
        await mesh.until(lambda: admits(relay, alice), "the relay should admit whom it found")
        bob = await mesh.join("bob")
        await mesh.until(lambda: admits(relay, bob), "the relay should admit who joins")
        key = bob.node._identity.node_key.public(NodeKey)
        (node,) = [node for node in await mesh.server.nodes() if node["name"] == "bob"]
        await mesh.server.request("DELETE", f"/api/v1/nodes/{node['id']}")
        assert relay.running is not None
        relaying = relay.running.relaying
        await mesh.until(lambda: not relaying.admits(key), "the relay should admit the removed no longer")
        assert admits(relay, alice)


@simulated
async def test_a_relay_restarts_while_its_server_is_away_and_finds_it_again() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, relay = await mesh.join("alice"), await mesh.relay("r1", "west")
        await mesh.until(lambda: admits(relay, alice), "the relay should admit alice")
        await mesh.server.stop()
        await relay.restart()
        assert admits(relay, alice)
        assert not relay.connected
        await mesh.server.start()
        await mesh.until(lambda: relay.connected, "the relay should be back", timeout=120)


@simulated
async def test_a_deleted_relay_stops() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        relay = await mesh.relay("r1", "west")
        (record,) = [r for r in (await mesh.server.request("GET", "/api/v1/relays"))["relays"] if r["name"] == "r1"]
        await mesh.server.request("DELETE", f"/api/v1/relays/{record['id']}")
        assert relay.running is not None
        with pytest.raises(Refused, match="the server has removed this relay"):
            await relay.running.ended


@simulated
async def test_relays_of_one_region_are_linked_and_others_are_not() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        one, two, far = [await mesh.relay(name, region) for name, region in (("r1", "w"), ("r2", "w"), ("r3", "e"))]
        await mesh.until(lambda: links(one) == links(two) == 1, "relays of a region should be linked")
        assert links(far) == 0
        await two.stop()
        await mesh.until(lambda: links(one) == 0, "a relay that is gone is linked no more")
        await two.start()
        await mesh.until(lambda: links(one) == links(two) == 1, "a relay that is back is linked again")


@simulated
async def test_the_relay_in_the_server_is_linked_to_those_of_its_region() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        relay = await mesh.relay("r1", mesh.server.config.region)
        server = mesh.server.running
        assert server is not None
        await mesh.until(
            lambda: links(relay) == server.metrics.values()["ghostwire_relay_mesh_links"] == 1,
            "the server's own relay should be linked",
        )
