"""What a node knows of its mesh, and what is left of it once it is to be forgotten."""

import logging
from typing import Any

from ghostwire.model import Cursor, MapChange, MapRelay
from ghostwire.node.identity import Identity
from ghostwire.node.knowledge import Knowledge
from ghostwire.testing import SeededEntropy, simulated
from ghostwire.wire.messages import Welcome


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
