"""A relay enrols, is told whom to serve, and goes on without its server."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghostwire import Load, Siblings
from ghostwire.config import RelayConfig
from ghostwire.errors import AuthenticationFailed, Conflict, PlatformError, Refused, StateError, UsageError
from ghostwire.keys import ControlKey, RelayKey
from ghostwire.testing import simulated
from ghostwire.wire import messages
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import AdmittedKeys, RelayLoad, RelaySiblings

from .conftest import CONTROL, MESH_KEY, TOKEN, URL, Rig, Stun, key, relay


@simulated
async def test_a_relay_enrols_with_its_token_once(rig: Rig) -> None:
    async with rig.running(TOKEN) as program:
        await program.known()
        hello = rig.server.hellos[0]
        assert hello.credentials == messages.Credentials("relay", "gwrelay-secret")
        assert hello.key == program.relaying.private_key.public(RelayKey)
        assert hello.proof == b"proof of " + hello.key.raw
        assert hello.stun_port == 3478
        rig.server.channel.tell(None)
        await asyncio.sleep(5)
        assert rig.server.hellos[-1].credentials is None
    async with rig.running() as program:
        assert program.connected
        assert rig.server.hellos[-1].key == hello.key
        assert rig.server.hellos[-1].credentials is None


@simulated
async def test_it_serves_the_admitted_alone_and_the_removed_no_longer(rig: Rig) -> None:
    async with rig.running(TOKEN) as program:
        relaying = program.relaying
        assert [relaying.admits(key(number)) for number in (1, 2, 3)] == [True, True, False]
        rig.server.channel.tell(AdmittedKeys(keys=(key(3),), removed=(key(1), key(9))))
        await asyncio.sleep(0.01)
        assert [relaying.admits(key(number)) for number in (1, 2, 3)] == [False, True, True]
        assert rig.plugins.upgrade.removed == [key(1)]
        rig.server.channel.tell(AdmittedKeys(full=True, keys=(key(3),)))
        await asyncio.sleep(0.01)
        assert rig.plugins.upgrade.removed == [key(1), key(2)]


@simulated
async def test_before_it_was_told_anything_it_admits_nobody(rig: Rig) -> None:
    rig.server.up = False
    async with rig.running(TOKEN) as program:
        assert not program.relaying.admits(key(1))
        rig.server.up = True
        await program.known()
        await asyncio.sleep(0.01)
        assert program.relaying.admits(key(1))


@simulated
async def test_a_restarted_relay_serves_while_its_server_is_away(rig: Rig) -> None:
    async with rig.running(TOKEN):
        rig.server.channel.tell(AdmittedKeys(keys=(key(3),), removed=(key(1),)))
        rig.server.channel.tell(RelaySiblings(relays=(relay(2),)))
        await asyncio.sleep(0.01)
    rig.server.up = False
    async with rig.running() as program:
        await program.known()
        assert [program.relaying.admits(key(number)) for number in (1, 2, 3)] == [False, True, True]
        assert program.relaying.siblings == Siblings((relay(2),), MESH_KEY)
        assert not program.connected
    stored = [rig.folders.relay / name for name in ("admitted", "server.json", "machine.key", "relay.key", "tls.key")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in stored} == {0o600}


@simulated
async def test_what_the_server_told_is_on_disk_seconds_later_even_if_the_relay_is_killed(rig: Rig) -> None:
    async with rig.running(TOKEN):
        await asyncio.sleep(4)
        stored = (rig.folders.relay / "admitted").read_bytes()
    assert key(1).raw in stored


@simulated
async def test_a_damaged_cache_is_dropped(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async with rig.running(TOKEN):
        pass
    (rig.folders.relay / "admitted").write_bytes(b"\x00 nonsense")
    async with rig.running() as program:
        await program.known()
        assert program.relaying.admits(key(1))
    assert "damaged" in caplog.text


@simulated
async def test_the_siblings_are_the_servers_and_the_operators(rig: Rig) -> None:
    own = Siblings((relay(7),), b"\x22" * 32)
    async with rig.running(TOKEN, local=own) as program:
        assert program.relaying.siblings == own
        rig.server.channel.tell(RelaySiblings(relays=(relay(2),)))
        await asyncio.sleep(0.01)
        assert rig.plugins.upgrade.siblings == [Siblings((relay(2), relay(7)), b"\x22" * 32)]


@simulated
async def test_a_removed_relay_stops_and_forgets(rig: Rig) -> None:
    async with rig.running(TOKEN) as program:
        rig.server.channel.tell(messages.Refused(code="removed", message="deleted by an administrator"))
        with pytest.raises(Refused, match="the server has removed this relay") as refusal:
            await program.ended
        assert refusal.value.code == "removed"
        assert not program.relaying.admits(key(1))
        assert rig.plugins.upgrade.removed == [key(1), key(2)]
    with pytest.raises(Refused, match="belongs to no mesh yet"):
        await rig.program().start()
    assert not (rig.folders.relay / "admitted").exists()


@simulated
async def test_a_token_that_is_used_up_ends_the_first_start(rig: Rig) -> None:
    used = JoinToken(URL, "gwrelay-old", CONTROL, scheme="relay").encode()
    async with rig.running(used) as program:
        with pytest.raises(AuthenticationFailed, match="used up"):
            await program.known()


@simulated
async def test_a_server_that_forgot_the_relay_leaves_it_serving(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async with rig.running(TOKEN):
        pass
    rig.server.known = False
    async with rig.running() as program:
        assert program.relaying.admits(key(1))
        assert "does not know this relay" in caplog.text
    async with rig.running(TOKEN) as program:
        await asyncio.sleep(0.01)
        assert program.connected
        assert rig.server.hellos[-1].credentials is not None


@simulated
async def test_it_says_what_it_carries_every_ten_seconds(rig: Rig) -> None:
    async with rig.running(TOKEN):
        rig.plugins.upgrade.carried = Load(clients=3, bytes=50_000)
        await asyncio.sleep(messages.LOAD_INTERVAL)
        rig.plugins.upgrade.carried = Load(clients=2, bytes=50_000)
        await asyncio.sleep(messages.LOAD_INTERVAL)
        loads = [message for message in rig.server.channel.said if isinstance(message, RelayLoad)]
        assert loads == [RelayLoad(clients=3, bytes_per_second=5000), RelayLoad(clients=2, bytes_per_second=0)]


@simulated
async def test_a_new_stun_port_is_told_at_once(rig: Rig) -> None:
    async with rig.running(TOKEN) as program:
        program.relaying.announce(stun_port=3479)
        await asyncio.sleep(0.01)
        assert [hello.stun_port for hello in rig.server.hellos] == [3478, 3478, 3479]


@simulated
async def test_the_certificate_names_the_host_that_the_mesh_knows(rig: Rig) -> None:
    async with rig.running(TOKEN):
        first, second = (hello.certificate for hello in rig.server.hellos)
        assert len(first) == len(second) == 64
        assert first != second
    async with rig.running():
        assert [hello.certificate for hello in rig.server.hellos[2:]] == [second]
        rig.server.relay = msgspec.structs.replace(relay(), host="moved.example")
        rig.server.channel.tell(None)
        await asyncio.sleep(5)
        assert rig.server.hellos[-1].certificate not in (first, second)


@pytest.mark.parametrize(("host", "warned"), [("relay.example", 0), ("another.example", 1)])
def test_a_given_certificate_that_is_for_another_host_is_warned_of(
    rig: Rig, caplog: pytest.LogCaptureFixture, issue: Any, host: str, warned: int
) -> None:
    certificate, private = map(str, issue(host))

    @simulated
    async def enrol() -> None:
        async with rig.running(TOKEN, config=RelayConfig(certificate=certificate, certificate_key=private)):
            assert [hello.certificate for hello in rig.server.hellos] == [""]
            assert caplog.text.count("not for relay.example, as nodes know this relay") == warned

    enrol()


@simulated
async def test_without_tls_there_is_no_certificate(rig: Rig) -> None:
    async with rig.running(TOKEN, config=RelayConfig(tls=False)) as program:
        assert [(hello.tls, hello.certificate) for hello in rig.server.hellos] == [(False, "")]
        assert program.description == "http://relay.example:443: r1, in region home"


@simulated
async def test_an_open_relay_asks_no_server(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async with rig.running(config=RelayConfig(open=True)) as program:
        await program.known()
        assert program.relaying.admits(key(99))
        assert rig.server.attempts == 0
        assert "serves whoever comes" in caplog.text


@pytest.mark.parametrize(
    ("token", "config", "error", "words"),
    [
        (None, RelayConfig(), Refused, "give a join token"),
        (TOKEN, RelayConfig(open=True), UsageError, "leave out the join token"),
        (JoinToken(URL, "x", CONTROL).encode(), RelayConfig(), UsageError, "for nodes; .* gwctl relays create"),
        ("nonsense", RelayConfig(), UsageError, "not a join token"),
    ],
)
def test_what_cannot_begin_says_why(rig: Rig, token: str, config: RelayConfig, error: Any, words: str) -> None:
    @simulated
    async def begin() -> None:
        with pytest.raises(error, match=words):
            await rig.program(token, config).start()
        assert rig.plugins.made == {}

    begin()


@simulated
async def test_a_token_of_another_mesh_is_refused(rig: Rig) -> None:
    async with rig.running(TOKEN):
        pass
    other = JoinToken(URL, "x", ControlKey(b"\x08" * 32), scheme="relay").encode()
    with pytest.raises(Conflict, match="the token is another's"):
        await rig.program(other).start()


@simulated
async def test_a_second_relay_of_the_same_folder_is_refused(rig: Rig) -> None:
    async with rig.running(TOKEN) as program:
        with pytest.raises(StateError, match="already running"):
            await rig.program().start()
        assert program.connected


@simulated
async def test_a_server_that_is_away_is_said_once_each_time(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ghostwire.relay")

    def said() -> int:
        return sum("no answer; trying again" in record.getMessage() for record in caplog.records)

    async with rig.running(TOKEN):
        for absences in (1, 2):
            rig.server.up = False
            rig.server.channel.tell(None)
            await asyncio.sleep(3600)
            assert said() == absences
            rig.server.up = True
            await asyncio.sleep(120)
            assert caplog.records[-1].getMessage() == f"connected to {URL}"


@simulated
async def test_a_service_that_fails_costs_only_itself_and_leaves_nothing_behind(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Stun):
        async def start(self) -> None:
            self.running = True
            raise PlatformError("its port is in use")

    rig.plugins.kinds["ghostwire_services"] = [Broken, Stun]
    async with rig.running(TOKEN):
        assert "stun is not served: its port is in use" in caplog.text
        assert rig.server.hellos[0].stun_port == 3478
    assert [service.running for service in rig.plugins.made["ghostwire_services"]] == [False, False]


@simulated
async def test_a_removed_relay_serves_nobody_though_its_folder_cannot_be_changed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    async with rig.running(TOKEN) as program:
        monkeypatch.setattr(Path, "unlink", refuse)
        rig.server.channel.tell(messages.Refused(code="removed", message="deleted by an administrator"))
        with pytest.raises(Refused, match="the server has removed this relay"):
            await program.ended
        assert not program.relaying.admits(key(1))
        monkeypatch.undo()
