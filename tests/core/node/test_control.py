"""The control session: kept open, reopened with backoff."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.errors import AuthenticationFailed, GhostwireError, Refused, RemoteProtocolError, StateError, Unavailable
from ghostwire.keys import DiscoKey, NodeKey
from ghostwire.model import MapChange
from ghostwire.testing import SimulatedLoop, running_clock, simulated
from ghostwire.uplink.control import ANSWER_TIMEOUT, Control, out_of_turn
from ghostwire.wire.messages import Hello, Interest, Leave, PeerEndpoints, Welcome
from ghostwire.wire.messages import Refused as RefusedMessage

LONGEST: Callable[[int], bytes] = lambda size: b"\xff" * size  # noqa: E731


class Listener:
    """What a node hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def hello(self, channel: Any) -> Hello:
        return Hello(protocol=1, node_key=NodeKey(bytes([1] * 32)), disco_key=DiscoKey(bytes([1] * 32)), proof=b"p")

    def welcomed(self, welcome: Any) -> None:
        self.heard.append(("welcomed", welcome))

    def received(self, message: Any) -> None:
        if not isinstance(message, MapChange | PeerEndpoints):
            raise out_of_turn(message)
        self.heard.append(("changed" if isinstance(message, MapChange) else "endpoints", message))

    def refused(self, error: Refused) -> None:
        self.heard.append(("refused", error.code))

    def failed(self, error: GhostwireError) -> None:
        self.heard.append(("failed", type(error)))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.heard]


def controlled(kit: Any) -> tuple[Control, Any, Listener]:
    """A control session that has begun, the server's double, and what is heard. Its waits are the longest."""
    server, listener = kit.Server(), Listener()
    connect = lambda: server.connect(kit.URL, None, None, None, None)  # noqa: E731
    control = Control(connect, listener, Welcome, running_clock(), LONGEST)
    control.start()
    return control, server, listener


def seconds(server: Any) -> list[int]:
    return [round((at - server.attempts[0]) / SECOND) for at in server.attempts]


@simulated
async def test_welcome_and_changes_are_told_in_order(kit: Any) -> None:
    control, server, listener = controlled(kit)
    await asyncio.sleep(1)
    server.channel.say(PeerEndpoints(node=2))
    await asyncio.sleep(1)
    assert listener.kinds == ["welcomed", "changed", "endpoints"]
    assert control.connected
    assert control.send(Interest(node=2))
    assert server.channel.heard(Interest) == [Interest(node=2)]
    await control.close()


@simulated
async def test_a_server_that_is_away_is_asked_at_growing_intervals(kit: Any) -> None:
    control, server, listener = controlled(kit)
    server.down = Unavailable("nobody listens there")
    await asyncio.sleep(3600)
    assert seconds(server)[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert len(server.attempts) == pytest.approx(3600 / 60 + 5, abs=2)
    assert set(listener.heard) == {("failed", Unavailable)}
    assert not control.send(Interest(node=2))
    server.down = None
    await asyncio.sleep(61)
    assert control.connected
    await control.close()


@simulated
async def test_a_session_that_lasted_begins_the_backoff_anew_and_one_that_did_not_goes_on(kit: Any) -> None:
    control, server, _ = controlled(kit)
    for number in range(1, 5):
        while len(server.channels) < number:
            await asyncio.sleep(0.1)
        server.channel.cut()
    await asyncio.sleep(10)
    assert seconds(server) == [0, 1, 3, 7, 15]
    await asyncio.sleep(100)
    server.channel.cut()
    await asyncio.sleep(2)
    assert control.connected
    await control.close()


@simulated
async def test_a_server_that_connects_but_never_answers_is_given_up(kit: Any) -> None:
    control, server, listener = controlled(kit)
    server.answer = lambda hello: []
    await asyncio.sleep(ANSWER_TIMEOUT + 0.5)
    assert listener.heard == [("failed", Unavailable)]
    assert server.channel.closed
    await control.close()


@simulated
async def test_a_refusal_is_told_and_asked_again_after_a_minute_or_when_the_server_said(kit: Any) -> None:
    control, server, listener = controlled(kit)
    server.answer = kit.refuse("login-required")
    await asyncio.sleep(10)
    assert listener.heard == [("refused", "login-required")]
    server.answer = kit.refuse("busy", retry_after=200)
    await asyncio.sleep(320)
    assert seconds(server) == [0, 75, 325]  # each with a quarter of jitter on top
    await control.close()


@simulated
async def test_a_refusal_that_anybody_on_the_way_could_forge_is_only_a_failure(kit: Any) -> None:
    control, server, listener = controlled(kit)
    server.down = AuthenticationFailed("another server answers there")
    await asyncio.sleep(0.5)
    assert listener.heard == [("failed", AuthenticationFailed)]
    await asyncio.sleep(1)
    assert len(server.attempts) == 2
    await control.close()


@simulated
async def test_what_a_server_says_is_one_line_that_drives_no_terminal(kit: Any) -> None:
    control, server, listener = controlled(kit)
    said: list[str] = []
    listener.refused = lambda error: said.append(str(error))  # type: ignore[method-assign]
    server.answer = lambda hello: [RefusedMessage(code="conflict", message="no\n\x1b[2J\x00ERROR forged")]
    await asyncio.sleep(1)
    assert said == ["no [2J ERROR forged"]
    await control.close()


@simulated
async def test_a_refusal_in_mid_session_ends_it(kit: Any) -> None:
    control, server, listener = controlled(kit)
    await asyncio.sleep(1)
    server.channel.say(*kit.refuse("removed")(None))
    await asyncio.sleep(1)
    assert listener.kinds == ["welcomed", "changed", "refused"]
    assert server.channel.closed
    await control.close()


@pytest.mark.parametrize("first", [MapChange, PeerEndpoints])
@simulated
async def test_a_server_that_does_not_welcome_is_given_up(kit: Any, first: type) -> None:
    control, server, listener = controlled(kit)
    server.answer = lambda hello: [PeerEndpoints(node=2)] if first is PeerEndpoints else [kit.full_map(hello)]
    await asyncio.sleep(0.5)
    assert listener.heard == [("failed", RemoteProtocolError)]
    await control.close()


@simulated
async def test_a_link_change_reconnects_at_once_from_any_state(kit: Any) -> None:
    control, server, _ = controlled(kit)
    await asyncio.sleep(5)
    control.hurry()  # while connected
    await asyncio.sleep(0.01)
    assert (len(server.channels), control.connected, server.channels[0].closed) == (2, True, True)
    server.down = Unavailable("away")
    server.channel.cut()
    await asyncio.sleep(40)
    before = len(server.attempts)
    server.down = None
    control.hurry()  # while waiting
    await asyncio.sleep(0.01)
    assert (len(server.attempts), control.connected) == (before + 1, True)
    server.answer = lambda hello: []
    control.hurry()  # while the server does not answer
    await asyncio.sleep(1)
    server.answer = lambda hello: [kit.welcome(hello)]
    control.hurry()
    await asyncio.sleep(0.01)
    assert control.connected
    await control.close()


@simulated
async def test_closing_says_goodbye_and_can_be_repeated(kit: Any) -> None:
    control, server, _ = controlled(kit)
    await asyncio.sleep(1)
    await control.close(Leave())
    await control.close(Leave())
    assert server.channel.heard(Leave) == [Leave()]
    assert server.channel.closed
    control.hurry()
    await asyncio.sleep(100)
    assert len(server.attempts) == 1


@simulated
async def test_a_refusal_that_cannot_be_noted_is_a_failure_and_the_server_is_asked_again(kit: Any) -> None:
    control, server, listener = controlled(kit)

    def full(error: Refused) -> None:
        raise StateError("disk full")

    listener.refused = full  # type: ignore[method-assign]
    server.answer = kit.refuse("key-expired")
    await asyncio.sleep(0.5)
    assert listener.heard == [("failed", StateError)]
    server.answer = lambda hello: [kit.welcome(hello)]
    await asyncio.sleep(1)
    assert control.connected
    await control.close()


def test_a_bug_in_a_listener_is_shown_to_the_loop_and_outlived(kit: Any) -> None:
    async def run() -> list[BaseException]:
        control, server, listener = controlled(kit)
        listener.received = lambda message: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        await asyncio.sleep(0.5)
        assert listener.kinds == ["welcomed", "failed"]
        server.answer = lambda hello: [kit.welcome(hello)]
        await asyncio.sleep(1)
        assert control.connected
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        await control.close()
        failures, loop.failures = loop.failures, []
        return failures

    from ghostwire.testing import simulate

    assert [type(error) for error in simulate(run)] == [ZeroDivisionError]
