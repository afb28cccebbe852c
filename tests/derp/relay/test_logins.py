"""Who becomes a client, and who does not: logins are checked, bounded in number, in time and in work."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import Box, PublicKey

from ghostwire import Siblings
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire_derp.frames import CLIENT_INFO, MAGIC, NOTE_PREFERRED, PING, PONG, RECV_PACKET, SERVER_INFO, SERVER_KEY
from ghostwire_derp.frames import frame as frame_of
from ghostwire_derp.relay.limits import Limits
from ghostwire_derp.settings import Settings

KEY = b"k" * 32


def opened(guest: Any, box: bytes) -> dict[str, int]:
    server = PublicKey(guest.house.relaying.private_key.public_raw)
    text: dict[str, int] = json.loads(Box(guest.private, server).decrypt(box))
    return text


def test_the_relay_speaks_first_and_says_its_key(house: Any) -> None:
    alice = house.connect()
    assert alice.heard() == [(SERVER_KEY, MAGIC + house.relaying.private_key.public_raw)]


def test_a_client_that_holds_its_key_is_answered_in_a_box_that_it_can_open(house: Any) -> None:
    alice = house.connect()
    alice.heard()
    ((kind, box),) = alice.login()
    assert (kind, opened(alice, box)) == (SERVER_INFO, {"version": 2})
    assert house.counters.logins == 1


def test_a_client_is_told_of_its_rate_limit(tools: Any) -> None:
    house = tools.House(settings=Settings(client_rate=100_000, client_burst=1))
    alice = house.connect()
    alice.heard()
    ((_, box),) = alice.login()
    told = {"version": 2, "TokenBucketBytesPerSecond": 100_000, "TokenBucketBytesBurst": 65_568}
    assert opened(alice, box) == told


def test_what_a_client_sends_right_behind_its_login_is_not_lost(house: Any, tools: Any) -> None:
    bob, alice = house.join(), house.connect()
    login = tools.login(alice.private, house.relaying.private_key.public_raw)
    alice.send(login, frame_of(NOTE_PREFERRED, b"\1"), tools.packet(bob.key), frame_of(PING, b"12345678"))
    assert bob.heard() == [(RECV_PACKET, alice.key + b"data")]
    assert [kind for kind, _ in alice.heard()] == [SERVER_KEY, SERVER_INFO, PONG]


@pytest.mark.parametrize("size", [0, 31, 73, 4097])
def test_a_login_of_an_impossible_size_is_refused(house: Any, size: int) -> None:
    alice = house.connect()
    alice.send(frame_of(CLIENT_INFO, bytes(size)))
    assert alice.closed
    assert house.counters.refused_malformed == 1


def test_anything_else_than_a_login_is_refused_before_it_has_all_come(house: Any) -> None:
    for head in (b"GET /derp HTTP/1.1", b"\x02\x00\x10\x00\x01", b"\x04\x00\x00\x00\x20"):
        guest = house.connect()
        guest.send(head)
        assert guest.closed
    assert house.counters.refused_malformed == 3


def test_who_does_not_hold_the_key_is_refused(house: Any, tools: Any) -> None:
    alice, mallory = house.join(), house.connect()
    forged = tools.login(mallory.private, house.relaying.private_key.public_raw)
    mallory.send(forged[:5] + alice.key + forged[37:])
    assert mallory.closed
    assert house.counters.refused_forged == 1


def test_a_login_at_another_relay_is_worth_nothing_here(house: Any, tools: Any) -> None:
    alice = house.connect()
    alice.send(tools.login(alice.private, PrivateKey(b"another relay's private key, 32 ").public_raw))
    assert alice.closed
    assert house.counters.refused_forged == 1


def test_a_key_that_every_secret_fits_is_refused(house: Any) -> None:
    mallory = house.connect()
    mallory.send(frame_of(CLIENT_INFO, bytes(32) + bytes(100)))
    assert mallory.closed
    assert house.counters.refused_forged == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"version": "two"}', b"\xff\xfe{}", b'{"version": 2'])
def test_a_box_that_holds_no_client_info_is_refused(house: Any, text: bytes) -> None:
    alice = house.connect()
    server = PublicKey(house.relaying.private_key.public_raw)
    alice.send(frame_of(CLIENT_INFO, alice.key + bytes(Box(alice.private, server).encrypt(text))))
    assert alice.closed
    assert house.counters.refused_malformed == 1


def test_a_client_info_of_any_depth_keeps_nobody_else_out(house: Any) -> None:
    alice = house.connect()
    server = PublicKey(house.relaying.private_key.public_raw)
    nested = b'{"x":' + b"[" * 1900 + b"]" * 1900 + b"}"  # too deep for some versions of Python, and for others not
    alice.send(frame_of(CLIENT_INFO, alice.key + bytes(Box(alice.private, server).encrypt(nested))))
    assert alice.closed == (house.counters.refused_malformed == 1)
    assert not house.join().closed


def test_a_key_that_is_not_of_the_mesh_is_refused_without_any_work(house: Any) -> None:
    alice = house.connect()
    house.relaying.refused.add(NodeKey(alice.key))
    alice.send(frame_of(CLIENT_INFO, alice.key + bytes(100)))
    assert alice.closed
    assert (house.counters.refused_not_admitted, house.counters.refused_forged) == (1, 0)


@pytest.mark.parametrize(("key", "counted"), [("00" * 32, "mesh_key"), ("", "not_admitted"), ("x", "mesh_key")])
def test_a_wrong_mesh_key_admits_nobody(house: Any, key: str, counted: str) -> None:
    house.relaying.mesh = Siblings(mesh_key=KEY)
    alice = house.connect()
    house.relaying.refused.add(NodeKey(alice.key))
    alice.login(meshKey=key)
    assert alice.closed
    assert getattr(house.counters, f"refused_{counted}") == 1


def test_without_a_mesh_no_mesh_key_is_right(house: Any) -> None:
    alice = house.connect()
    alice.login(meshKey="00" * 32)
    assert alice.closed
    assert house.counters.refused_mesh_key == 1


def test_a_login_that_is_never_finished_ends_after_ten_seconds(house: Any) -> None:
    alice, bob = house.connect(), house.join()
    alice.send(b"\x02\x00")
    house.run(9)
    assert not alice.closed
    house.run(2)
    assert alice.closed
    assert not bob.closed
    assert house.counters.refused_late == 1


def test_streams_are_bounded_in_number_and_by_address_finished_or_not(tools: Any) -> None:
    house = tools.House(Limits(total=6, per_address=3, unfinished=4, unfinished_per_address=2))
    guests = [house.connect(address="192.0.2.1") for _ in range(3)]
    assert [guest.refused for guest in guests] == [False, False, True]
    guests[0].login()
    assert not house.connect(address="192.0.2.1").refused
    assert house.connect(address="192.0.2.1").refused
    assert [house.connect(address=f"2001:db8::{n}").refused for n in range(3)] == [False, False, True]
    assert house.counters.refused_full == 3
    for guest in house.guests:
        guest.hang_up()
    assert [house.connect(address="192.0.2.1").refused for _ in range(3)] == [False, False, True]


def test_who_says_nothing_makes_room_for_who_comes_but_not_who_waits_for_us(tools: Any) -> None:
    house = tools.House(Limits(unfinished=3, unfinished_per_address=2, logins=1, login_burst=1))
    house.join()
    waiting, silent, slow = [house.connect(address=f"192.0.2.{n}") for n in range(3)]
    waiting.login()
    slow.send(b"\x02\x00")
    for displaced in (silent, slow):
        assert not displaced.closed
        newcomer = house.connect(address="198.51.100.1")
        assert (newcomer.refused, displaced.closed) == (False, True)
    assert house.connect(address="198.51.100.1").refused
    assert not waiting.closed
    assert (house.counters.refused_displaced, house.counters.refused_full) == (2, 1)
    for guest in house.guests:
        guest.login()
    assert house.connect(address="203.0.113.1").refused


def test_a_storm_of_logins_is_worked_off_at_a_bounded_rate_and_all_get_in(tools: Any) -> None:
    house = tools.House(Limits(logins=100, login_burst=10))
    guests = [house.connect(address=f"192.0.2.{n}") for n in range(60)]
    server = house.relaying.private_key.public_raw
    for guest in guests:
        guest.waiting = tools.login(guest.private, server)
    house.turn()
    assert house.counters.logins == 10
    house.run(0.2)
    assert house.counters.logins == 30
    house.run(0.4)
    assert house.counters.logins == 60


def test_a_client_that_hangs_up_before_its_turn_costs_nothing_and_is_forgotten(tools: Any) -> None:
    house = tools.House(Limits(logins=1, login_burst=1))
    house.join()
    alice = house.connect()
    alice.login()
    alice.hang_up()
    house.run(5)
    assert house.counters.logins == 1
    assert house.router.load.clients == 1


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_garbage_never_raises_and_never_logs_in(tools: Any, chunks: list[bytes]) -> None:
    house = tools.House()
    guest = house.connect()
    for chunk in chunks:
        guest.send(chunk)
    house.run(11)
    assert guest.closed
    assert house.counters.logins == 0
