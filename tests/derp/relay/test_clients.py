"""What a relay does for its clients."""

from __future__ import annotations

from typing import Any

import pytest

from ghostwire.keys import NodeKey
from ghostwire_derp.frames import (
    CLOSE_PEER,
    FORWARD_PACKET,
    HEALTH,
    KEEP_ALIVE,
    MAX_DATA,
    NOTE_PREFERRED,
    PEER_GONE,
    PING,
    PONG,
    RECV_PACKET,
    SEND_PACKET,
    WATCH_CONNS,
    frame,
)
from ghostwire_derp.relay.limits import Limits

ELSEWHERE = b"e" * 32


def test_a_packet_arrives_with_its_source_instead_of_its_destination(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    alice.send(tools.packet(bob.key, b"hello"))
    assert bob.heard() == [(RECV_PACKET, alice.key + b"hello")]
    assert alice.heard() == []
    assert house.counters.packets == 1


def test_packets_for_several_destinations_each_find_their_own_in_order(house: Any, tools: Any) -> None:
    alice, bob, carol = house.join(), house.join(), house.join()
    alice.send(*(tools.packet(key, b"%d" % n) for n, key in enumerate([bob.key, bob.key, carol.key, bob.key])))
    assert bob.heard() == [(RECV_PACKET, alice.key + text) for text in (b"0", b"1", b"3")]
    assert carol.heard() == [(RECV_PACKET, alice.key + b"2")]


def test_a_client_may_send_to_itself(house: Any, tools: Any) -> None:
    alice = house.join()
    alice.send(tools.packet(alice.key, b"me"))
    assert alice.heard() == [(RECV_PACKET, alice.key + b"me")]


@pytest.mark.parametrize("size", [0, 1, MAX_DATA])
def test_packets_of_every_size_up_to_the_largest_pass(house: Any, tools: Any, size: int) -> None:
    alice, bob = house.join(), house.join()
    alice.send(tools.packet(bob.key, b"x" * size), tools.packet(bob.key, b"after"))
    assert bob.heard() == [(RECV_PACKET, alice.key + b"x" * size), (RECV_PACKET, alice.key + b"after")]


def test_more_than_the_memory_holds_passes_in_one_go(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    alice.send(*(tools.packet(bob.key, b"%6d" % n + bytes(1400)) for n in range(2000)))
    assert [int(data[32:38]) for _, data in bob.heard()] == list(range(2000))


def test_a_ping_is_answered_with_its_first_eight_bytes(house: Any) -> None:
    alice = house.join()
    alice.send(frame(PING, b"12345678 and more"))
    assert alice.heard() == [(PONG, b"12345678")]


def test_of_many_pings_at_once_one_is_answered(house: Any) -> None:
    alice = house.join()
    alice.send(*[frame(PING, b"12345678")] * 100)
    assert alice.heard() == [(PONG, b"12345678")]
    assert house.counters.dropped_pings == 99
    alice.send(frame(PING, b"87654321"))
    assert alice.heard() == [(PONG, b"87654321")]


def test_a_home_is_counted_and_unknown_frames_are_ignored(house: Any) -> None:
    alice = house.join()
    alice.send(frame(NOTE_PREFERRED, b"\1"), frame(0x7F, b"future"), frame(HEALTH), frame(NOTE_PREFERRED, b"\0"))
    assert not alice.closed
    assert house.counters.preferred == 1


@pytest.mark.parametrize(
    "forbidden",
    [
        frame(WATCH_CONNS),
        frame(CLOSE_PEER, bytes(32)),
        frame(FORWARD_PACKET, bytes(64) + b"data"),
        frame(SEND_PACKET, b"too short for a key"),
        frame(SEND_PACKET, bytes(32 + MAX_DATA + 1)),
        frame(0x7F, bytes(128 * 1024)),
        frame(PING, b"short"),
        frame(NOTE_PREFERRED),
        b"\x7f\xff\xff\xff\xff",
        b"\x04\x00\x10\x00\x00",
    ],
    ids=lambda forbidden: forbidden[:5].hex(),
)
def test_forbidden_malformed_and_oversized_frames_end_the_connection(house: Any, forbidden: bytes) -> None:
    alice = house.join()
    alice.send(forbidden)
    assert alice.closed
    assert house.counters.closed_violation == 1
    assert house.router.load.clients == 0


def test_packets_for_nobody_are_counted_and_only_discovery_is_answered_at_a_bounded_rate(
    house: Any, tools: Any
) -> None:
    alice = house.join()
    alice.send(tools.packet(ELSEWHERE))
    assert alice.heard() == []
    alice.send(*[tools.packet(ELSEWHERE, tools.disco())] * 10)
    assert alice.heard() == [(PEER_GONE, ELSEWHERE + b"\1")] * 3
    house.run(1)
    alice.send(*[tools.packet(ELSEWHERE, tools.disco())] * 10)
    assert alice.heard() == [(PEER_GONE, ELSEWHERE + b"\1")]
    assert house.counters.dropped_unknown_destination == 21


def test_who_heard_from_a_client_is_told_of_its_going_and_nobody_else(house: Any, tools: Any) -> None:
    alice, bob, carol = house.join(), house.join(), house.join()
    alice.send(tools.packet(bob.key))
    carol.send(tools.packet(alice.key))
    bob.heard()
    alice.hang_up()
    assert bob.heard() == [(PEER_GONE, alice.key + b"\0")]
    assert carol.heard() == []


def test_how_many_are_told_of_a_going_is_bounded(tools: Any) -> None:
    from ghostwire_derp.relay.limits import Limits

    house = tools.House(Limits(heard_by=3))
    alice, others = house.join(), [house.join() for _ in range(10)]
    alice.send(*(tools.packet(other.key) for other in others))
    alice.hang_up()
    assert sum(frame[0] == PEER_GONE for other in others for frame in other.heard()) == 3


def test_of_two_connections_of_one_key_the_last_to_send_gets_the_packets(house: Any, tools: Any) -> None:
    alice, first = house.join(), house.join()
    second = house.join(first.private)
    alice.send(tools.packet(first.key, b"1"))
    assert [len(guest.heard()) for guest in (first, second)] == [0, 1]
    first.send(frame(NOTE_PREFERRED, b"\1"))
    alice.send(tools.packet(first.key, b"2"))
    assert [len(guest.heard()) for guest in (first, second)] == [1, 0]
    assert house.router.load.clients == 2


def test_who_heard_whom_takes_no_more_memory_than_its_share(tools: Any) -> None:
    house = tools.House(Limits(all_heard_by=20))
    guests = [house.join() for _ in range(10)]
    for guest in guests:
        guest.send(*[tools.packet(other.key) for other in guests])
    assert {len(house.peers.heard_by(guest.key)) for guest in guests} == {2}


def test_a_key_has_only_so_many_connections_and_those_that_sent_least_lately_go(tools: Any) -> None:
    house = tools.House(Limits(per_key=3))
    bob, first = house.join(), house.join()
    second, third = house.join(first.private), house.join(first.private)
    first.send(tools.packet(bob.key))
    fourth = house.join(first.private)
    assert [guest.closed for guest in (first, second, third, fourth)] == [False, True, False, False]
    assert house.counters.closed_duplicate == 1
    bob.send(tools.packet(first.key))
    assert fourth.heard() == [(RECV_PACKET, bob.key + b"data")]


def test_only_the_last_of_several_connections_to_go_is_told_of(house: Any, tools: Any) -> None:
    alice, first = house.join(), house.join()
    second, third = house.join(first.private), house.join(first.private)
    first.send(tools.packet(alice.key))
    alice.heard()
    first.hang_up()
    second.hang_up()
    assert alice.heard() == []
    alice.send(tools.packet(first.key))
    assert len(third.heard()) == 1
    third.hang_up()
    assert alice.heard() == [(PEER_GONE, first.key + b"\0")]


def test_everybody_gets_a_keep_alive_each_minute_at_different_moments(house: Any) -> None:
    guests = [house.join() for _ in range(50)]
    house.run(59)
    assert [guest.heard() for guest in guests] == [[]] * 50
    early = 0
    for _ in range(3):
        house.run(1)
        early += sum(bool(guest.heard()) for guest in guests)
    assert 0 < early < 50
    house.run(65)
    assert all((KEEP_ALIVE, b"") in guest.heard() for guest in guests)


def test_a_removed_key_loses_all_its_connections_at_once(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    again = house.join(alice.private)
    house.router.remove([NodeKey(alice.key), NodeKey(b"z" * 32)])
    assert alice.closed
    assert again.closed
    assert not bob.closed
    assert house.counters.closed_removed == 2
    bob.send(tools.packet(alice.key))
    assert house.counters.dropped_unknown_destination == 1


def test_a_stream_that_breaks_while_it_is_written_to_ends_as_one_that_hung_up(house: Any, tools: Any) -> None:
    alice, bob, carol = house.join(), house.join(), house.join()
    bob.send(tools.packet(carol.key))
    carol.heard()
    bob.broken = True
    alice.send(tools.packet(bob.key))
    assert bob.closed
    assert carol.heard() == [(PEER_GONE, bob.key + b"\0")]


def test_what_is_counted_is_what_passed(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    before = house.counters.sent_bytes
    alice.send(tools.packet(bob.key, b"x" * 1000))
    assert house.counters.sent_bytes - before == 1037
    assert house.router.load.clients == 2
    assert house.router.load.bytes == house.counters.sent_bytes
    house.router.close_all()
    assert alice.closed
    assert bob.closed
    assert house.router.load.clients == 0
    house.run(1)
    assert house.router.deadline() is None
