"""A whole node in virtual time: keys that end."""

import asyncio
from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.errors import AuthenticationFailed, GhostwireError, Refused, RemoteProtocolError, Unavailable
from ghostwire.node.daemon import Order
from ghostwire.node.daemon import _come_up as come_up
from ghostwire.testing import simulated

DAY = 24 * 3600


@simulated
async def test_an_expired_key_takes_the_node_down_until_a_token_renews_it(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.answer = kit.refuse("key-expired")
    rig.server.channel.say(*kit.refuse("key-expired")(None))
    await asyncio.sleep(1)
    assert node.state == "expired"
    assert rig.platform.config is None
    with pytest.raises(Refused, match="key-expired"):
        await node.up()
    rig.server.answer = lambda hello: (
        [kit.welcome(hello), kit.full_map(hello)] if hello.credentials else kit.refuse("key-expired")(hello)
    )
    await node.up(rig.token)
    assert node.state == "running"
    assert rig.server.hellos[0].node_key != rig.server.hellos[-1].node_key
    await node.close()


@simulated
async def test_a_renewed_key_is_shown_before_the_map_knows_it(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    old = node.status().own.node_key
    rig.server.channel.say(*kit.refuse("key-expired")(None))
    await asyncio.sleep(1)
    rig.server.answer = lambda hello: [kit.welcome(hello)] if hello.credentials else kit.refuse("key-expired")(hello)
    await node.up(rig.token)
    assert node.status().own.node_key == rig.server.hellos[-1].node_key != old
    await node.close()


@pytest.mark.parametrize("error", [AuthenticationFailed("another server"), RemoteProtocolError("no GhostWire server")])
@simulated
async def test_a_members_daemon_outlives_what_somebody_on_the_way_forges(kit: Any, error: GhostwireError) -> None:
    rig = kit.rig()
    await (await rig.joined()).close()
    rig.server.down = error
    node, said = rig.node(), list[str]()
    await come_up(node, Order(rig.token, announce=said.append))
    assert said == [f"starting: {error}"]
    rig.server.down = None
    await asyncio.sleep(60)
    assert (node.state, node.status().server.connected) == ("running", True)
    await node.close()


@simulated
async def test_an_operator_who_prolongs_an_expired_key_brings_the_node_back(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    accept, rig.server.answer = rig.server.answer, kit.refuse("key-expired")
    rig.server.channel.cut()
    await asyncio.sleep(10)
    assert node.state == "expired"
    rig.server.answer = accept
    await asyncio.sleep(90)
    assert node.state == "running"
    await node.close()


@simulated
async def test_without_the_server_a_key_ends_when_the_welcome_said(kit: Any) -> None:
    rig = kit.rig()
    ends = rig.clock.wall() // SECOND + DAY
    rig.server.answer = lambda hello: [kit.welcome(hello, expires=ends), kit.full_map(hello)]
    node = await rig.joined()
    rig.server.down = Unavailable("away")
    rig.server.channel.cut()
    await asyncio.sleep(DAY - 100)
    assert node.state == "running"
    await asyncio.sleep(200)
    assert node.state == "expired"
    assert rig.platform.config is None
    await node.close()
