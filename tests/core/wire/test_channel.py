"""The node's and the server's channel, joined by a simulated network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.errors import AuthenticationFailed, RemoteProtocolError, Unavailable, UsageError
from ghostwire.keys import MachineKey, NodeKey, PrivateKey
from ghostwire.server.channel import BURST, MAX_PENDING, RATE, REPORT_COST, SWEEP, ControlStream, Limits
from ghostwire.testing import SeededEntropy, simulated
from ghostwire.wire import messages
from ghostwire.wire.messages import IDLE_TIMEOUT, Interest, Leave, PeerEndpoints, Ping, Pong, Refused, Report
from ghostwire.wire.session import ControlSession
from ghostwire.wire.stream import CLOSE_GRACE, HIGH_WATER

MakeRig = Any


@simulated
async def test_a_node_says_hello_and_both_sides_talk(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    channel.send(Interest(node=7))
    await asyncio.sleep(1)
    (stream,) = rig.streams
    assert stream.machine_key == rig.machine.public(MachineKey)
    assert stream.client == "192.0.2.2"
    assert stream.verify(rig.node_key.public(NodeKey), stream.hello.proof)
    assert rig.inbox == [Interest(node=7)]
    assert stream.send(messages.encode(PeerEndpoints(node=7)))
    assert await channel.receive() == PeerEndpoints(node=7)


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
    with pytest.raises(AuthenticationFailed, match=r"server\.example:8080 is not the one that made this join token"):
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
        (SWITCH % b"ghostwire-control" + b"\x00\x00", AuthenticationFailed, "is not the one"),
        (SWITCH % b"ghostwire-control" + b"\x00\x50" + bytes(80), AuthenticationFailed, "is not the one"),
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


@simulated
async def test_an_idle_session_lives_by_pings_nobody_sees(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(3600)
    assert rig.inbox == []
    assert rig.ended == []
    rig.streams[0].send(messages.encode(PeerEndpoints(node=1)))
    assert await channel.receive() == PeerEndpoints(node=1)


@simulated
async def test_a_ping_is_answered_with_its_number_and_not_shown(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session), Ping(number=41))
    await asyncio.sleep(1)
    assert node.heard == [Pong(number=41)]
    assert rig.inbox == []


@simulated
async def test_the_server_pings_a_node_it_had_nothing_to_tell(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(messages.KEEPALIVE + SWEEP + 1)
    assert node.heard == [Ping()]


@simulated
async def test_a_silent_node_is_given_up(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(IDLE_TIMEOUT - 1)
    assert rig.ended == []
    await asyncio.wait_for(node.lost, SWEEP + 3)
    assert rig.ended == ["the other side was silent for 90 s"]


@simulated
async def test_a_silent_server_is_given_up(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    rig.network.cut(rig.server, rig.host)
    with pytest.raises(Unavailable, match="silent for 90 s"):
        await channel.receive()
    assert not channel.send(Ping())


@simulated
async def test_what_came_before_the_end_is_still_received(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    rig.streams[0].send(messages.encode(Refused(code="removed", message="gone")))
    rig.streams[0].close()
    await asyncio.sleep(1)
    assert await channel.receive() == Refused(code="removed", message="gone")
    with pytest.raises(Unavailable, match="the other side closed the connection"):
        await channel.receive()
    assert rig.ended == ["closed by the server"]


@simulated
async def test_a_broken_connection_says_so(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    rig.network.sever(rig.host, rig.server)
    with pytest.raises(Unavailable, match="the connection broke"):
        await channel.receive()
    await asyncio.sleep(1)
    assert rig.ended[0].startswith("the connection broke")


@simulated
async def test_close_delivers_what_was_sent_and_may_be_called_twice(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    channel.send(Leave())
    await channel.close()
    await channel.close()
    await asyncio.sleep(1)
    assert rig.inbox == [Leave()]
    assert rig.ended == ["the other side closed the connection"]
    with pytest.raises(Unavailable, match="closed"):
        await channel.receive()
    assert rig.upgrade.streams == set()


@simulated
async def test_close_does_not_wait_for_a_server_that_is_cut_off(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    rig.network.cut(rig.server, rig.host)
    began = asyncio.get_running_loop().time()
    await channel.close()
    assert asyncio.get_running_loop().time() - began <= CLOSE_GRACE


@simulated
async def test_a_cancelled_receive_loses_no_message(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(channel.receive(), 1)
    rig.streams[0].send(messages.encode(PeerEndpoints(node=1)))
    await asyncio.sleep(1)
    rig.streams[0].send(messages.encode(PeerEndpoints(node=2)))
    assert [await channel.receive(), await channel.receive()] == [PeerEndpoints(node=1), PeerEndpoints(node=2)]


@simulated
async def test_a_node_that_does_not_take_its_messages_stops_the_server(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    (stream,) = rig.streams
    drained: list[int] = []
    stream.on_drained(lambda: drained.append(stream.pending))
    number = 0
    frame = messages.encode(Refused(code="x", message="y" * 10_000))
    while stream.send(frame):
        number += 1
        await asyncio.sleep(0.1)
    assert MAX_PENDING < stream.pending < MAX_PENDING + 2 * len(frame)
    assert drained == []
    for _ in range(number):
        await channel.receive()
    assert drained
    assert stream.pending <= HIGH_WATER
    assert stream.send(frame)


@simulated
async def test_a_server_that_does_not_read_stops_the_node(make_rig: MakeRig) -> None:
    rig = make_rig(on_stream=lambda stream: None)
    channel = await rig.join()
    for _ in range(10_000):
        if not channel.send(Interest(node=1)):
            break
    assert channel.pending < 300_000


@simulated
async def test_messages_wait_for_a_server_that_still_thinks_about_the_hello(make_rig: MakeRig) -> None:
    waiting: list[ControlStream] = []
    rig = make_rig(on_stream=waiting.append)
    channel = await rig.join()
    for number in range(50):
        channel.send(Interest(node=number + 1))
        await asyncio.sleep(0.1)
    (stream,) = waiting
    assert len(stream._held or ()) == 1  # nothing more was read
    stream.on_message(rig.inbox.append)
    await asyncio.sleep(1)
    assert [message.node for message in rig.inbox] == list(range(1, 51))


@simulated
async def test_a_node_that_floods_is_slowed_down_and_loses_nothing(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(1)
    node.say(*(Interest(node=number) for number in range(BURST + 1000)))
    await asyncio.sleep(1)
    assert BURST <= len(rig.inbox) <= BURST + 3 * RATE
    node.say(*(Interest(node=number) for number in range(BURST + 1000, BURST + 1100)))
    await asyncio.sleep(10)
    assert BURST + 9 * RATE <= len(rig.inbox) <= BURST + 13 * RATE
    await asyncio.sleep(1100 / RATE)
    assert [message.node for message in rig.inbox] == list(range(BURST + 1100))
    assert rig.ended == []


@simulated
async def test_reports_which_many_may_hear_of_are_slowed_down_sooner(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(1)
    node.say(*(Report(session=1, sequence=number) for number in range(BURST)))
    await asyncio.sleep(1)
    assert len(rig.inbox) <= BURST / REPORT_COST + 3


@simulated
async def test_a_node_that_floods_and_goes_is_not_waited_for(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(1)
    node.say(*(Interest(node=number) for number in range(BURST + 1000)))
    await asyncio.sleep(1)
    rig.upgrade.close()
    heard = len(rig.inbox)
    await asyncio.sleep(100)
    assert (len(rig.inbox), len(rig.ended)) == (heard, 1)


@simulated
async def test_who_asks_too_late_is_still_told_of_the_end(make_rig: MakeRig) -> None:
    waiting: list[ControlStream] = []
    rig = make_rig(on_stream=waiting.append)
    channel = await rig.join()
    await channel.close()
    await asyncio.sleep(1)
    assert waiting[0].closed
    waiting[0].on_closed(lambda: rig.ended.append("told"))
    await asyncio.sleep(0)
    assert rig.ended == ["told"]


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


@simulated
async def test_a_handler_may_refuse_what_a_message_says(make_rig: MakeRig) -> None:
    def object_(message: Any) -> None:
        raise RemoteProtocolError(f"no node {message.node}")

    rig = make_rig(on_stream=lambda stream: stream.on_message(object_))
    channel = await rig.join()
    channel.send(Interest(node=9))
    assert await channel.receive() == Refused(code="protocol", message="no node 9")
    with pytest.raises(Unavailable):
        await channel.receive()


@simulated
async def test_a_server_that_breaks_the_protocol_is_left(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    rig.streams[0].send(b"\xc1 not a message")
    with pytest.raises(Unavailable, match="broke the protocol"):
        await channel.receive()


@simulated
async def test_a_stranger_has_ten_seconds_for_his_handshake(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    await asyncio.sleep(9)
    assert not node.lost.done()
    await asyncio.wait_for(node.lost, 2)
    assert (rig.upgrade.counters.timed_out, rig.upgrade.unfinished.count, rig.upgrade.streams) == (1, 0, set())


@simulated
async def test_one_address_has_only_so_many_unfinished_handshakes(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(unfinished_per_address=3))
    for _ in range(3):
        await rig.raw()
    with pytest.raises(Unavailable, match="busy"):
        await rig.connect()
    assert rig.upgrade.counters.refused == 1
    await asyncio.sleep(11)
    await rig.join()


@simulated
async def test_one_address_has_only_so_many_streams(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(per_address=2))
    channels = [await rig.join(), await rig.join()]
    await asyncio.sleep(1)
    with pytest.raises(Unavailable, match="busy"):
        await rig.connect()
    await channels[0].close()
    await asyncio.sleep(1)
    await rig.join()


@simulated
async def test_closing_the_upgrade_ends_every_stream(make_rig: MakeRig) -> None:
    rig = make_rig()
    channels = [await rig.join() for _ in range(3)]
    await asyncio.sleep(1)
    rig.upgrade.close()
    for channel in channels:
        with pytest.raises(Unavailable):
            await channel.receive()
    assert rig.upgrade.admission.count == 0


@simulated
async def test_frames_of_one_pass_leave_in_one_write(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.join()
    await asyncio.sleep(1)
    (stream,) = rig.streams
    written: list[bytes] = []
    write = stream._transport.write
    stream._transport.write = lambda data: (written.append(data), write(data))[1]
    for number in range(20):
        stream.send(messages.encode(PeerEndpoints(node=number + 1)))
    await asyncio.sleep(1)
    assert len(written) == 1


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


class Listening(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


@simulated
async def test_bytes_in_any_chopping_make_the_same_conversation(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.session.send(messages.encode(rig.hello(node.session)))
    node.session.send(messages.encode(Interest(node=5)))
    for byte in node.session.outgoing():
        node.transport.write(bytes([byte]))
    await asyncio.sleep(1)
    assert rig.inbox == [Interest(node=5)]


def test_a_session_says_nothing_about_its_keys_in_clear() -> None:
    entropy = SeededEntropy("clear")
    machine, control = PrivateKey.generate(entropy), PrivateKey.generate(entropy)
    session = ControlSession.initiator(machine, control.public(NodeKey), entropy)  # type: ignore[arg-type]
    first = session.outgoing()
    assert machine.public_raw not in first
    assert control.public_raw not in first
