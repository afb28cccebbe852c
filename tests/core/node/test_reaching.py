"""A whole node in virtual time: endpoints, interests and paths."""

import asyncio
from typing import Any

from ghostwire.model import Endpoint
from ghostwire.testing import Network, simulated
from ghostwire.wire.messages import Interest, PeerEndpoints, Report


@simulated
async def test_endpoints_are_reported_on_each_connection_with_a_growing_sequence(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.channel.cut()
    await asyncio.sleep(2)
    reports = [report for channel in rig.server.channels for report in channel.heard(Report)]
    assert reports[-1].endpoints == (Endpoint("udp", "192.0.2.9:41641"),)
    assert [report.sequence for report in reports] == sorted({report.sequence for report in reports})
    assert rig.server.channels[1].heard(Report)
    await node.close()
    node = rig.node()
    await node.start()
    await node.up()
    await asyncio.sleep(1)
    assert rig.server.channel.heard(Report)[0].session > reports[0].session
    await node.close()


@simulated
async def test_an_interest_lasts_across_a_reconnect(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.tunnel.events.wanted(2)
    assert rig.server.channel.heard(Interest) == [Interest(node=2)]
    rig.server.channel.cut()
    await asyncio.sleep(2)
    assert rig.server.channel.heard(Interest) == [Interest(node=2)]
    await asyncio.sleep(100)
    assert rig.server.channel.heard(Interest)[1:] == [Interest(node=2, wanted=False)]
    await node.close()


@simulated
async def test_the_servers_endpoints_reach_a_search_under_way(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.tunnel.events.wanted(2)
    assert rig.tunnel.paths[2] == ()
    own_mesh = Endpoint("udp", "100.64.0.2:41641")
    rig.server.channel.say(PeerEndpoints(node=2, endpoints=(own_mesh, Endpoint("udp", "192.0.2.2:7"))))
    await asyncio.sleep(1)
    assert [key for key, path in rig.transports[0].paths.items() if path.sent] == ["192.0.2.2:7"]
    assert all(ping.startswith(b"TS") for ping in rig.transports[0].paths["192.0.2.2:7"].sent)
    rig.tunnel.events.authenticated(2, rig.transports[0].path("192.0.2.2:7"))
    assert rig.tunnel.paths[2] == (rig.transports[0].path("192.0.2.2:7"),)
    assert node.status().peers[0].path.endpoint == "192.0.2.2:7"
    await node.close()


@simulated
async def test_a_server_that_knows_no_endpoints_does_not_displace_the_last_known(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.channel.say(PeerEndpoints(node=2, endpoints=(Endpoint("udp", "192.0.2.2:7"),)))
    rig.server.channel.say(PeerEndpoints(node=2))
    await asyncio.sleep(1)
    rig.tunnel.events.wanted(2)
    assert rig.transports[0].paths["192.0.2.2:7"].sent
    await node.close()


@simulated
async def test_new_local_addresses_reconnect_and_report_at_once(kit: Any) -> None:
    host = Network(seed=1).host("alice", "192.0.2.9")
    rig = kit.rig(host=host)
    node = await rig.joined()
    rig.transports[0].advertised = ["198.51.100.4:41641"]
    host.move("198.51.100.4")
    await asyncio.sleep(1)
    assert len(rig.server.channels) == 2
    assert rig.server.channel.heard(Report)[-1].endpoints == (Endpoint("udp", "198.51.100.4:41641"),)
    host.move("198.51.100.4")  # nothing new
    await asyncio.sleep(10)
    assert len(rig.server.channels) == 2
    await node.close()
