"""Opening the control channel over a simulated network: who answers, and who may begin."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.errors import AuthenticationFailed, RemoteProtocolError, Unavailable, UsageError
from ghostwire.keys import PrivateKey
from ghostwire.testing import SeededEntropy, simulated
from ghostwire.wire import messages
from ghostwire.wire.messages import Ping, Refused

MakeRig = Any


class Listening(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


@simulated
async def test_the_server_hears_of_nobody_before_the_hello(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.connect()
    await asyncio.sleep(1)
    assert rig.streams == []
    assert rig.upgrade.unfinished.count == 1


@simulated
async def test_another_server_is_told_apart_by_its_key(make_rig: MakeRig) -> None:
    rig = make_rig()
    with pytest.raises(AuthenticationFailed, match=r"server\.example:8080 has another key than the join token named"):
        await rig.connect(control=PrivateKey.generate(SeededEntropy("other")))
    await asyncio.sleep(1)
    assert (rig.streams, rig.upgrade.streams, rig.upgrade.admission.count) == ([], set(), 0)


@simulated
async def test_a_web_server_is_not_taken_for_one_of_ours(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.upgrade.token = "something-else"
    rig.door._backend.upgrades.clear()
    with pytest.raises(
        RemoteProtocolError, match=r"not a GhostWire server \(answered 404 to the upgrade\); check the URL"
    ):
        await rig.connect()


@pytest.mark.parametrize(
    "url", ["", "server", "ftp://server", "http://", "http://h:99999", "http://h/a b", "http://é\r\n/"]
)
@simulated
async def test_a_url_that_makes_no_sense_is_a_usage_error(make_rig: MakeRig, url: str) -> None:
    rig = make_rig()
    rig.url = url
    with pytest.raises(UsageError, match="not a server's URL"):
        await rig.connect()


@simulated
async def test_nobody_at_the_port_is_unavailable(make_rig: MakeRig) -> None:
    with pytest.raises(Unavailable):
        await make_rig().connect("http://server.example:9")


@simulated
async def test_a_server_that_never_answers_is_given_up_after_ten_seconds(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.server.listen(81, asyncio.Protocol)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(Unavailable, match="no answer within 10 s"):
        await rig.connect("http://server.example:81")
    assert loop.time() - began == pytest.approx(10)
    assert not rig.network.streams_of(rig.host) or all(s.is_closing() for s in rig.network.streams_of(rig.host))


class Scripted(asyncio.Protocol):
    """Answers whatever comes first with ``answer``, then hangs up."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        self._transport.close()


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: %s\r\nconnection: upgrade\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"", Unavailable, "closed the connection without an answer.*https://"),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            RemoteProtocolError,
            "not a GhostWire server .answered something that is not HTTP",
        ),
        (b"HTTP/1.1 503 Busy\r\n\r\n", Unavailable, "busy or restarting .answered 503"),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", RemoteProtocolError, "answered 302 to the upgrade"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\n\r\n", RemoteProtocolError, "answered 404"),
        (SWITCH % b"websocket", RemoteProtocolError, "upgraded to something else"),
        (SWITCH % b"ghostwire-control", Unavailable, "closed the connection"),
        (SWITCH % b"ghostwire-control" + b"\x00\x00", AuthenticationFailed, "has another key"),
        (SWITCH % b"ghostwire-control" + b"\x00\x50" + bytes(80), AuthenticationFailed, "has another key"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70000, RemoteProtocolError, "not HTTP"),
    ],
)
@simulated
async def test_every_other_answer_is_explained(
    make_rig: MakeRig, answer: bytes, error: type[Exception], says: str
) -> None:
    rig = make_rig()
    rig.server.listen(82, lambda: Scripted(answer))
    with pytest.raises(error, match=says) as caught:
        await rig.connect("http://server.example:82")
    assert "\n" not in str(caught.value)


@simulated
async def test_a_cancelled_connect_leaves_no_connection(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.server.listen(83, asyncio.Protocol)
    task = asyncio.create_task(rig.connect("http://server.example:83"))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.sleep(1)
    assert rig.network.streams_of(rig.host) == []


@pytest.mark.parametrize(
    "said",
    [b"", b"garbage", b"\x80", messages.encode(Ping()), messages.encode(Refused(code="x", message="y"))],
    ids=["empty", "garbage", "no-type", "ping", "for-nodes"],
)
@simulated
async def test_a_first_message_that_is_no_hello_is_refused(make_rig: MakeRig, said: bytes) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(said)
    await asyncio.wait_for(node.lost, 2)
    assert [message.code for message in node.heard] == ["protocol"]
    assert (rig.streams, rig.upgrade.unfinished.count, rig.upgrade.counters.violations) == ([], 0, 1)


@simulated
async def test_a_second_hello_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session), rig.hello(node.session))
    await asyncio.wait_for(node.lost, 2)
    assert [message.message for message in node.heard] == ["a second hello in one session"]


@pytest.mark.parametrize("header", ["", "AAAA", "not base64!", "A" * 4000])
@simulated
async def test_a_handshake_header_without_a_message_1_is_refused(make_rig: MakeRig, header: str) -> None:
    rig = make_rig()
    transport, stranger = await rig.host.sockets.connect(Listening, "server.example", 8080)
    head = "GET /control HTTP/1.1\r\nHost: s\r\nConnection: upgrade\r\nUpgrade: ghostwire-control\r\n"
    transport.write(f"{head}GhostWire-Handshake: {header}\r\n\r\n".encode())
    await asyncio.sleep(1)
    assert stranger.heard.startswith(b"HTTP/1.1 101")
    assert stranger.heard.endswith(b"\r\n\r\n" if not header else b"\r\n\r\n\x00\x00")
    assert rig.upgrade.unfinished.count == (0 if header else 1)
