"""What the engine does for the choice of paths, in manual time: tests, answers, sources, and what attaching resets."""

from __future__ import annotations

from typing import Any

import pytest

from ghostwire import Activity, TunnelPeer
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.keys import NodeKey
from ghostwire_transport_wireguard.local import Authenticated, Established
from ghostwire_transport_wireguard.sources import REMEMBERED, Sources

INITIATION, RESPONSE, TRANSPORT = 1, 2, 4


@pytest.fixture
def held(connected: Any) -> Any:
    """A pair with a session, whose wire carries only what a test hands over."""
    connected.carries = lambda sender, datagram: False
    return connected


def initiation(pair: Any, begin: Any, *arguments: Any) -> bytes:
    """What ``a`` sends to begin a handshake, long enough after the last for its peer to take it."""
    pair.run(30 * MILLISECOND)
    begin(1, *arguments, pair.now)
    pair.settle()
    assert pair.a.sent[-1].kind == INITIATION
    return bytes(pair.a.sent[-1].datagram)


def ordinary(pair: Any) -> Any:
    """Begins the handshake of ``a`` that a packet without a session begins, over all its paths."""
    return lambda peer, now: pair.a.engine.peers[peer].initiate(now)


def answer(pair: Any, message: bytes) -> bytes:
    """The response of ``b``, which is not delivered."""
    pair.run(30 * MILLISECOND)
    pair.receive(pair.b, pair.a.path, [message])
    pair.run(0)
    assert pair.b.sent[-1].kind == RESPONSE
    return bytes(pair.b.sent[-1].datagram)


def deliver(pair: Any, response: bytes) -> None:
    """A response arrives at ``a``, and from now on the wire carries all."""
    pair.carries = lambda sender, datagram: True
    pair.receive(pair.a, pair.b.path, [response])
    pair.run(SECOND)


def assert_data_flows(pair: Any) -> None:
    for sender, receiver in ((pair.a, pair.b), (pair.b, pair.a)):
        receiver.packets.clear()
        packets = pair.send(sender, b"data")
        pair.run(SECOND)
        assert receiver.packets == packets


def test_a_test_goes_over_its_path_alone_and_proves_it(connected: Any) -> None:
    connected.a.engine.attach(1, [connected.b.path, connected.a.path])
    connected.a.engine.test(1, connected.b.path, connected.now)
    connected.settle()
    assert [(each.kind, each.paths) for each in connected.a.sent] == [(INITIATION, (connected.b.path,))]
    connected.run(SECOND)
    assert connected.a.events == [Established(1, connected.b.path)]
    assert [each.paths for each in connected.b.sent] == [(connected.a.path,)]
    assert_data_flows(connected)


def test_a_test_is_given_up_after_5_s_without_a_trace(held: Any) -> None:
    response = answer(held, initiation(held, held.a.engine.test, held.b.path))
    held.run(5 * SECOND)
    assert not held.a.engine._local.pending
    deliver(held, response)
    assert held.a.engine.counters.unknown_session == 1
    assert [each.kind for each in held.a.sent] == [INITIATION]
    assert_data_flows(held)


def test_a_test_does_not_hold_up_a_handshake(pair: Any, path: Any) -> None:
    pair.a.engine.test(1, path("dead:1"), pair.now)
    pair.settle()
    pair.send(pair.a, b"needs a session")
    pair.run(SECOND)
    assert len(pair.b.packets) == 1


def test_a_newer_test_replaces_the_one_before(held: Any) -> None:
    first, second = (initiation(held, held.a.engine.test, held.b.path) for _ in range(2))
    assert len(held.a.engine._local.pending) == 1
    response = answer(held, first)
    deliver(held, response)
    assert held.a.engine.counters.unknown_session == 1
    deliver(held, answer(held, second))
    assert_data_flows(held)


def test_an_answered_test_ends_the_handshake_begun_before_it(held: Any) -> None:
    begun = initiation(held, ordinary(held))
    tested = initiation(held, held.a.engine.test, held.b.path)
    forgotten, response = answer(held, begun), answer(held, tested)
    deliver(held, response)
    deliver(held, forgotten)
    assert held.a.engine.counters.unknown_session == 1
    assert_data_flows(held)
    held.a.kinds()
    held.run(8 * SECOND)
    assert INITIATION not in held.a.kinds(), "nothing is left to repeat"


def test_an_answered_test_leaves_the_handshake_begun_after_it(held: Any) -> None:
    """The peer has answered that one already, and knows nothing of the session the test began."""
    tested = initiation(held, held.a.engine.test, held.b.path)
    begun = initiation(held, ordinary(held))
    first, second = answer(held, tested), answer(held, begun)
    held.receive(held.a, held.b.path, [first])
    held.run(0)
    deliver(held, second)
    assert_data_flows(held)
    assert [event for event in held.a.events if isinstance(event, Established)] == [Established(1, held.b.path)] * 2


def test_a_handshake_begun_after_an_answered_test_is_repeated_until_it_is_answered_too(held: Any) -> None:
    tested = initiation(held, held.a.engine.test, held.b.path)
    initiation(held, ordinary(held))
    deliver(held, answer(held, tested))
    held.a.kinds()
    held.run(6 * SECOND)
    assert held.a.kinds().count(INITIATION) == 1
    assert held.a.engine.counters.handshakes == 3
    assert_data_flows(held)


def test_an_answered_handshake_leaves_the_test_begun_after_it(held: Any) -> None:
    begun = initiation(held, ordinary(held))
    tested = initiation(held, held.a.engine.test, held.b.path)
    deliver(held, answer(held, begun))
    deliver(held, answer(held, tested))
    assert [event for event in held.a.events if isinstance(event, Established)] == [Established(1, held.b.path)] * 2
    assert_data_flows(held)


def test_handshakes_over_other_paths_do_not_put_an_answer_to_data_off(connected: Any, path: Any) -> None:
    connected.send(connected.a, b"data")
    connected.run(5 * SECOND)
    connected.b.engine.test(1, path("dead:1"), connected.now)
    connected.settle()
    connected.a.engine.test(1, connected.b.path, connected.now)
    connected.settle()
    connected.run(6 * SECOND)
    assert connected.b.kinds() == [INITIATION, RESPONSE, TRANSPORT]


def test_a_key_of_low_order_cannot_be_tested(connected: Any) -> None:
    connected.a.engine.apply([TunnelPeer(9, NodeKey(bytes(32)), ())], connected.now)
    connected.a.engine.test(9, connected.b.path, connected.now)
    assert connected.a.engine.counters.bad_handshake == 1
    assert not connected.a.engine.has_output


def test_what_is_unknown_has_no_activity_and_may_be_told_anything(connected: Any) -> None:
    engine = connected.a.engine
    engine.rest(77)
    engine.test(77, connected.b.path, connected.now)
    assert engine.activity(77) == Activity()
    assert not engine.has_output


def test_data_that_waits_for_a_handshake_waits_for_an_answer(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    begun = pair.now
    pair.send(pair.a, b"waits")
    pair.run(2 * SECOND)
    pair.send(pair.a, b"too")
    assert pair.a.engine.activity(1) == Activity(sent=begun + 2 * SECOND, unanswered=begun)


def test_attaching_the_same_again_repeats_nothing(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    pair.send(pair.a, b"data")
    for _ in range(3):
        pair.a.engine.attach(1, [pair.b.path])
        pair.settle()
    assert pair.a.kinds() == [INITIATION]


def test_without_paths_answers_go_to_where_the_peer_was_last_heard(connected: Any) -> None:
    for _ in range(2):
        connected.b.engine.attach(1, [])
    connected.send(connected.a, b"question")
    connected.run(SECOND)
    connected.b.engine.attach(1, [])
    connected.send(connected.b, b"answer")
    assert connected.b.sent[-1].paths == (connected.a.path,)


def test_of_many_sources_a_few_are_told_each_second(path: Any) -> None:
    """Whoever catches honest datagrams on their way can give each another source."""
    sources, now = Sources(), SECOND
    paths = [path(f"made-up:{number}") for number in range(100)]
    assert sum(sources.due(each, now) for each in paths) == REMEMBERED
    assert not sources.due(paths[0], now + SECOND - 1)
    assert sources.due(paths[-1], now + SECOND)
    assert sources.due(paths[0], now + SECOND)
    assert len(sources._told) <= REMEMBERED


def test_a_source_that_goes_on_is_told_again_after_a_second(connected: Any, path: Any) -> None:
    for _ in range(5):
        connected.send(connected.a, b"data")
        connected.receive(connected.b, path("a:2"), [connected.a.sent[-1].datagram])
        connected.now += SECOND // 2
    assert connected.b.events == [Authenticated(1, path("a:2"))] * 3


def test_a_handshake_from_a_source_hides_no_data_from_there_and_is_none(held: Any, path: Any) -> None:
    elsewhere = path("a:2")
    message = initiation(held, held.a.engine.test, held.b.path)
    held.run(30 * MILLISECOND)
    held.b.events.clear()
    held.receive(held.b, elsewhere, [message])
    held.run(0)
    assert held.b.events == [Authenticated(1, elsewhere)]
    assert held.b.engine.activity(1).over != elsewhere
    held.send(held.a, b"data")
    held.receive(held.b, elsewhere, [held.a.sent[-1].datagram])
    assert held.b.events == [Authenticated(1, elsewhere)] * 2
    assert held.b.engine.activity(1).over == elsewhere
