"""When a peer shakes hands, keeps alive, renews and forgets, in manual time."""

from __future__ import annotations

import itertools
from typing import Any

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire_transport_wireguard.local import Authenticated, Awake, Established, Wanted
from ghostwire_transport_wireguard.timers import Timer, TimerQueue

INITIATION, RESPONSE, TRANSPORT = 1, 2, 4


def drops(pair: Any) -> int:
    """Everything either engine dropped."""
    from ghostwire_transport_wireguard.counters import DROPS

    return sum(getattr(end.engine.counters, name) for end in (pair.a, pair.b) for name in DROPS)


def test_a_packet_begins_a_handshake_and_arrives_after_it(pair: Any) -> None:
    packets = pair.send(pair.a, b"one", b"two")
    assert pair.a.kinds() == [INITIATION]
    pair.run(SECOND)
    assert pair.b.kinds() == [RESPONSE]
    assert pair.a.kinds() == [TRANSPORT, TRANSPORT]
    assert pair.b.packets == packets
    assert pair.a.events == [Awake(1), Wanted(1), Established(1, pair.b.path)]
    assert pair.b.events == [Awake(1), Established(1, pair.a.path)]
    assert drops(pair) == 0


def test_both_may_initiate_at_the_same_moment(pair: Any) -> None:
    from_a, from_b = pair.send(pair.a, b"from a"), pair.send(pair.b, b"from b")
    pair.run(SECOND)
    assert (pair.b.packets, pair.a.packets) == (from_a, from_b)
    pair.send(pair.a, b"more")
    pair.send(pair.b, b"more")
    pair.run(SECOND)
    assert len(pair.a.packets) == len(pair.b.packets) == 2
    assert drops(pair) == 0


def test_the_responder_sends_nothing_before_the_session_is_confirmed(pair: Any) -> None:
    pair.carries = lambda sender, datagram: datagram[0] != TRANSPORT
    pair.send(pair.a, b"lost confirmation")
    pair.run(SECOND)
    pair.send(pair.b, b"must wait")
    assert pair.b.kinds() == [RESPONSE]
    pair.carries = lambda sender, datagram: True
    pair.send(pair.a, b"confirmation")
    pair.run(SECOND)
    assert len(pair.a.packets) == 1


def test_an_idle_pair_has_no_timers_once_its_keys_are_forgotten(connected: Any) -> None:
    begun = connected.now
    connected.run_until_idle()
    assert connected.now - begun <= 540 * SECOND
    for end in (connected.a, connected.b):
        assert end.engine.deadline() is None
        assert end.engine.peers[1].sessions.current is None
        assert not end.engine._local.sessions


def test_an_unanswered_initiation_is_repeated_for_90_s_and_then_given_up(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    pair.send(pair.a, b"never arrives")
    pair.run(600 * SECOND)
    times = [each.at for each in pair.a.sent]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert {each.kind for each in pair.a.sent} == {INITIATION}
    assert len(times) == 19
    assert all(5 * SECOND <= gap <= 5 * SECOND + 333 * MILLISECOND for gap in gaps)
    assert len(set(gaps)) > 1, "each has a jitter of its own"
    assert len({each.datagram for each in pair.a.sent}) == 19, "each is a new handshake"
    assert pair.a.engine.counters.no_session == 1
    assert pair.a.engine.deadline() is None
    pair.carries = lambda sender, datagram: True
    pair.send(pair.a, b"another try")
    pair.run(SECOND)
    assert len(pair.b.packets) == 1, "what waited has been dropped, what is sent later goes"


def test_only_the_newest_64_packets_wait_for_a_handshake(pair: Any) -> None:
    packets = pair.send(pair.a, *(bytes((number,)) for number in range(100)))
    pair.run(SECOND)
    assert pair.b.packets == packets[-64:]
    assert pair.a.engine.counters.no_session == 36


def test_what_was_received_is_answered_after_10_s_of_silence(connected: Any) -> None:
    connected.send(connected.a, b"data")
    sent = connected.now
    connected.run(12 * SECOND)
    (keepalive,) = connected.b.sent
    assert (keepalive.kind, len(keepalive.datagram)) == (TRANSPORT, 32)
    assert keepalive.at - sent == 10 * SECOND + 10 * MILLISECOND
    connected.run(60 * SECOND)
    assert len(connected.b.sent) == 1, "a keepalive is not answered by a keepalive"
    assert drops(connected) == 0


def test_own_data_is_answer_enough(connected: Any) -> None:
    connected.send(connected.a, b"question")
    connected.run(5 * SECOND)
    connected.send(connected.b, b"answer")
    connected.run(9 * SECOND)
    assert connected.b.kinds() == [TRANSPORT]


def test_data_unanswered_for_15_s_makes_a_new_handshake(connected: Any) -> None:
    connected.carries = lambda sender, datagram: False
    connected.send(connected.a, b"into the void")
    begun = connected.now
    connected.run(18 * SECOND)
    assert connected.a.kinds() == [TRANSPORT, INITIATION]
    initiated = connected.a.engine.peers[1]._last_sent
    assert 15 * SECOND <= initiated - begun <= 15 * SECOND + 333 * MILLISECOND


def test_a_peer_that_lost_its_keys_is_reached_again(connected: Any) -> None:
    connected.b.engine.peers[1].sessions.wipe()
    connected.send(connected.a, b"not understood")
    connected.run(17 * SECOND)
    connected.send(connected.a, b"understood")
    connected.run(SECOND)
    assert [packet[20:] for packet in connected.b.packets] == [b"understood"]
    assert connected.b.engine.counters.unknown_session == 1


def test_a_session_is_renewed_after_120_s_and_no_packet_is_lost(connected: Any) -> None:
    sent = 0
    for _ in range(400):
        for end in (connected.a, connected.b):
            connected.send(end, b"%d" % sent)
        sent += 1
        connected.run(SECOND)
    assert len(connected.a.packets) == len(connected.b.packets) == sent
    renewals = [each.at for each in connected.a.sent if each.kind == INITIATION]
    assert len(renewals) == 3
    for earlier, later in itertools.pairwise(renewals):
        assert 120 * SECOND <= later - earlier <= 122 * SECOND
    assert INITIATION not in connected.b.kinds(), "only the session's initiator renews it"
    assert drops(connected) == 0


def test_an_initiator_that_only_receives_renews_once_after_165_s(connected: Any) -> None:
    connected.run(148 * SECOND)
    connected.send(connected.b, b"data")
    connected.run(4 * SECOND)
    assert connected.a.kinds() == [], "younger than 165 s"
    connected.carries = lambda sender, datagram: datagram[0] == TRANSPORT
    for _ in range(4):
        connected.send(connected.b, b"data")
        connected.run(SECOND)
    assert connected.a.kinds() == [INITIATION]


def test_a_session_of_180_s_neither_seals_nor_opens(connected: Any) -> None:
    connected.send(connected.a, b"kept back")
    late = connected.a.sent[-1].datagram
    connected.run(SECOND)
    connected.run(180 * SECOND)
    before = list(connected.b.packets)
    connected.receive(connected.b, connected.a.path, [late])
    assert connected.b.engine.counters.expired == 1
    assert connected.b.packets == before
    connected.a.kinds()
    connected.send(connected.b, b"fresh")
    assert connected.b.kinds()[-1] == INITIATION
    connected.run(SECOND)
    assert [packet[20:] for packet in connected.a.packets] == [b"fresh"]


def test_a_persistent_keepalive_begins_the_session_and_repeats_while_all_is_silent(make_pair: Any) -> None:
    pair = make_pair(keepalive=25)
    assert pair.a.kinds() == [INITIATION]
    pair.run(SECOND)
    pair.a.sent.clear()
    pair.run(110 * SECOND)
    assert pair.a.kinds() == [TRANSPORT] * 4
    pair.run(10_000 * SECOND)
    assert pair.a.engine.peers[1].sessions.current is not None, "and renews it for as long as it lasts"


def test_traffic_either_way_puts_a_persistent_keepalive_off(make_pair: Any) -> None:
    pair = make_pair(keepalive=25)
    pair.run(SECOND)
    pair.a.sent.clear()
    for end in (pair.a, pair.b) * 5:
        pair.send(end, b"data")
        pair.run(8 * SECOND)
    assert all(len(each.datagram) > 32 for each in pair.a.sent)


def test_a_peer_that_never_answers_is_tried_for_as_long_as_there_is_traffic(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    for _ in range(200):
        pair.send(pair.a, b"data")
        pair.run(SECOND)
    times = [each.at for each in pair.a.sent]
    assert 33 <= len(times) <= 41
    assert all(later - earlier >= 5 * SECOND for earlier, later in itertools.pairwise(times))


def test_events_say_when_a_peer_is_wanted_before_each_initiation(pair: Any) -> None:
    pair.carries = lambda sender, datagram: False
    pair.send(pair.a, b"data")
    pair.run(11 * SECOND)
    assert pair.a.events == [Awake(1), *[Wanted(1)] * 3]
    assert not any(isinstance(event, Authenticated) for event in pair.a.events)


def test_a_timer_put_off_or_switched_off_does_not_fire() -> None:
    queue, fired = TimerQueue(), []
    late, off, twice = (Timer(lambda now, name=name: fired.append((name, now))) for name in ("late", "off", "twice"))
    for timer in (late, off, twice):
        queue.arm(timer, 10)
    late.due, off.due = 30, 0
    queue.arm(twice, 5)
    queue.advance(4)
    assert fired == []
    queue.advance(20)
    assert fired == [("twice", 20)]
    assert queue.deadline() == 30
    queue.advance(30)
    assert fired == [("twice", 20), ("late", 30)]
    assert queue.deadline() is None
