"""Macs, cookies and the handshake queue: what a node under load asks of its peers, and what a flood may cost it."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_open

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.keys import PrivateKey
from ghostwire.testing.clock import SeededEntropy
from ghostwire_transport_wireguard import noise
from ghostwire_transport_wireguard.cookie import (
    COOKIE_REFRESH,
    COOKIE_USE,
    NO_MAC,
    RATE,
    RATE_BURST,
    RATE_SOURCES,
    MacChecker,
    MacStamper,
    RateLimiter,
    _keyed,
)
from ghostwire_transport_wireguard.handshake import EXCUSED
from ghostwire_transport_wireguard.handshake_queue import COMPUTED, CROWDED, QUEUE, _host

NODE, PEER = PrivateKey(b"n" * 32), PrivateKey(b"p" * 32)
BODY = struct.pack("<II", 1, 7) + bytes(108)
LATENCY, START = 10 * MILLISECOND, 1_000 * SECOND
HERE, THERE = b"udp 192.0.2.1:5", b"udp 192.0.2.1:6"


@pytest.fixture
def checker() -> MacChecker:
    return MacChecker(NODE.public_raw, SeededEntropy("cookies"))


def forged_initiations(pair: Any, count: int, *, to: Any = None) -> list[bytes]:
    """Initiations with a valid mac1 (the node's key is public) and nothing else, for ``b`` unless told."""
    stamper, entropy = MacStamper((to or pair.b).key.public_raw), SeededEntropy("forger")
    bodies = [noise.INITIATION_BODY.pack(1, n, entropy(32), entropy(48), entropy(28)) for n in range(count)]
    return [stamper.stamp(body, 0) for body in bodies]


def test_mac1_shows_that_the_sender_knows_the_nodes_key(checker: MacChecker) -> None:
    message = MacStamper(NODE.public_raw).stamp(BODY, 0)
    assert len(message) == noise.INITIATION_BYTES
    assert message.endswith(NO_MAC)
    assert checker.mac1_valid(message)
    assert not checker.mac1_valid(MacStamper(PEER.public_raw).stamp(BODY, 0))
    assert not checker.mac1_valid(b"\0" + message[1:])


def test_a_cookie_makes_mac2_valid_from_its_source_alone(checker: MacChecker) -> None:
    stamper = MacStamper(NODE.public_raw)
    first = stamper.stamp(BODY, 0)
    assert not checker.mac2_valid(first, HERE, 0)
    assert stamper.accept(checker.reply(first, HERE, 0), 0)
    second = stamper.stamp(BODY, 1)
    assert checker.mac2_valid(second, HERE, 1)
    assert not checker.mac2_valid(second, THERE, 1)


def test_a_cookie_reply_is_sealed_as_the_paper_says(checker: MacChecker) -> None:
    message = MacStamper(NODE.public_raw).stamp(BODY, 0)
    reply = checker.reply(message, HERE, 0)
    kind, receiver, nonce, sealed = struct.unpack("<II24s32s", reply)
    assert (len(reply), kind, receiver) == (64, 3, 7)
    cookie = xchacha_open(sealed, message[116:132], nonce, _keyed(b"cookie--", NODE.public_raw))
    assert len(cookie) == 16


def test_a_cookie_is_used_for_less_long_than_its_secret_lasts(checker: MacChecker) -> None:
    stamper = MacStamper(NODE.public_raw)
    stamper.accept(checker.reply(stamper.stamp(BODY, 0), HERE, 0), 0)
    assert COOKIE_USE < COOKIE_REFRESH
    assert checker.mac2_valid(stamper.stamp(BODY, COOKIE_USE - 1), HERE, COOKIE_USE - 1)
    assert stamper.stamp(BODY, COOKIE_USE).endswith(NO_MAC)


def test_a_cookie_of_an_old_secret_is_worthless(checker: MacChecker) -> None:
    stamper = MacStamper(NODE.public_raw)
    stamper.accept(checker.reply(stamper.stamp(BODY, 0), HERE, 0), 0)
    assert not checker.mac2_valid(stamper.stamp(BODY, 1), HERE, COOKIE_REFRESH)


def test_a_reply_that_is_forged_or_answers_nothing_is_refused(checker: MacChecker) -> None:
    stamper = MacStamper(NODE.public_raw)
    message = MacStamper(NODE.public_raw).stamp(BODY, 0)
    reply = checker.reply(message, HERE, 0)
    assert not stamper.accept(reply, 0), "nothing was sent"
    stamper.stamp(BODY, 0)
    assert not stamper.accept(reply[:-1] + bytes([reply[-1] ^ 1]), 0)
    assert stamper.accept(reply, 0)
    assert not stamper.accept(reply, 0), "one reply for one message"


def test_a_source_has_a_burst_and_then_a_rate() -> None:
    limiter = RateLimiter()
    assert [limiter.allow("a", 0) for _ in range(RATE_BURST + 1)] == [True] * RATE_BURST + [False]
    assert limiter.allow("b", 0)
    assert not limiter.allow("a", SECOND // RATE - 1)
    assert limiter.allow("a", SECOND // RATE)
    assert not limiter.allow("a", SECOND // RATE)


def test_only_so_many_sources_are_remembered() -> None:
    limiter = RateLimiter()
    for number in range(3 * RATE_SOURCES):
        limiter.allow(str(number), 0)
    assert len(limiter._full_at) == RATE_SOURCES


def test_a_flood_costs_four_computations_a_pass_and_no_established_packet(connected: Any, path: Any) -> None:
    flooder, engine, counters = path("flooder:1"), connected.b.engine, connected.b.engine.counters
    forged = forged_initiations(connected, 200)
    passes = 50
    for _ in range(passes):
        connected.receive(connected.b, flooder, forged)
        before = counters.computed + counters.cookies
        engine.advance(connected.now)
        assert counters.computed + counters.cookies - before <= COMPUTED
        connected.send(connected.a, *(b"data" for _ in range(64)))
        connected.run(20_000_000)
    assert len(connected.b.packets) == 64 * passes
    assert len(engine._handshakes) <= QUEUE
    assert counters.queue_full > 0


def test_the_queue_is_bounded_and_asks_to_be_worked_on_at_once(connected: Any, path: Any) -> None:
    connected.b.engine.receive(path("flooder:1"), forged_initiations(connected, 500), connected.now)
    assert len(connected.b.engine._handshakes) == QUEUE
    assert connected.b.engine.counters.queue_full == 500 - QUEUE
    assert connected.b.engine.deadline() == 0


def test_few_initiations_are_computed_without_a_cookie(connected: Any, path: Any) -> None:
    connected.receive(connected.b, path("flooder:1"), forged_initiations(connected, CROWDED - 1))
    connected.run(SECOND)
    assert connected.b.engine.counters.computed == 1 + CROWDED - 1
    assert connected.b.engine.counters.bad_handshake == CROWDED - 1
    assert connected.b.engine.counters.cookies == 0


def test_forged_messages_without_a_valid_mac_are_passed_over_cheaply(connected: Any, path: Any) -> None:
    junk = [message[:-32] + bytes(32) for message in forged_initiations(connected, 12)]
    connected.b.engine.receive(path("flooder:1"), junk, connected.now)
    connected.b.engine.advance(connected.now)
    assert connected.b.engine.counters.bad_mac == 12
    assert connected.b.engine.deadline() != 0


@pytest.fixture
def asked(pair: Any, path: Any) -> Any:
    """A pair whose ``b`` is under load, and a cookie reply of it to ``a``'s initiation, which nobody has delivered."""
    pair.receive(pair.b, path("flooder:1"), forged_initiations(pair, 10))
    pair.carries = lambda sender, datagram: sender is pair.a
    pair.send(pair.a, b"urgent")
    pair.run(SECOND // 10)
    pair.reply = next(each.datagram for each in pair.b.sent if each.paths == (pair.a.path,))
    pair.a.sent.clear()
    return pair


def deliver(pair: Any, source: Any, *datagrams: bytes) -> list[bytes]:
    """What ``a`` sends at once for it."""
    before = len(pair.a.sent)
    pair.receive(pair.a, source, datagrams)
    pair.a.engine.advance(pair.now)
    pair.settle()
    return [each.datagram for each in pair.a.sent[before:]]


def test_a_peer_gets_through_under_load_by_its_cookie_at_once(pair: Any, path: Any) -> None:
    pair.receive(pair.b, path("flooder:1"), forged_initiations(pair, 10))
    pair.send(pair.a, b"urgent")
    pair.run(5 * LATENCY)
    assert [packet[20:] for packet in pair.b.packets] == [b"urgent"]
    first, second = (each.datagram for each in pair.a.sent if each.kind == noise.INITIATION)
    assert first.endswith(NO_MAC)
    assert not second.endswith(NO_MAC)
    assert pair.b.engine.counters.computed == 1, "the forged ones never show a cookie"


def test_a_cookie_makes_one_initiation_the_same_again_where_the_reply_came_from(asked: Any) -> None:
    (shown,) = deliver(asked, asked.b.path, asked.reply)
    assert asked.a.sent[-1].paths == (asked.b.path,)
    assert not shown.endswith(NO_MAC)
    counters = asked.a.engine.counters
    assert (counters.initiations, counters.shown) == (1, 1), "no other handshake, only its mac2 is new"
    assert deliver(asked, asked.b.path, asked.reply) == []


def test_a_forged_cookie_makes_nobody_send(asked: Any) -> None:
    forged = asked.reply[:-1] + bytes([asked.reply[-1] ^ 1])
    assert deliver(asked, asked.b.path, forged, b"\3\0\0\0" + bytes(60)) == []
    assert asked.a.engine.counters.bad_handshake == 1
    assert asked.a.engine.counters.unknown_session == 1


def test_a_cookie_from_where_nothing_was_sent_is_kept_and_shown_later(asked: Any, path: Any) -> None:
    assert deliver(asked, path("victim:1"), asked.reply) == []
    asked.run(6 * SECOND)
    (again,) = (each for each in asked.a.sent if each.kind == noise.INITIATION)
    assert tuple(again.paths) == (asked.b.path,)
    assert not again.datagram.endswith(NO_MAC)


def test_cookies_make_a_node_send_once_in_5_s_though_its_handshakes_are_many(asked: Any) -> None:
    checker = MacChecker(asked.b.key.public_raw, SeededEntropy("observer"))
    assert len(deliver(asked, asked.b.path, asked.reply)) == 1
    for moment, answers in ((1, 0), (3, 0), (5, 1), (6, 0)):
        asked.run(START + moment * SECOND + SECOND // 2 - asked.now)
        asked.a.engine.test(1, asked.b.path, asked.now)
        asked.settle()
        reply = checker.reply(asked.a.sent[-1].datagram, HERE, asked.now)
        assert len(deliver(asked, asked.b.path, reply)) == answers


def test_a_response_that_was_asked_for_needs_no_cookie(pair: Any, path: Any) -> None:
    pair.send(pair.a, b"data")
    pair.receive(pair.a, path("flooder:1"), forged_initiations(pair, 10, to=pair.a))
    pair.run(3 * LATENCY)
    assert len(pair.b.packets) == 1
    assert pair.a.engine.counters.cookies == 10, "what nobody asked for does"


def test_few_responses_to_one_initiation_are_computed_under_load(pair: Any, path: Any) -> None:
    pair.carries = lambda sender, datagram: False
    pair.send(pair.a, b"data")
    (index,) = struct.unpack_from("<I", pair.a.sent[0].datagram, 4)
    stamper, entropy, counters = MacStamper(pair.a.key.public_raw), SeededEntropy("r"), pair.a.engine.counters
    bodies = [noise.RESPONSE_BODY.pack(2, n, index, entropy(32), entropy(16)) for n in range(30)]
    pair.receive(pair.a, path("flooder:1"), [stamper.stamp(body, 0) for body in bodies])
    pair.run(SECOND)
    assert (counters.computed, counters.cookies) == (EXCUSED, 30 - EXCUSED)


def test_an_unanswerable_response_is_dropped_before_it_costs_anything(connected: Any, path: Any) -> None:
    stamper = MacStamper(connected.b.key.public_raw)
    responses = [stamper.stamp(noise.RESPONSE_BODY.pack(2, 1, n, bytes(32), bytes(16)), 0) for n in range(20)]
    before = connected.b.engine.counters.computed
    connected.receive(connected.b, path("flooder:1"), responses)
    connected.run(SECOND)
    assert connected.b.engine.counters.computed == before
    assert connected.b.engine.counters.unknown_session == 20
    assert connected.b.kinds() == []


def test_initiations_of_one_peer_are_taken_20_ms_apart(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    captured = []
    for _ in range(3):
        pair.a.engine.peers[1]._send_initiation(pair.now)
        pair.settle()
        captured.append(pair.a.sent[-1].datagram)
    for gap, answered, datagram in zip((0, 19_999_999, 1), (1, 1, 2), captured, strict=True):
        pair.run(gap)
        pair.receive(pair.b, pair.a.path, [datagram])
        pair.b.engine.advance(pair.now)
        pair.settle()
        assert len(pair.b.sent) == answered
    assert pair.b.engine.counters.limited == 1


def test_an_initiation_is_taken_once(pair: Any) -> None:
    pair.send(pair.a, b"data")
    initiation = pair.a.sent[0].datagram
    pair.run(SECOND)
    pair.receive(pair.b, pair.a.path, [initiation])
    pair.run(SECOND)
    assert pair.b.kinds() == [noise.RESPONSE]
    assert pair.b.engine.counters.bad_handshake == 1


def test_an_initiation_of_a_stranger_is_not_answered(pair: Any) -> None:
    stranger = PrivateKey(b"s" * 32)
    shared = stranger.exchange(pair.b.key.public_raw)
    body, _ = noise.initiate(stranger, PEER, pair.b.key.public_raw, shared, 7, bytes(12))
    pair.receive(pair.b, pair.a.path, [MacStamper(pair.b.key.public_raw).stamp(body, 0)])
    pair.run(SECOND)
    assert pair.b.kinds() == []
    assert pair.b.engine.counters.bad_handshake == 1


def test_a_cookie_also_comes_for_a_response_and_unasked_ones_are_dropped(pair: Any, path: Any) -> None:
    pair.carries = lambda sender, datagram: sender is pair.a
    pair.send(pair.a, b"data")
    pair.run(SECOND)
    (response,) = (each.datagram for each in pair.b.sent)
    reply = MacChecker(pair.a.key.public_raw, SeededEntropy("a")).reply(response, HERE, pair.now)
    unasked = reply[:4] + b"\1\2\3\4" + reply[8:]
    pair.receive(pair.b, pair.a.path, [unasked, reply[:-1] + b"\0", reply])
    pair.run(SECOND)
    counters = pair.b.engine.counters
    assert (counters.unknown_session, counters.bad_handshake) == (1, 1)
    pair.b.sent.clear()
    pair.run(5 * SECOND)
    (second,) = (each.datagram for each in pair.b.sent)
    assert not second.endswith(NO_MAC), "the next response shows the cookie"


def test_a_response_is_shown_again_with_the_cookie_and_completes_the_handshake(pair: Any) -> None:
    pair.carries = lambda sender, datagram: sender is pair.a
    pair.send(pair.a, b"data")
    pair.run(SECOND)
    (response,) = (each.datagram for each in pair.b.sent)
    checker = MacChecker(pair.a.key.public_raw, SeededEntropy("a"))
    pair.carries = lambda sender, datagram: True
    pair.receive(pair.b, pair.a.path, [checker.reply(response, HERE, pair.now)])
    pair.run(3 * LATENCY)
    shown = pair.b.sent[1].datagram
    assert shown[:-16] == response[:-16]
    assert checker.mac2_valid(shown, HERE, pair.now)
    assert len(pair.b.packets) == 1


def test_under_load_even_a_source_with_a_cookie_has_a_rate(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    stamper = MacStamper(pair.b.key.public_raw)
    bodies = [noise.INITIATION_BODY.pack(1, n, bytes([n]) * 32, bytes(48), bytes(28)) for n in range(20)]
    pair.receive(pair.b, pair.a.path, [stamper.stamp(body, 0) for body in bodies])
    pair.b.engine.advance(pair.now)
    pair.settle()
    stamper.stamp(bodies[3], 0)
    assert stamper.accept(pair.b.sent[3].datagram, pair.now)
    pair.run(SECOND // 2)
    pair.receive(pair.b, pair.a.path, [stamper.stamp(body, pair.now) for body in bodies])
    pair.run(SECOND // 100)
    counters = pair.b.engine.counters
    assert (counters.computed, counters.limited) == (RATE_BURST, len(bodies) - RATE_BURST)


def test_over_a_relay_each_peer_has_a_rate_of_its_own_and_elsewhere_each_address() -> None:
    def host(endpoint: str, relayed: bool) -> str:
        return _host(SimpleNamespace(transport="t", endpoint=endpoint, relayed=relayed))  # type: ignore[arg-type]

    assert host("192.0.2.1:5", False) == host("192.0.2.1:6", False) != host("192.0.2.2:5", False)
    assert host("900/nodekey:aa", True) != host("900/nodekey:bb", True)
    assert host("loft 7", False) != host("loft 8", False)
