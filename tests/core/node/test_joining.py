"""A whole node in virtual time, against a server's double: joining."""

import asyncio
from typing import Any

import pytest

from ghostwire.errors import (
    AuthenticationFailed,
    Conflict,
    GhostwireError,
    Refused,
    RemoteProtocolError,
    Unavailable,
    UsageError,
)
from ghostwire.keys import ControlKey
from ghostwire.testing import simulated
from ghostwire.wire.jointoken import JoinToken

DAY = 24 * 3600


@simulated
async def test_a_join_token_brings_a_node_into_the_mesh(kit: Any) -> None:
    rig = kit.rig()
    node = rig.node()
    await node.start()
    assert node.state == "needs-login"
    await node.up(rig.token)
    assert node.state == "running"
    assert rig.platform.config == kit.CONFIG
    assert sorted(rig.tunnel.peers) == [2, 3]
    assert rig.tunnel.running
    (hello,) = rig.server.hellos
    assert (hello.credentials.scheme, hello.credentials.secret) == ("auth_key", "the secret")
    assert hello.cursor is None
    await node.close()


@simulated
async def test_up_without_a_token_and_without_a_membership_says_what_is_missing(kit: Any) -> None:
    node = kit.rig().node()
    await node.start()
    with pytest.raises(Refused, match="join token") as caught:
        await node.up()
    assert caught.value.code == "login-required"
    await node.close()


@simulated
async def test_a_relays_token_lets_no_node_in_and_says_what_would(kit: Any) -> None:
    rig = kit.rig()
    node = rig.node()
    await node.start()
    relays = JoinToken("https://mesh.example.org", "x", ControlKey(bytes(32)), scheme="relay").encode()
    with pytest.raises(UsageError, match=r"for a relay; .* gwctl preauthkeys create"):
        await node.up(relays)
    assert (node.state, rig.server.hellos) == ("needs-login", [])
    await node.close()


@simulated
async def test_text_that_is_no_token_is_a_usage_error_that_does_not_repeat_it(kit: Any) -> None:
    node = kit.rig().node()
    await node.start()
    with pytest.raises(UsageError) as caught:
        await node.up("gwjoin-rubbish")
    assert "rubbish" not in str(caught.value)
    assert node.state == "needs-login"
    await node.close()


@pytest.mark.parametrize("code", ["authentication-failed", "conflict", "protocol"])
@simulated
async def test_a_refused_token_is_an_error_and_is_not_tried_again(kit: Any, code: str) -> None:
    rig = kit.rig()
    rig.server.answer = kit.refuse(code)
    node = rig.node()
    await node.start()
    with pytest.raises(Refused, match=f"no: {code}") as caught:
        await node.up(rig.token)
    assert caught.value.code == code
    await asyncio.sleep(DAY)
    assert len(rig.server.attempts) == 1
    assert node.state == "needs-login"
    await node.close()


@pytest.mark.parametrize("error", [AuthenticationFailed("another server"), RemoteProtocolError("no GhostWire server")])
@simulated
async def test_a_token_for_another_server_is_an_error_at_once(kit: Any, error: GhostwireError) -> None:
    rig = kit.rig()
    rig.server.down = error
    node = rig.node()
    await node.start()
    with pytest.raises(type(error), match=str(error)):
        await node.up(rig.token)
    assert node.state == "needs-login"
    await node.close()


@simulated
async def test_a_server_that_is_away_is_waited_for_until_the_timeout(kit: Any) -> None:
    rig = kit.rig()
    rig.server.down = Unavailable("nobody listens there")
    node = rig.node()
    await node.start()
    with pytest.raises(Unavailable, match="not up after 20 s: nobody listens there"):
        await node.up(rig.token, timeout=20)
    assert node.state == "needs-login"
    coming = asyncio.create_task(node.up(rig.token, timeout=None))
    await asyncio.sleep(3600)
    assert node.state == "starting"
    rig.server.down = None
    await coming
    assert node.state == "running"
    await node.close()


@simulated
async def test_the_asked_for_hostname_is_told_and_kept(kit: Any) -> None:
    rig = kit.rig()
    node = rig.node()
    await node.start()
    await node.up(rig.token, hostname="alice")
    await node.close()
    node = rig.node()
    await node.start()
    await node.up()
    assert [hello.host.hostname for hello in rig.server.hellos] == ["alice", "alice"]
    await node.close()


@simulated
async def test_a_token_of_another_mesh_is_a_conflict(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    other = JoinToken("https://other.example", "s", ControlKey(bytes([9] * 32))).encode()
    with pytest.raises(Conflict, match="gwctl down --logout"):
        await node.up(other)
    assert node.state == "running"
    await node.close()


@simulated
async def test_a_second_token_of_the_same_mesh_is_not_spent(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await node.up(rig.token)
    await node.close()
    node = rig.node()
    await node.start()
    await node.up(rig.token)
    assert [hello.credentials is None for hello in rig.server.hellos] == [False, True]
    await node.close()
