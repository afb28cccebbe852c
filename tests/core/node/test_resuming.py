"""A whole node in virtual time: starting again, with the server or without."""

import asyncio
from typing import Any

import msgspec

from ghostwire.errors import Unavailable
from ghostwire.keys import DiscoKey
from ghostwire.model import Cursor, Endpoint, MapChange, MapNode
from ghostwire.testing import simulated
from ghostwire.wire.messages import PeerEndpoints


def replace_node(change: MapChange, node: MapNode) -> MapChange:
    """The map with this node instead of its namesake."""
    others = tuple(each for each in change.nodes if each.id != node.id)
    return msgspec.structs.replace(change, nodes=(*others, node))


@simulated
async def test_a_restart_resumes_by_cursor_without_credentials(kit: Any) -> None:
    rig = kit.rig()
    await (await rig.joined()).close()
    rig.server.answer = lambda hello: [kit.welcome(hello)]  # nothing has changed
    node = rig.node()
    await node.start()
    await node.up()
    first, second = rig.server.hellos
    assert second.cursor == Cursor(5, b"mark")
    assert second.credentials is None
    assert (first.node_key, first.disco_key) == (second.node_key, second.disco_key)
    assert sorted(rig.tunnel.peers) == [2, 3]
    await node.close()


@simulated
async def test_a_node_starts_and_runs_from_its_cache_while_the_server_is_away(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.channel.say(PeerEndpoints(node=2, endpoints=(Endpoint("udp", "192.0.2.2:41641"),)))
    await asyncio.sleep(1)
    await node.close()
    rig.server.down = Unavailable("nobody listens there")
    node = rig.node()
    await node.start()
    await node.up(timeout=1)
    assert node.state == "running"
    assert rig.platform.config == kit.CONFIG
    rig.tunnel.events.wanted(2)
    assert rig.transports[0].paths["192.0.2.2:41641"].sent[0].startswith(b"TS")
    await asyncio.sleep(3600)
    status = node.status()
    assert (status.server.connected, status.server.last_error) == (False, "nobody listens there")
    rig.server.down = None
    await asyncio.sleep(61)
    assert node.status().server.connected
    assert rig.tunnel.applied == 1  # the session resumed; nothing was torn down
    await node.close()


@simulated
async def test_the_path_that_worked_last_survives_a_crash(kit: Any) -> None:
    rig = kit.rig()
    plain = kit.map_node(2, disco_key=DiscoKey(bytes(32)))  # its path is where it was heard
    rig.server.answer = lambda hello: (kit.welcome(hello), replace_node(kit.full_map(hello), plain))
    node = await rig.joined()
    rig.tunnel.events.authenticated(2, rig.transports[0].path("198.51.100.7:9"))
    await asyncio.sleep(10)
    rig.platform.device.close()  # no node.close(): the process died
    del node
    rig.server.down = Unavailable("away")
    node = rig.node()
    await node.start()
    await node.up(timeout=1)
    rig.tunnel.events.wanted(2)
    assert [path.endpoint for path in node._plane._director._known(2)] == ["198.51.100.7:9"]
    await node.close()


@simulated
async def test_a_damaged_cache_costs_only_waiting_for_the_server(kit: Any) -> None:
    rig = kit.rig()
    await (await rig.joined()).close()
    (rig.state / "map.cache").write_bytes(b"damaged")
    node = rig.node()
    await node.start()
    await node.up()
    assert rig.server.hellos[-1].cursor is None
    assert sorted(rig.tunnel.peers) == [2, 3]
    await node.close()
