"""The engine of a connection to a relay, alone: bytes in, events and bytes out, in manual time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import Box, PublicKey
from nacl.public import PrivateKey as BoxKey

from ghostwire import BURST
from ghostwire.engine import SECOND
from ghostwire.errors import AuthenticationFailed, GhostwireError, Refused, RemoteProtocolError, Unavailable
from ghostwire.keys import PrivateKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire.node.relay_login import RelayLogin
from ghostwire.testing import ManualClock, SeededEntropy
from ghostwire_derp import frames
from ghostwire_derp.client.engine import ASK_AFTER, LITTLE_PATIENCE, PATIENCE, SILENCE, DerpClient
from ghostwire_derp.client.events import Event, Health, Opened, PeerGone, Received, Restarting
from ghostwire_derp.client.reader import BUFFER_BYTES

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
RELAY = BoxKey(SeededEntropy("relay")(32))
NODE = PrivateKey(SeededEntropy("node")(32))
SERVER_KEY = frames.frame(frames.SERVER_KEY, frames.MAGIC + bytes(RELAY.public_key))
BOX = Box(RELAY, PublicKey(NODE.public_raw))


def server_info(**info: Any) -> bytes:
    sealed = BOX.encrypt(json.dumps({"version": 2} | info).encode(), bytes(24))
    return frames.frame(frames.SERVER_INFO, bytes(sealed))


def packet(source: bytes, data: bytes) -> bytes:
    return frames.frame(frames.RECV_PACKET, source + data)


LOGIN = SWITCHING + SERVER_KEY + server_info()
ALICE, BOB = b"A" * 32, b"B" * 32


class Line:
    """An engine that has begun."""

    def __init__(self, **fields: Any) -> None:
        self.clock = ManualClock()
        key = RelayKey(bytes(RELAY.public_key))
        record = MapRelay(
            **{"id": 1, "name": "berlin", "region": 1, "region_name": "b", "host": "relay.example", "key": key} | fields
        )
        identity = RelayLogin(NODE, lambda raw: False, self.clock, SeededEntropy("login"))
        self.engine = DerpClient(record, identity)
        self.engine.begin(self.clock.now())
        self.request = self.engine.outgoing()

    def feed(self, *chunks: bytes) -> list[Any]:
        """What these bytes led to, with copies of all datagrams."""
        told: list[Any] = []
        for chunk in chunks:
            while chunk:
                room = self.engine.buffer()
                size = min(len(chunk), len(room))
                room[:size] = chunk[:size]
                told += flat(self.engine.receive(size, self.clock.now()))
                chunk = chunk[size:]
        return told

    def opened(self) -> Line:
        assert self.feed(LOGIN) == [Opened()]
        self.login = self.engine.outgoing()
        return self

    def passes(self, nanoseconds: int) -> list[bytes]:
        """What goes out as time passes, from deadline to deadline."""
        end, out = self.clock.now() + nanoseconds, []
        while (deadline := self.engine.deadline()) is not None and deadline <= end:
            self.clock.advance(max(0, deadline - self.clock.now()))
            self.engine.advance(self.clock.now())
            out.append(self.engine.outgoing())
        self.clock.advance(end - self.clock.now())
        return out


def flat(events: Sequence[Event]) -> Iterable[Any]:
    for event in events:
        if isinstance(event, Received):
            assert 0 < len(event.datagrams) <= BURST
            yield from ((event.source, bytes(datagram)) for datagram in event.datagrams)
        else:
            yield event


def test_a_login_is_upgrade_key_and_boxes():
    line = Line()
    assert line.request.startswith(b"GET /derp HTTP/1.1\r\nHost: relay.example\r\n")
    assert line.feed(SWITCHING) == []
    assert line.feed(SERVER_KEY) == []
    info = line.engine.outgoing()
    assert info[0] == frames.CLIENT_INFO
    assert info[5:37] == NODE.public_raw
    assert json.loads(BOX.decrypt(info[37:])) == {"version": 2, "CanAckPings": True}
    assert not line.engine.opened
    assert line.feed(server_info()) == [Opened()]
    assert line.engine.opened


def test_a_burst_has_one_source_and_is_no_copy():
    line = Line().opened()
    sources = [ALICE] * 3 + [BOB] * 2 + [ALICE] * 70
    data = b"".join(packet(source, bytes([number])) for number, source in enumerate(sources))
    room = line.engine.buffer()
    room[: len(data)] = data
    events = line.engine.receive(len(data), line.clock.now())
    assert [(event.source, len(event.datagrams)) for event in events if isinstance(event, Received)] == [
        (ALICE, 3),
        (BOB, 2),
        (ALICE, BURST),
        (ALICE, 6),
    ]
    assert all(event.datagrams[0].obj is room.obj for event in events if isinstance(event, Received))


def test_the_largest_packet_arrives_and_a_larger_one_ends_the_connection():
    line = Line().opened()
    data = bytes(frames.MAX_DATA)
    assert line.feed(packet(ALICE, data)) == [(ALICE, data)]
    with pytest.raises(RemoteProtocolError, match="relay berlin broke the protocol: sent a frame of 65569 bytes"):
        line.feed(packet(ALICE, data + b"x"))


def test_a_packet_without_a_source_ends_the_connection():
    with pytest.raises(RemoteProtocolError, match="31 bytes"):
        Line().opened().feed(frames.frame(frames.RECV_PACKET, bytes(31)))


def test_unknown_frames_are_skipped_up_to_a_mebibyte():
    line = Line().opened()
    for size in (0, 100, 70_000, frames.MAX_FRAME):
        assert line.feed(frames.frame(0x77, bytes(size)) + packet(ALICE, b"next")) == [(ALICE, b"next")]
    with pytest.raises(RemoteProtocolError):
        line.feed(frames.header.pack(0x77, frames.MAX_FRAME + 1))


def test_events_come_in_the_order_of_their_frames():
    told = (
        Line()
        .opened()
        .feed(
            packet(ALICE, b"1")
            + frames.frame(frames.PEER_GONE, ALICE + b"\0")
            + packet(ALICE, b"2")
            + frames.frame(frames.HEALTH, "krank\nund müde".encode())
            + frames.frame(frames.KEEP_ALIVE)
            + frames.frame(frames.RESTARTING, bytes((0, 0, 0, 5, 0, 0, 1, 0)))
        )
    )
    assert told == [
        (ALICE, b"1"),
        PeerGone(ALICE),
        (ALICE, b"2"),
        Health("krank und müde"),
        Restarting(5_000_000, 256_000_000),
    ]


def test_frames_that_are_too_short_are_passed_over():
    short = ((frames.PEER_GONE, ALICE[:31]), (frames.PING, b"1234567"), (frames.RESTARTING, b"1234567"))
    line = Line().opened()
    assert line.feed(*(frames.frame(kind, payload) for kind, payload in short)) == []
    assert line.engine.outgoing() == b""


def test_a_ping_is_answered_but_a_flood_of_them_only_once():
    line = Line().opened()
    line.feed(b"".join(frames.frame(frames.PING, number.to_bytes(8) + b"more") for number in range(1000)))
    assert line.engine.outgoing() == frames.frame(frames.PONG, (999).to_bytes(8))


@pytest.mark.parametrize(
    ("answer", "kind", "what"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", RemoteProtocolError, "answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", RemoteProtocolError, "answered 200"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", Unavailable, "busy"),
        (b"HTTP/1.1 403 No\r\n\r\n", Refused, "does not let this node in"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", RemoteProtocolError, "not HTTP"),
        (b"HTTP/1.1 101 Hm\r\nUpgrade: websocket\r\n\r\n", RemoteProtocolError, "something else"),
        (b"HTTP/1.1 101 Hm\r\nX: " + bytes(20_000), RemoteProtocolError, "not HTTP"),
    ],
)
def test_what_is_no_relay_is_told_apart_by_its_answer(answer, kind, what):
    with pytest.raises(kind, match=what):
        Line().feed(answer)


def test_informational_answers_before_the_upgrade_are_read_over():
    line = Line()
    assert line.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n" + LOGIN) == [Opened()]


@pytest.mark.parametrize(
    "first",
    [
        frames.frame(frames.KEEP_ALIVE),
        packet(ALICE, b"early"),
        frames.frame(frames.SERVER_KEY, b"DERP" + bytes(36)),
        frames.frame(frames.SERVER_KEY, frames.MAGIC + bytes(31)),
        server_info(),
    ],
)
def test_a_relay_must_begin_with_its_key(first):
    with pytest.raises(RemoteProtocolError, match="did not begin with its key"):
        Line().feed(SWITCHING + first)


def test_a_longer_server_key_is_a_newer_relays():
    line = Line()
    longer = frames.frame(frames.SERVER_KEY, frames.MAGIC + bytes(RELAY.public_key) + b"more")
    assert line.feed(SWITCHING + longer + server_info()) == [Opened()]


def test_a_relay_with_another_key_is_refused_before_the_node_says_who_it_is():
    line = Line(key=RelayKey(bytes(range(32))))
    with pytest.raises(AuthenticationFailed, match="does not hold the key"):
        line.feed(SWITCHING + SERVER_KEY)
    assert line.engine.outgoing() == b""


def test_a_relay_whose_key_is_not_in_the_map_is_taken_for_it():
    assert Line(key=None).feed(LOGIN) == [Opened()]


def test_an_answer_that_another_made_is_refused():
    forged = Box(BoxKey(bytes(range(32))), PublicKey(NODE.public_raw)).encrypt(b"{}", bytes(24))
    with pytest.raises(RemoteProtocolError, match="relay berlin broke the protocol"):
        Line().feed(SWITCHING + SERVER_KEY + frames.frame(frames.SERVER_INFO, bytes(forged)))


@pytest.mark.parametrize("info", [b"[]", b"{", b'{"TokenBucketBytesPerSecond":"much"}', b"\xff"])
def test_an_answer_that_makes_no_sense_is_refused(info):
    sealed = bytes(BOX.encrypt(info, bytes(24)))
    with pytest.raises(RemoteProtocolError):
        Line().feed(SWITCHING + SERVER_KEY + frames.frame(frames.SERVER_INFO, sealed))


def test_packets_carry_their_destination():
    line = Line().opened()
    sent = line.engine.packets(BOB, [b"one", memoryview(b"three")], line.clock.now())
    assert sent == frames.frame(frames.SEND_PACKET, BOB + b"one") + frames.frame(frames.SEND_PACKET, BOB + b"three")


def test_the_home_is_told_at_the_login_or_when_it_changes():
    line = Line()
    line.engine.prefer(True)
    line.opened()
    assert line.login.endswith(frames.frame(frames.NOTE_PREFERRED, b"\x01"))
    line.engine.prefer(True)
    assert line.engine.outgoing() == b""
    line.engine.prefer(False)
    assert line.engine.outgoing() == frames.frame(frames.NOTE_PREFERRED, b"\x00")


def test_the_relays_rate_lets_a_burst_go_and_then_so_much_a_second():
    line = Line()
    line.feed(SWITCHING + SERVER_KEY + server_info(TokenBucketBytesPerSecond=10_000, TokenBucketBytesBurst=100_000))
    kilobytes = [bytes(963)] * 200
    assert len(line.engine.affordable(kilobytes, line.clock.now())) == 100
    line.clock.advance(2 * SECOND)
    assert len(line.engine.affordable(kilobytes, line.clock.now())) == 20


def test_a_rate_without_a_burst_still_lets_the_largest_packet_go():
    line = Line()
    line.feed(SWITCHING + SERVER_KEY + server_info(TokenBucketBytesPerSecond=1))
    assert len(line.engine.affordable([bytes(frames.MAX_DATA)], line.clock.now())) == 1


def test_a_silent_relay_is_given_up_after_two_minutes():
    line = Line().opened()
    assert line.engine.deadline() == line.clock.now() + SILENCE
    line.passes(SILENCE - 1)
    line.feed(frames.frame(frames.KEEP_ALIVE))
    line.passes(SILENCE - 1)
    assert line.engine.failure is None
    line.passes(1)
    assert isinstance(line.engine.failure, Unavailable)
    assert line.engine.deadline() is None


def test_a_relay_that_takes_datagrams_and_says_nothing_is_asked_and_given_up():
    line = Line().opened()
    line.engine.packets(BOB, [b"anybody?"], line.clock.now())
    assert line.passes(ASK_AFTER) == [frames.frame(frames.PING, bytes(8))]
    line.feed(frames.frame(frames.PONG, bytes(8)))
    assert line.passes(60 * SECOND) == []
    line.engine.packets(BOB, [b"anybody?"], line.clock.now())
    line.passes(ASK_AFTER + PATIENCE)
    assert isinstance(line.engine.failure, Unavailable)


def test_a_suspected_relay_has_less_time_and_needs_no_sends():
    line = Line().opened()
    line.engine.ask(line.clock.now())
    assert line.engine.outgoing() == frames.frame(frames.PING, bytes(8))
    assert line.passes(LITTLE_PATIENCE - 1) == []
    line.passes(1)
    assert isinstance(line.engine.failure, Unavailable)


def test_the_host_of_the_request_is_bracketed_where_it_is_an_ipv6_address():
    assert b"\r\nHost: [2001:db8::1]\r\n" in Line(host="2001:db8::1").request
    with pytest.raises(Unavailable, match="cannot be asked for"):
        Line(host="relay\r\nX: y")


def test_who_hears_something_does_not_ask():
    line = Line().opened()
    for _ in range(100):
        line.engine.packets(BOB, [b"question"], line.clock.now())
        assert line.passes(SECOND) == []
        line.feed(packet(BOB, b"answer"))


ROOM = st.binary(max_size=200)
FRAMES = st.one_of(
    st.builds(packet, st.sampled_from([ALICE, BOB]), ROOM),
    st.builds(packet, st.just(ALICE), st.integers(0, 65536).map(bytes)),
    st.builds(lambda kind, payload: frames.frame(kind, payload), st.sampled_from([6, 8, 0x12, 0x13, 0x14, 0x15]), ROOM),
    st.builds(lambda size: frames.frame(0x99, bytes(size)), st.integers(60_000, 200_000)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FRAMES, max_size=20), st.lists(st.integers(1, 3 * BUFFER_BYTES), max_size=30))
def test_it_does_not_matter_how_the_stream_is_cut(script, cuts):
    stream = LOGIN + b"".join(script)
    whole, cut = Line(), Line()
    chunks, at = [], 0
    for size in cuts:
        chunks.append(stream[at : at + size])
        at += size
    chunks.append(stream[at:])
    assert cut.feed(*(chunk for chunk in chunks if chunk)) == whole.feed(stream)


@settings(max_examples=30, deadline=None)
@given(st.lists(FRAMES, max_size=5))
def test_it_does_not_matter_if_bytes_come_one_by_one(script):
    stream = (LOGIN + b"".join(script))[:3000]
    assert Line().feed(*(bytes([byte]) for byte in stream)) == Line().feed(stream)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b"HTTP/1.1 ", SWITCHING, SWITCHING + SERVER_KEY, LOGIN]),
    st.one_of(st.binary(max_size=300), st.lists(st.builds(frames.frame, st.integers(0, 255), ROOM)).map(b"".join)),
)
def test_garbage_is_an_error_of_ours_or_nothing(good, garbage):
    line = Line()
    with contextlib.suppress(GhostwireError):
        line.feed(good, garbage)
    assert len(line.engine.outgoing()) < 4096
