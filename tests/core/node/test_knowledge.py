"""What a node knows of its mesh, and what is left of it once it is to be forgotten."""

import asyncio
import logging
from typing import Any

from ghostwire.model import Cursor, Endpoint, MapChange, MapRelay
from ghostwire.node.identity import Identity
from ghostwire.node.knowledge import AHEAD, Knowledge
from ghostwire.testing import SeededEntropy, simulated
from ghostwire.wire.messages import MAX_ENDPOINTS, PeerEndpoints, Welcome


@simulated
async def test_nothing_is_left_of_what_is_forgotten(kit: Any) -> None:
    known = Knowledge(kit.state, Identity(kit.state, SeededEntropy(1)), logging.getLogger("test"))
    known.welcomed(Welcome(protocol=1, node=kit.map_node(1), domain="mesh.local"))
    relay = MapRelay(id=1, name="r1", region=1, region_name="home", host="relay.example")
    known.changed(MapChange(cursor=Cursor(5, b"m"), full=True, nodes=(kit.map_node(1),), relays=(relay,)))
    known.endpoints[2] = ()
    known.forget()
    network = known.network
    assert (known.own, known.complete, network.cursor, known.endpoints) == (None, False, None, {})
    assert (network.nodes, network.rules, network.sets, network.relays) == ({}, {}, {}, {})
    known.flush()
    assert not (kit.state / "map.cache").exists()


@simulated
async def test_a_server_that_tells_of_very_many_peers_or_places_is_kept_in_bounds(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    places = tuple(Endpoint("udp", text) for text in ("x" * 300, *(f"192.0.2.{each}:7" for each in range(1, 100))))
    for start in range(0, 2000, 100):
        rig.server.channel.say(*(PeerEndpoints(node=id_, endpoints=places) for id_ in range(start + 4, start + 104)))
        await asyncio.sleep(1)
    rig.server.channel.say(PeerEndpoints(node=2, endpoints=places))
    await asyncio.sleep(1)
    held = node._knowledge.endpoints
    assert AHEAD <= len(held) <= AHEAD + 4
    assert 2 in held
    assert all(len(each) == MAX_ENDPOINTS and len(each[0].text) < 300 for each in held.values())
    await node.close()
