"""A whole node in virtual time: going down, logging out, being removed."""

import asyncio
import contextlib
import re
from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.errors import Unavailable
from ghostwire.testing import simulated
from ghostwire.wire.messages import Leave

DAY = 24 * 3600


@simulated
async def test_down_takes_the_interface_away_and_is_remembered(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await node.down()
    assert node.state == "stopped"
    assert rig.platform.config is None
    assert rig.platform.devices["gw0"].closed
    assert rig.transports[0].receive is None
    assert rig.server.channel.heard(Leave) == [Leave()]
    await node.close()
    node = rig.node()
    await node.start()
    await asyncio.sleep(10)
    assert (node.state, len(rig.server.attempts)) == ("stopped", 1)
    await node.up()
    assert node.state == "running"
    await node.down()
    await node.up()
    assert rig.platform.config == kit.CONFIG
    await node.close()


@simulated
async def test_a_server_that_comes_back_just_then_does_not_undo_down(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    restore = rig.platform.restore

    async def slowly() -> None:
        rig.server.channel.cut()
        await asyncio.sleep(3)  # in which the session is opened anew
        assert len(rig.server.channels) == 2
        await restore()

    rig.platform.restore = slowly
    await node.down()
    assert node.state == "stopped"
    await node.close()
    node = rig.node()
    await node.start()
    assert node.state == "stopped"
    await node.close()


@simulated
async def test_logout_tells_the_server_forgets_it_and_takes_new_keys(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await node.down(logout=True)
    assert rig.server.channel.heard(Leave) == [Leave(logout=True)]
    assert node.state == "needs-login"
    assert not (rig.state / "map.cache").exists()
    assert not (rig.state / "server.json").exists()
    status = node.status()
    assert (status.own, status.peers, status.server.url) == (None, (), "")
    await node.up(rig.token)
    first, second = rig.server.hellos
    assert first.node_key != second.node_key
    assert second.cursor is None
    await node.close()


@simulated
async def test_logout_while_down_still_tells_the_server(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await node.down()
    await node.down(logout=True)
    assert [channel.heard(Leave) for channel in rig.server.channels] == [[Leave()], [Leave(logout=True)]]
    assert node.state == "needs-login"
    await node.close()


@simulated
async def test_a_logout_that_the_server_does_not_confirm_leaves_a_member_that_is_down(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.down = Unavailable("away")
    rig.server.channel.cut()
    await asyncio.sleep(0.01)
    began = rig.clock.now()
    with pytest.raises(Unavailable, match=r"not logged out, only down: .*\(away\).* --force"):
        await node.down(logout=True)
    assert rig.clock.now() - began == pytest.approx(10 * SECOND)
    assert (node.state, rig.platform.config) == ("stopped", None)
    rig.server.down = None
    await node.down(logout=True)
    assert node.state == "needs-login"
    await node.close()


@simulated
async def test_a_forced_logout_needs_no_server(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.down = Unavailable("away")
    rig.server.channel.cut()
    await node.down(logout=True, force=True)
    assert node.state == "needs-login"
    assert not (rig.state / "server.json").exists()
    assert "remove this node there" in caplog.text
    await node.close()


@simulated
async def test_a_goodbye_into_a_dead_session_is_said_again_in_a_new_one(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.channel.send = lambda message: True  # what is said there reaches nobody
    await node.down(logout=True)
    assert [channel.heard(Leave) for channel in rig.server.channels] == [[], [Leave(logout=True)]]
    assert node.state == "needs-login"
    await node.close()


@pytest.mark.parametrize(("code", "state"), [("login-required", "needs-login"), ("key-expired", "stopped")])
@simulated
async def test_a_server_that_does_not_know_the_node_confirms_by_that(kit: Any, code: str, state: str) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.confirms = False
    rig.server.answer = kit.refuse(code)
    with contextlib.suppress(Unavailable):
        await node.down(logout=True)
    assert node.state == state
    await node.close()


@simulated
async def test_closing_leaves_nothing_behind_and_keeps_what_is_wanted(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await node.close()
    await node.close()
    assert rig.platform.config is None
    assert rig.platform.devices["gw0"].closed
    assert (rig.tunnel.running, rig.transports[0].receive) == (False, None)
    assert re.search(r"remove address 100\.64\.0\.1/32 on gw0", "\n".join(rig.platform.changes))
    assert list(rig.parts().metrics) == []


@simulated
async def test_a_removed_node_forgets_its_membership(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.channel.say(*kit.refuse("removed")(None))
    await asyncio.sleep(1)
    assert node.state == "needs-login"
    assert rig.platform.config is None
    await asyncio.sleep(DAY)
    assert len(rig.server.attempts) == 1
    await node.close()
