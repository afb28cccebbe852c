"""Who is no peer holds nothing for long, takes no peer's name, and shuts no peer out."""

from __future__ import annotations

import random

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.testing.clock import SeededEntropy
from ghostwire_transport_quic.admission import Admission, Verdict
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.guests import ACCEPTED, PER_NEIGHBOURHOOD, STRANGERS, Guests, neighbourhood
from ghostwire_transport_quic.library import load_library
from ghostwire_transport_quic.link import Link
from ghostwire_transport_quic.remote import Remote

LIBRARIES = ["aioquic", "qh3"]
VICTIM = ("203.0.113.9", 41_642)


@pytest.fixture(params=LIBRARIES)
def pair(request, make):
    return make(0, request.param), make(1, request.param)


def opened(wire, one, other):
    one.engine.send(other.remote, [b"open"], wire.now)
    wire.run()
    assert other.got == [b"open"]
    other.bursts.clear()


def stranger(make, number):
    end = make(2, "qh3")
    end.address = (f"198.51.100.{number}", 9)
    return end


def test_a_hello_from_an_address_that_is_not_proven_takes_nobodys_name(wire, pair):
    one, other = pair
    own, claimed = one.address, bytes(32)
    one.engine._pin = claimed
    one.engine.send(other.remote, [b"stolen"], wire.now)
    wire.step()
    wire.step()
    one.address = VICTIM
    wire.step()
    one.address = own
    wire.run()
    assert Remote(VICTIM, claimed) not in {remote for remote, _ in other.bursts}
    assert Remote(VICTIM, claimed) not in other.engine._incoming
    assert other.counters.refused_moves > 0


def test_early_data_of_another_host_than_the_tickets_waits_for_the_handshake(wire, pair):
    one, other = pair
    opened(wire, one, other)
    one.engine.close(wire.now)
    wire.run()
    one.address = VICTIM
    one.engine.send(other.remote, [b"early"], wire.now)
    wire.step()
    assert other.got == []
    assert other.engine._incoming == {}
    for _ in range(5):
        one.engine.send(other.remote, [b"later"], wire.now)
        wire.run()
    assert other.bursts[-1] == (one.remote, [b"later"])


def test_a_connection_that_the_mesh_never_answers_ends(wire, pair):
    one, other = pair
    opened(wire, one, other)
    for _ in range(12):
        one.engine.send(other.remote, [b"noise"], wire.now)
        wire.run(0.5)
    assert other.engine.connections == 1
    wire.skip(6)
    wire.run()
    assert one.engine.connections == other.engine.connections == 0


def test_a_connection_that_the_mesh_answers_stays(wire, pair):
    one, other = pair
    opened(wire, one, other)
    other.engine.send(one.remote, [b"answer"], wire.now)
    wire.skip(15)
    assert one.engine.connections == other.engine.connections == 1


def test_who_fills_the_place_of_strangers_shuts_no_peer_out(wire, make):
    end = make(1, "qh3")
    for number in range(STRANGERS + 20):
        stranger(make, number).engine.send(end.remote, [b"let me in"], wire.now)
        wire.run(0.03)
    assert end.counters.accepted > STRANGERS
    assert end.engine.connections <= STRANGERS
    peer = make(0, "qh3")
    peer.engine.send(end.remote, [b"peer"], wire.now)
    wire.run()
    assert b"peer" in end.got
    end.engine.send(peer.remote, [b"welcome"], wire.now)
    wire.run()
    assert peer.got == [b"welcome"]


def test_peers_get_in_while_strangers_use_up_what_all_share():
    admission, now = Admission(SeededEntropy(1)), 0
    admission.befriend("192.0.2.1")
    verdicts = {admission.judge(f"198.51.100.{n}", now, proven=True, crowded=True) for n in range(200)}
    assert verdicts == {Verdict.ACCEPT, Verdict.REFUSE}
    assert admission.judge("198.51.100.250", now, proven=True, crowded=True) is Verdict.REFUSE
    assert admission.judge("192.0.2.1", now, proven=True, crowded=True) is Verdict.ACCEPT


def test_peers_are_asked_for_proof_while_strangers_use_up_that_too():
    admission, now = Admission(SeededEntropy(1)), 0
    admission.befriend("192.0.2.1")
    verdicts = [admission.judge(f"198.51.{n >> 8}.{n & 255}", now, proven=False, crowded=True) for n in range(600)]
    assert (verdicts[0], verdicts[-1]) == (Verdict.RETRY, Verdict.REFUSE)
    assert admission.judge("192.0.2.1", now, proven=False, crowded=True) is Verdict.RETRY


def test_the_oldest_stranger_yields_and_no_peer_does(identities):
    library, guests, counters = load_library("qh3", identities[0]), Guests(), Counters()
    links = [Link(library.dial(None, print), 0, counters, source=("192.0.2.1", 1)) for _ in range(STRANGERS + 1)]
    for number, link in enumerate(links):
        assert guests.yielding() is (links[0] if number == STRANGERS else None)
        guests.add(link, f"192.0.2.{number}")
    assert guests.answered(links[0]) == "192.0.2.0"
    assert guests.answered(links[0]) is None
    assert guests.yielding() is links[1]
    for link in links:
        guests.remove(link)
    assert guests.yielding() is None
    assert not guests.crowded
    assert guests.fit("192.0.2.1")


def test_one_neighbourhood_does_not_take_all_places():
    guests = Guests()
    for _ in range(PER_NEIGHBOURHOOD):
        guests.add(object(), neighbourhood("2001:db8::1"))
    assert not guests.fit(neighbourhood("2001:db8::ffff:1"))
    assert guests.fit(neighbourhood("2001:db8:0:1::1"))


def test_where_all_places_are_peers_nobody_more_fits():
    guests = Guests()
    for number in range(ACCEPTED):
        link = object()
        guests.add(link, str(number))
        guests.answered(link)
    assert not guests.fit("192.0.2.1")


def test_who_only_claims_to_be_a_peer_does_not_keep_what_is_sent_to_it(wire, make):
    impostor, sender = make(0, "qh3"), make(1, "qh3")
    peer = make(2, "qh3")
    peer.address = impostor.address
    wire.ends.remove(peer)
    impostor.engine._pin = peer.pin
    opened(wire, impostor, sender)
    impostor.address = ("198.51.100.66", 6)
    wire.ends.append(peer)
    for _ in range(60):
        impostor.engine._dialled[sender.remote]._moved = wire.now
        sender.engine.send(peer.remote, [b"for the peer"], wire.now)
        wire.run(0.5)
    assert b"for the peer" in peer.got


def test_what_is_due_is_done_in_a_few_rounds(wire, pair):
    one, other = pair
    chance = random.Random(7)
    wire.fate = lambda *_: chance.choice((0, 0, 1, 1, 1, 2))
    for number in range(400):
        if number % 40 < 5:
            one.engine.send(other.remote, [bytes(1000)] * 3, wire.now)
        wire.step()
        for end in wire.ends:
            rounds = 0
            while (deadline := end.engine.deadline()) is not None and deadline <= wire.now:
                end.engine.advance(wire.now)
                end.engine.flush(wire.now)
                rounds += 1
                assert rounds < 5
        wire.now += chance.randrange(200) * MILLISECOND
    assert wire.now > 1_020 * SECOND


@pytest.mark.parametrize("packets", [1, 2])
def test_who_has_not_proven_his_address_is_sent_three_times_what_he_sent_at_most(wire, pair, packets):
    one, other = pair
    one.engine.send(other.remote, [b"open"], wire.now)
    one.engine.flush(wire.now)
    sent = [datagram for datagram, _ in one.engine.take_sends()][:packets]
    wire.ends.remove(one)
    for datagram in sent:
        other.engine.receive([datagram], VICTIM, wire.now)
    wire.skip(30)
    answered = sum(len(datagram) for datagram, _, _ in wire.sent)
    assert 0 < answered <= 3 * sum(map(len, sent))
    assert other.engine.connections == 0
