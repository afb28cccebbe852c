"""A whole node in virtual time: what it says of itself, and how little it does unasked."""

import asyncio
from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.errors import NotFound, Unavailable
from ghostwire.testing import simulated


@simulated
async def test_status_shows_this_node_its_server_and_its_peers(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    status = node.status()
    assert (status.state, status.domain, status.interface, status.tunnel) == ("running", "mesh.local", "gw0", "fake")
    assert status.server.url == kit.URL
    assert status.server.last_connected == rig.clock.wall() // SECOND
    assert status.own.addresses == ("100.64.0.1", "fd00:1:2::6440:1")
    assert [peer.name for peer in status.peers] == ["node2", "node3"]
    assert status.counters["ghostwire_node_connected"] == 1
    await node.close()


@pytest.mark.parametrize("target", ["node2", "NODE2", "node2.mesh.local", "node2.mesh.local.", "100.64.0.2"])
@simulated
async def test_a_peer_is_pinged_by_name_or_address(kit: Any, target: str) -> None:
    node = await kit.rig().joined()
    answer = await node.ping(target)
    assert (answer.address, answer.name, answer.rtt_ms, answer.path) == ("100.64.0.2", "node2", 12.5, None)
    await node.close()


@simulated
async def test_pinging_nobody_or_while_down_is_an_error(kit: Any) -> None:
    node = await kit.rig().joined()
    with pytest.raises(NotFound, match="no node named bob"):
        await node.ping("bob")
    with pytest.raises(Unavailable, match="no path to node3: "):
        await node.ping("node3")
    await node.down()
    with pytest.raises(Unavailable, match="gwctl up"):
        await node.ping("node2")
    await node.close()


@simulated
async def test_a_context_carries_the_public_key_and_the_live_map(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    (context,) = rig.contexts
    assert context.node_key == rig.server.hellos[0].node_key
    assert sorted(context.map.nodes) == [1, 2, 3]
    assert rig.tunnel.context.private_key.public_raw == context.node_key.raw
    await node.close()


@simulated
async def test_metrics_of_a_dataplane_do_not_collide_with_its_successors(kit: Any) -> None:
    rig = kit.rig()
    parts = rig.parts()
    rig.overrides = {"metrics": parts.metrics}
    node = await rig.joined()
    names = set(parts.metrics.values())
    await node.down()
    await node.up()
    assert set(parts.metrics.values()) == names
    assert all(name.startswith(("ghostwire_node_", "ghostwire_portmap_")) for name in names)
    await node.close()
    assert list(parts.metrics) == []


@simulated
async def test_idle_for_an_hour_a_node_sends_nothing_and_looks_at_the_clock_once_a_minute(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await asyncio.sleep(10)
    said = len(rig.server.channel.sent)
    loop = asyncio.get_running_loop()
    timers = loop._scheduled  # type: ignore[attr-defined]
    soon = [timer for timer in timers if not timer.cancelled() and timer.when() < loop.time() + 3600]
    assert len(soon) == 1, "whether the machine has slept"
    await asyncio.sleep(3600)
    assert len(rig.server.channel.sent) == said
    await node.close()
