"""Counting per address."""

from __future__ import annotations

from ghostwire.frontdoor.admission import Admission


def test_one_address_cannot_take_all_places() -> None:
    admission = Admission(3, 2)
    assert [admission.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert admission.enter("192.0.2.2")
    assert not admission.enter("192.0.2.3")


def test_a_place_given_back_is_free_again() -> None:
    admission = Admission(1, 1)
    assert admission.enter("a")
    admission.leave("a")
    assert admission.enter("b")
    admission.leave("b")
    assert admission._held == {}


def test_whoever_is_given_room_takes_it_unless_his_address_has_too_many() -> None:
    admission, left = Admission(2, 1), ["a", "b"]
    assert [admission.enter(address) for address in "ab"] == [True, True]

    def make_room() -> None:
        if left:
            admission.leave(left.pop(0))

    assert not admission.enter("b", make_room)
    assert [admission.enter(address, make_room) for address in "cde"] == [True, True, False]
    assert admission._held == {"c": 1, "d": 1}


def test_an_ipv6_network_counts_as_one_address() -> None:
    admission = Admission(9, 1)
    assert admission.enter("2001:db8::1")
    assert not admission.enter("2001:db8::ffff")
    assert admission.enter("2001:db8:0:1::1")
    assert admission.enter("fe80::1%eth0")
    assert admission.enter("not:an:address")
