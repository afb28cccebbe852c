"""A whole node, in virtual time, against a server's double."""

import asyncio
import contextlib
import re
from typing import Any

import pytest

from ghostwire import NetworkConfig, Provider, Service
from ghostwire.engine import SECOND
from ghostwire.errors import (
    AuthenticationFailed,
    Conflict,
    GhostwireError,
    NotFound,
    PermissionDenied,
    PlatformError,
    Refused,
    RemoteProtocolError,
    Unavailable,
    UsageError,
)
from ghostwire.keys import ControlKey
from ghostwire.model import Cursor, Endpoint, MapChange
from ghostwire.node.daemon import Order
from ghostwire.node.daemon import _come_up as come_up
from ghostwire.node.fanout import FanOut
from ghostwire.testing import Network, simulated
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import Interest, Leave, PeerEndpoints, Report

CONFIG = NetworkConfig("gw0", 1280, ("100.64.0.1/32", "fd00:1:2::6440:1/128"), ("100.64.0.0/10", "fd00:1:2::/48"))
DAY = 24 * 3600


# -- joining


@simulated
async def test_a_join_token_brings_a_node_into_the_mesh(kit: Any) -> None:
    rig = kit.rig()
    node = rig.node()
    await node.start()
    assert node.state == "needs-login"
    await node.up(rig.token)
    assert node.state == "running"
    assert rig.platform.config == CONFIG
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
async def test_text_that_is_no_token_is_a_usage_error_that_does_not_repeat_it(kit: Any) -> None:
    node = kit.rig().node()
    await node.start()
    with pytest.raises(UsageError) as caught:
        await node.up("gwjoin-rubbish")
    assert "rubbish" not in str(caught.value)
    assert node.state == "needs-login"
    await node.close()


@pytest.mark.parametrize("code", ["authentication-failed", "conflict", "protocol"])
def test_a_refused_token_is_an_error_and_is_not_tried_again(kit: Any, code: str) -> None:
    @simulated
    async def run() -> None:
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

    run()


@pytest.mark.parametrize("error", [AuthenticationFailed("another server"), RemoteProtocolError("no GhostWire server")])
def test_a_token_for_another_server_is_an_error_at_once(kit: Any, error: GhostwireError) -> None:
    @simulated
    async def run() -> None:
        rig = kit.rig()
        rig.server.down = error
        node = rig.node()
        await node.start()
        with pytest.raises(type(error), match=str(error)):
            await node.up(rig.token)
        assert node.state == "needs-login"
        await node.close()

    run()


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


# -- resuming


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
    assert rig.platform.config == CONFIG
    rig.tunnel.events.wanted(2)
    rig.tunnel.paths[2][0].send([b"\x01\0\0\0hello"])
    assert rig.transports[0].paths["192.0.2.2:41641"].sent == [b"\x01\0\0\0hello"]
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
    node = await rig.joined()
    rig.tunnel.events.established(2, rig.transports[0].path("198.51.100.7:9"))
    await asyncio.sleep(10)
    rig.platform.device.close()  # no node.close(): the process died
    del node
    rig.server.down = Unavailable("away")
    node = rig.node()
    await node.start()
    await node.up(timeout=1)
    rig.tunnel.events.wanted(2)
    rig.tunnel.paths[2][0].send([b"\x01\0\0\0hello"])
    assert rig.transports[0].paths["198.51.100.7:9"].sent == [b"\x01\0\0\0hello"]
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


# -- the map


@simulated
async def test_a_delta_adds_and_removes_peers_and_an_empty_one_touches_nothing(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    channel, changes = rig.server.channel, len(rig.platform.changes)
    channel.say(MapChange(cursor=Cursor(6, b"n"), nodes=(kit.map_node(4),), removed_nodes=(2,)))
    await asyncio.sleep(1)
    assert sorted(rig.tunnel.peers) == [3, 4]
    applied = rig.tunnel.applied
    channel.say(MapChange(cursor=Cursor(7, b"o"), nodes=(kit.map_node(4),)))
    await asyncio.sleep(1)
    assert rig.tunnel.applied == applied
    assert len(rig.platform.changes) == changes
    await node.close()


@simulated
async def test_a_new_own_address_is_configured(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    moved = replace_node(kit.own_node(rig.server.hellos[0]), addresses=("100.64.9.9",), name="renamed")
    rig.server.channel.say(MapChange(cursor=Cursor(6, b"n"), nodes=(moved,)))
    await asyncio.sleep(1)
    assert rig.platform.config == NetworkConfig("gw0", 1280, ("100.64.9.9/32",), ("100.64.0.0/10",))
    assert node.status().own.name == "renamed"
    await node.close()


def replace_node(node: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(node, **changes)


@simulated
async def test_malformed_own_addresses_end_the_session_and_not_the_node(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    broken = replace_node(kit.own_node(rig.server.hellos[0]), addresses=("100.64.0.1/33",))
    rig.server.channel.say(MapChange(cursor=Cursor(6, b"n"), nodes=(broken,)))
    await asyncio.sleep(0.01)
    assert "malformed addresses" in node.status().server.last_error
    assert node.state == "running"
    assert rig.platform.config == CONFIG
    await node.close()


@simulated
async def test_a_restored_older_database_sends_a_full_map_that_replaces_all(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.answer = lambda hello: [kit.welcome(hello), kit.full_map(hello, 7, revision=2)]
    rig.server.channel.cut()
    await asyncio.sleep(2)
    assert sorted(rig.tunnel.peers) == [7]
    await node.close()


@simulated
async def test_a_server_that_forgot_the_node_is_outlived_and_joined_again(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.answer = kit.refuse("login-required")
    rig.server.channel.cut()
    await asyncio.sleep(600)
    assert node.state == "running"
    assert "gwctl up --token-file" in node.status().server.last_error
    assert sorted(rig.tunnel.peers) == [2, 3]
    rig.server.answer = lambda hello: (
        [kit.welcome(hello), kit.full_map(hello, 8)] if hello.credentials else kit.refuse("login-required")(hello)
    )
    await node.up(rig.token)
    assert node.status().server.connected
    await asyncio.sleep(1)
    assert sorted(rig.tunnel.peers) == [8]
    await node.close()


@simulated
async def test_a_token_given_at_a_restart_heals_a_server_that_forgot_the_node(kit: Any) -> None:
    rig = kit.rig()
    await (await rig.joined()).close()
    rig.server.answer = lambda hello: (
        [kit.welcome(hello), kit.full_map(hello)] if hello.credentials else kit.refuse("login-required")(hello)
    )
    node = rig.node()
    await node.start()
    await node.up(rig.token)
    assert [hello.credentials is not None for hello in rig.server.hellos] == [True, False, True]
    await node.close()


# -- going down


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
    assert rig.platform.config == CONFIG
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
def test_a_server_that_does_not_know_the_node_confirms_by_that(kit: Any, code: str, state: str) -> None:
    @simulated
    async def run() -> None:
        rig = kit.rig()
        node = await rig.joined()
        rig.server.confirms = False
        rig.server.answer = kit.refuse(code)
        with contextlib.suppress(Unavailable):
            await node.down(logout=True)
        assert node.state == state
        await node.close()

    run()


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


# -- expiry


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
def test_a_members_daemon_outlives_what_somebody_on_the_way_forges(kit: Any, error: GhostwireError) -> None:
    @simulated
    async def run() -> None:
        rig = kit.rig()
        await (await rig.joined()).close()
        rig.server.down = error
        node, said = rig.node(), list[str]()
        await come_up(node, Order(rig.token, announce=said.append))
        assert said == [f"running: {error}"]
        rig.server.down = None
        await asyncio.sleep(60)
        assert node.status().server.connected
        await node.close()

    run()


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


# -- what the system refuses


@simulated
async def test_a_missing_right_fails_up_with_its_reason_and_is_tried_again(kit: Any) -> None:
    rig = kit.rig()
    opened, reason = rig.platform.open_device, PermissionDenied("interface gw0: run as root")

    async def refuse(name: str, mtu: int) -> Any:
        raise reason

    rig.platform.open_device = refuse
    node = rig.node()
    await node.start()
    with pytest.raises(PermissionDenied, match="run as root"):
        await node.up(rig.token)
    assert (node.state, node.status().trouble) == ("starting", "interface gw0: run as root")
    rig.platform.open_device = opened
    await asyncio.sleep(120)
    assert (node.state, node.status().trouble) == ("running", "")
    await node.close()


@simulated
async def test_a_start_that_fails_half_way_leaves_nothing_behind(kit: Any) -> None:
    rig = kit.rig(transports=[kit.Transport(fails="UDP port 41641 is in use")])
    node = rig.node()
    await node.start()
    with pytest.raises(PlatformError, match="UDP port 41641 is in use"):
        await node.up(rig.token)
    assert rig.platform.devices["gw0"].closed
    assert rig.platform.config is None
    await node.close()


@simulated
async def test_a_transport_that_fails_costs_only_itself(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig = kit.rig(transports=[kit.Transport("broken", fails="no such modem"), kit.Transport("udp")])
    node = await rig.joined()
    assert node.status().transports == ("udp",)
    assert "transport broken: no such modem" in caplog.text
    await node.close()


@simulated
async def test_a_plugins_bug_is_reported_and_survived(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig = kit.rig()
    rig.transports[0].start = lambda receive: 1 / 0
    node = rig.node()
    await node.start()
    with pytest.raises(GhostwireError, match="internal error: ZeroDivisionError"):
        await node.up(rig.token)
    assert rig.platform.devices["gw0"].closed
    del rig.transports[0].start
    await node.up()
    assert node.state == "running"
    await node.close()


class Beacon(Service):
    """A plugin's service."""

    name = "beacon"

    def __init__(self, events: list[str], fails: bool = False) -> None:
        self.events, self.fails = events, fails

    async def start(self) -> None:
        self.events.append("start")
        if self.fails:
            raise PlatformError("no lamp")

    async def close(self) -> None:
        self.events.append("close")


@simulated
async def test_services_run_while_the_node_does_and_one_that_fails_costs_only_itself(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good: list[str] = []
    bad: list[str] = []
    rig = kit.rig()
    rig.overrides = {
        "services": (
            Provider("broken", lambda context: Beacon(bad, fails=True)),
            Provider("beacon", lambda context: Beacon(good)),
        )
    }
    node = await rig.joined()
    assert (node.state, good) == ("running", ["start"])
    assert "service broken: no lamp" in caplog.text
    await node.down()
    assert (good, bad) == (["start", "close"], ["start", "close"])
    await node.close()


# -- reports, interest, paths


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
    await asyncio.sleep(60)
    assert rig.server.channel.heard(Interest)[1:] == [Interest(node=2, wanted=False)]
    await node.close()


@simulated
async def test_the_servers_endpoints_reach_a_search_under_way(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.tunnel.events.wanted(2)
    (search,) = rig.tunnel.paths[2]
    assert isinstance(search, FanOut)
    search.send([b"\x01\0\0\0hello"])
    own_mesh = Endpoint("udp", "100.64.0.2:41641")
    rig.server.channel.say(PeerEndpoints(node=2, endpoints=(own_mesh, Endpoint("udp", "192.0.2.2:7"))))
    await asyncio.sleep(1)
    assert {key: path.sent for key, path in rig.transports[0].paths.items()} == {"192.0.2.2:7": [b"\x01\0\0\0hello"]}
    rig.tunnel.events.established(2, rig.transports[0].path("192.0.2.2:7"))
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
    rig.tunnel.paths[2][0].send([b"\x01\0\0\0hello"])
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


# -- questions


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
def test_a_peer_is_pinged_by_name_or_address(kit: Any, target: str) -> None:
    @simulated
    async def run() -> None:
        node = await kit.rig().joined()
        answer = await node.ping(target)
        assert (answer.address, answer.name, answer.rtt_ms, answer.path) == ("100.64.0.2", "node2", 12.5, None)
        await node.close()

    run()


@simulated
async def test_pinging_nobody_or_while_down_is_an_error(kit: Any) -> None:
    node = await kit.rig().joined()
    with pytest.raises(NotFound, match="no node named bob"):
        await node.ping("bob")
    with pytest.raises(Unavailable, match="no answer"):
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
    assert all(name.startswith("ghostwire_node_") for name in names)
    await node.close()
    assert list(parts.metrics) == []


@simulated
async def test_idle_for_an_hour_a_node_sends_nothing_and_sets_no_timer(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await asyncio.sleep(10)
    said = len(rig.server.channel.sent)
    assert asyncio.get_running_loop()._scheduled == []  # type: ignore[attr-defined]
    await asyncio.sleep(3600)
    assert len(rig.server.channel.sent) == said
    await node.close()
