"""The engine in memory: loss, disorder, migration, resumption, and bounds; both libraries, and each with the other."""

from __future__ import annotations

import itertools
import random

import pytest

from ghostwire.engine import SECOND
from ghostwire_transport_quic.header import parse_header
from ghostwire_transport_quic.link import QUEUE, SILENCE
from ghostwire_transport_quic.remote import Remote

PAIRS = [("aioquic", "aioquic"), ("qh3", "qh3"), ("aioquic", "qh3"), ("qh3", "aioquic")]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request, make):
    dialler, server = request.param
    return make(0, dialler), make(1, server)


def opened(wire, one, other) -> None:
    assert one.engine.send(other.remote, [b"open"], wire.now)
    wire.run()
    assert other.got == [b"open"]
    other.bursts.clear()


def test_datagrams_cross_both_ways_and_name_who_sent_them(wire, pair):
    one, other = pair
    opened(wire, one, other)
    assert one.engine.send(other.remote, [bytes(1312), b"small"], wire.now)
    wire.run()
    assert other.bursts == [(one.remote, [bytes(1312), b"small"])] or other.got == [bytes(1312), b"small"]
    other.engine.send(one.remote, [b"back"], wire.now)
    wire.run()
    assert one.bursts == [(other.remote, [b"back"])]
    assert other.counters.dialled == 0


def test_no_udp_payload_is_longer_than_a_path_of_1400_bytes_takes(wire, pair):
    one, other = pair
    opened(wire, one, other)
    one.engine.send(other.remote, [bytes(1312)] * 20, wire.now)
    wire.run()
    assert max(len(datagram) for datagram, _, _ in wire.sent) <= 1400 - 48


def test_a_connection_survives_loss_disorder_and_duplicates(wire, pair):
    one, other = pair
    chance = random.Random(1)
    wire.fate = lambda *_: chance.choice((0, 1, 1, 1, 2))
    wire.reorder = True
    for number in range(60):
        one.engine.send(other.remote, [bytes([number])], wire.now)
        wire.run(0.1)
    assert len(set(other.got)) > 20
    assert len(other.got) == len(set(other.got))


def test_early_datagrams_of_a_resumed_connection_arrive_with_the_first_flight(wire, pair):
    one, other = pair
    opened(wire, one, other)
    one.engine.close(wire.now)
    wire.run()
    assert one.engine.connections == other.engine.connections == 0
    one.engine.send(other.remote, [b"early", bytes(1000), bytes(1312)], wire.now)
    wire.step()
    assert other.got == [b"early", bytes(1000)]
    assert not any(link.complete for link in other.engine._links)
    assert other.bursts[0][0] == one.remote
    wire.run()
    assert other.got == [b"early", bytes(1000), bytes(1312)]
    assert one.counters.resumed == other.counters.resumed == 1


def test_a_ticket_that_the_server_forgot_costs_no_more_than_the_first_datagrams(wire, make):
    one, other = make(0, "aioquic"), make(1, "aioquic")
    opened(wire, one, other)
    one.engine.close(wire.now)
    wire.run()
    wire.ends.remove(other)
    other = make(1, "qh3")
    for _ in range(10):
        one.engine.send(other.remote, [b"again"], wire.now)
        wire.run()
    assert b"again" in other.got


def test_a_server_with_another_certificate_gets_nothing(wire, pair):
    one, other = pair
    assert one.engine.send(Remote(other.address, bytes(32)), [b"secret"], wire.now)
    wire.run()
    assert other.got == []
    assert one.counters.refused_pin == 1
    assert one.counters.dropped_waiting == 1
    assert one.engine.send(Remote(other.address, bytes(32)), [b"secret"], wire.now) is False


def test_the_name_stays_when_a_nat_gives_the_dialler_another_address(wire, pair):
    one, other = pair
    opened(wire, one, other)
    name, moved = one.remote, ("198.51.100.7", 5_555)
    one.address = moved
    for number in range(20):
        one.engine.send(other.remote, [bytes([number])], wire.now)
        wire.run(0.1)
    assert {source for source, _ in other.bursts} == {name}
    other.engine.send(name, [b"still there"], wire.now)
    wire.run()
    assert b"still there" in one.got


def test_the_oldest_gives_way_while_a_connection_is_dialled(wire, pair):
    one, other = pair
    burst = [number.to_bytes(2, "big") for number in range(QUEUE + 10)]
    assert one.engine.send(other.remote, burst, wire.now) is False
    wire.run(1)
    assert other.got == burst[10:]
    assert one.counters.dropped_oldest == 10


def test_an_oversize_datagram_is_dropped_and_blocks_nothing(wire, pair):
    one, other = pair
    opened(wire, one, other)
    assert one.engine.send(other.remote, [bytes(1313), b"", b"after"], wire.now) is False
    wire.run()
    assert other.got == [b"after"]
    assert one.counters.dropped_oversize == 2


def test_an_idle_connection_ends_and_then_nothing_is_due(wire, pair):
    one, other = pair
    opened(wire, one, other)
    wire.skip(180)
    assert one.engine.connections == other.engine.connections == 0
    assert one.engine.deadline() is other.engine.deadline() is None


def test_dialling_where_nobody_is_waits_longer_each_time(wire, make):
    one = make(0, "aioquic")
    nobody = Remote(("192.0.2.99", 1), bytes(32))
    for _ in range(60):
        one.engine.send(nobody, [b"hello"], wire.now)
        wire.skip(1)
    assert 3 <= one.counters.dialled <= 6
    assert one.counters.dropped_waiting > 30


def test_a_silent_end_is_given_up_while_data_is_sent_and_dialled_again(wire, pair):
    one, other = pair
    opened(wire, one, other)
    wire.fate = lambda *_: 0
    for _ in range(8):
        one.engine.send(other.remote, [b"?"], wire.now)
        wire.skip(1)
    wire.fate = lambda *_: 1
    for _ in range(40):
        one.engine.send(other.remote, [b"!"], wire.now)
        wire.run(0.3)
    assert b"!" in other.got
    assert one.counters.dialled >= 2


def test_both_may_dial_at_once(wire, pair):
    one, other = pair
    one.engine.send(other.remote, [b"one"], wire.now)
    other.engine.send(one.remote, [b"other"], wire.now)
    wire.run()
    assert (one.got, other.got) == ([b"other"], [b"one"])


def test_nothing_but_quic_leaves_and_no_byte_of_what_it_carries(wire, pair):
    one, other = pair
    opened(wire, one, other)
    marked = b"marked-so-that-it-can-be-found" * 40
    one.engine.send(other.remote, [marked] * 10, wire.now)
    wire.run()
    assert other.got == [marked] * 10
    for datagram, _, _ in wire.sent:
        header = parse_header(datagram)
        assert header is not None
        assert header.version in (None, 1)
        assert datagram[0] & 0x40
        assert b"marked" not in datagram
        assert datagram[:4] not in {bytes((kind, 0, 0, 0)) for kind in (1, 2, 3, 4)}


def test_a_hello_that_comes_late_names_what_came_before_it(wire, make):
    one, other = make(0, "aioquic"), make(1, "aioquic")
    opened(wire, one, other)
    one.engine.close(wire.now)
    wire.run()
    one.engine.send(other.remote, [bytes(1000)] * 3, wire.now)
    one.engine.flush(wire.now)
    sends = one.engine.take_sends()
    for datagram, _ in sends:
        other.engine.receive([datagram], one.address, wire.now)
    wire.run()
    assert {source for source, _ in other.bursts} == {one.remote}


@pytest.mark.parametrize("lost", [range(1), range(2, 5)], ids=["first", "answer"])
def test_a_lost_packet_of_the_handshake_is_repeated_soon(wire, pair, lost):
    one, other = pair
    count = itertools.count()
    wire.fate = lambda *_: next(count) not in lost
    one.engine.send(other.remote, [b"waits"], wire.now)
    wire.run(0.4)
    one.engine.send(other.remote, [b"sent"], wire.now)
    wire.run(0.1)
    assert b"sent" in other.got
    assert one.counters.dialled == 1


def test_an_end_that_gives_its_peer_no_room_any_more_is_given_up_too(wire, pair):
    one, other = pair
    opened(wire, one, other)
    (link,) = one.engine._links
    link.connection.room = lambda: 0
    wire.fate = lambda *_: 0
    one.engine.send(other.remote, [b"waits"], wire.now)
    wire.run(SILENCE / SECOND - 0.1)
    assert not link.over
    wire.run(0.2)
    assert link.over
    wire.fate = lambda *_: 1
    one.engine.send(other.remote, [b"goes on"], wire.now)
    wire.run()
    assert b"goes on" in other.got
