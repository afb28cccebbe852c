"""What other relays may ask, and what goes to them: presence, forwarding by one hop, closing."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from ghostwire import Fellows, Siblings
from ghostwire.keys import NodeKey
from ghostwire_derp.frames import (
    CLOSE_PEER,
    FORWARD_PACKET,
    PEER_GONE,
    PEER_PRESENT,
    PING,
    PONG,
    RECV_PACKET,
    WATCH_CONNS,
    frame,
)
from ghostwire_derp.relay.outlet import Stream

SIBLING, FELLOW = b"s" * 32, b"f" * 32
FAR, FARTHER = b"far away".ljust(32), b"farther away".ljust(32)


class Notes:
    """What a link told the mesh."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.over = 0

    def frame(self, kind: int, payload: bytes) -> None:
        self.frames.append((kind, payload))

    def lost(self) -> None:
        self.over += 1


class Wire(Stream):
    """A link's stream."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def write(self, buffers: list[Any]) -> int:
        self.written += b"".join(buffers)
        return sum(map(len, buffers))

    def watch(self, writable: bool) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None:
        self.closed = True


@pytest.fixture
def house(house: Any) -> Any:
    house.relaying.mesh, house.relaying.fellows = Siblings(mesh_key=SIBLING), Fellows(mesh_key=FELLOW)
    return house


def relay(house: Any, mesh_key: bytes = SIBLING) -> Any:
    guest = house.connect(address="198.51.100.1")
    house.relaying.refused.add(NodeKey(guest.key))
    guest.login(meshKey=mesh_key.hex())
    return guest


def link(house: Any, *, fellow: bool = False) -> tuple[Any, Wire, Notes]:
    wire, notes = Wire(), Notes()
    return house.router.link(wire, notes, fellow=fellow), wire, notes


def present(guest: Any, address: str = "192.0.2.1", flags: int = 1) -> tuple[int, bytes]:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}" if "." in address else address)
    return PEER_PRESENT, guest.key + mapped.packed + bytes(2) + bytes([flags])


def test_a_relay_needs_the_mesh_key_and_nothing_else(house: Any) -> None:
    assert not relay(house).closed
    assert not relay(house, FELLOW).closed
    assert house.router.load.clients == 0


def test_a_relay_that_logged_in_by_an_older_mesh_key_is_no_relay_any_more(house: Any) -> None:
    alice, sibling, fellow = house.join(), relay(house), relay(house, FELLOW)
    house.router.rekey()
    assert not sibling.closed
    house.relaying.mesh = Siblings(mesh_key=b"n" * 32)
    house.router.rekey()
    assert [guest.closed for guest in (alice, sibling, fellow)] == [False, True, False]
    assert house.counters.closed_removed == 1
    newer = relay(house, b"n" * 32)
    house.router.rekey()
    assert not newer.closed
    assert relay(house).closed


def test_a_watcher_learns_who_is_here_who_comes_and_who_goes(house: Any) -> None:
    alice, watcher = house.join(), relay(house)
    prober = house.join(address="2001:db8::7", IsProber=True)
    watcher.send(frame(WATCH_CONNS))
    assert watcher.heard() == [present(alice), present(prober, "2001:db8::7", 4)]
    bob = house.join()
    assert watcher.heard() == [present(bob)]
    again = house.join(bob.private)
    bob.hang_up()
    assert watcher.heard() == []
    again.hang_up()
    assert watcher.heard() == [(PEER_GONE, bob.key + b"\0")]
    watcher.send(frame(WATCH_CONNS))
    assert watcher.heard() == []


def test_a_forwarded_packet_arrives_as_if_its_source_were_here(house: Any) -> None:
    alice, sibling = house.join(), relay(house)
    sibling.send(
        frame(FORWARD_PACKET, FAR + alice.key + b"hello"),
        frame(PING, b"12345678"),
        frame(FORWARD_PACKET, FARTHER + alice.key),
    )
    assert alice.heard() == [(RECV_PACKET, FAR + b"hello"), (RECV_PACKET, FARTHER)]
    assert sibling.heard() == [(PONG, b"12345678")]
    assert house.counters.packets == 2


def test_a_forwarded_packet_is_not_forwarded_again(house: Any) -> None:
    sibling = relay(house)
    out, wire, _ = link(house)
    house.peers.add_route(FARTHER, out)
    sibling.send(frame(FORWARD_PACKET, FAR + FARTHER + b"hello"))
    assert wire.written == b""
    assert house.counters.dropped_unknown_forwarded == 1


def test_what_a_sibling_forwards_reaches_a_fellows_client_but_a_fellows_does_not(house: Any, tools: Any) -> None:
    sibling, fellow = relay(house), relay(house, FELLOW)
    out, wire, _ = link(house, fellow=True)
    house.peers.add_route(FARTHER, out)
    sibling.send(frame(FORWARD_PACKET, FAR + FARTHER + b"hello"))
    fellow.send(frame(FORWARD_PACKET, FAR + FARTHER + b"lost"))
    assert tools.frames_of(wire.written) == ([(FORWARD_PACKET, FAR + FARTHER + b"hello")], b"")


def test_a_packet_for_a_key_at_another_relay_goes_there_whole(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    out, wire, _ = link(house)
    house.peers.add_route(FAR, out)
    alice.send(tools.packet(FAR, b"1"), tools.packet(bob.key, b"2"), tools.packet(FAR, b"3"))
    assert tools.frames_of(wire.written)[0] == [(FORWARD_PACKET, alice.key + FAR + text) for text in (b"1", b"3")]
    assert bob.heard() == [(RECV_PACKET, alice.key + b"2")]
    assert house.counters.forwarded == 2


def test_who_is_connected_here_is_served_here(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    out, wire, _ = link(house)
    house.peers.add_route(bob.key, out)
    alice.send(tools.packet(bob.key, b"here"))
    assert wire.written == b""
    bob.hang_up()
    assert alice.heard() == []
    alice.send(tools.packet(bob.key, b"there"))
    assert b"there" in wire.written


def test_of_several_relays_a_fellow_is_preferred_then_the_last_to_say_so(house: Any, tools: Any) -> None:
    alice = house.join()
    (one, *_), (two, wire2, _), (near, wire3, _) = link(house), link(house), link(house, fellow=True)
    for route in (near, one, two):
        house.peers.add_route(FAR, route)
    alice.send(tools.packet(FAR, b"1"))
    house.peers.remove_route(FAR, near)
    alice.send(tools.packet(FAR, b"2"))
    house.peers.remove_route(FAR, two)
    house.peers.remove_route(FAR, two)
    alice.send(tools.packet(FAR, b"3"))
    assert [wire.written[-1:] for wire in (wire3, wire2)] == [b"1", b"2"]


def test_who_heard_from_a_far_client_is_told_when_no_relay_reaches_it_any_more(house: Any) -> None:
    alice, sibling = house.join(), relay(house)
    out, _, _ = link(house)
    other, _, _ = link(house)
    house.peers.add_route(FAR, out)
    house.peers.add_route(FAR, other)
    sibling.send(frame(FORWARD_PACKET, FAR + alice.key + b"hello"))
    alice.heard()
    house.peers.remove_route(FAR, out)
    house.turn()
    assert alice.heard() == []
    other.close()
    house.turn()
    assert alice.heard() == [(PEER_GONE, FAR + b"\0")]


def test_a_link_that_ends_takes_its_routes_with_it_and_says_so_once(house: Any, tools: Any) -> None:
    alice = house.join()
    out, wire, notes = link(house)
    house.peers.add_route(FAR, out)
    out.lost()
    out.close()
    out.send(frame(WATCH_CONNS))
    out.forward(alice.key, FAR)
    alice.send(tools.packet(FAR))
    assert (wire.closed, wire.written, notes.over) == (True, b"", 1)
    assert house.counters.dropped_unknown_destination == 1


def test_what_another_relay_says_is_handed_on_frame_by_frame(house: Any) -> None:
    out, wire, notes = link(house)
    arena = house.router.arena
    data = frame(PING, b"12345678") + frame(PEER_GONE, FAR + b"\0") + b"\x09"
    arena.view[: len(data)] = data
    assert out.parse(out, 0, len(data)) == len(data) - 1
    assert notes.frames == [(PING, b"12345678"), (PEER_GONE, FAR + b"\0")]
    out.send(frame(PONG, b"12345678"))
    house.turn()
    assert wire.written == frame(PONG, b"12345678")


def test_a_relay_that_announces_an_endless_frame_is_given_up(house: Any) -> None:
    out, wire, notes = link(house)
    house.router.arena.view[:5] = b"\x09\xff\xff\xff\xff"
    out.parse(out, 0, 5)
    assert wire.closed
    assert notes.over == 1


def test_siblings_are_told_of_fellows_clients_and_fellows_are_not(house: Any) -> None:
    alice, sibling, fellow = house.join(), relay(house), relay(house, FELLOW)
    out, _, _ = link(house, fellow=True)
    house.peers.add_route(FAR, out)
    for watcher in (sibling, fellow):
        watcher.send(frame(WATCH_CONNS))
    assert [data[:32] for _, data in sibling.heard()] == [alice.key, FAR]
    assert [data[:32] for _, data in fellow.heard()] == [alice.key]
    house.peers.add_route(FARTHER, out)
    house.peers.remove_route(FAR, out)
    house.turn()
    assert [(kind, data[:32]) for kind, data in sibling.heard()] == [(PEER_PRESENT, FARTHER), (PEER_GONE, FAR)]
    assert fellow.heard() == []


def test_a_client_that_moves_to_a_fellow_stays_present_to_siblings(house: Any) -> None:
    alice, sibling, fellow = house.join(), relay(house), relay(house, FELLOW)
    for watcher in (sibling, fellow):
        watcher.send(frame(WATCH_CONNS))
        watcher.heard()
    out, _, _ = link(house, fellow=True)
    house.peers.add_route(alice.key, out)
    alice.hang_up()
    assert sibling.heard() == []
    assert fellow.heard() == [(PEER_GONE, alice.key + b"\0")]


def test_a_relay_may_have_a_client_closed(house: Any) -> None:
    alice, again, bob = (first := house.join()), house.join(first.private), house.join()
    relay(house).send(frame(CLOSE_PEER, alice.key))
    assert alice.closed
    assert again.closed
    assert not bob.closed
    assert house.counters.closed_ordered == 2


@pytest.mark.parametrize("wrong", [frame(WATCH_CONNS, b"?"), frame(CLOSE_PEER, b"?"), frame(FORWARD_PACKET, b"?")])
def test_a_relay_that_sends_nonsense_is_closed_as_anyone(house: Any, wrong: bytes) -> None:
    sibling = relay(house)
    sibling.send(wrong)
    assert sibling.closed
    assert house.counters.closed_violation == 1


def test_presence_is_told_to_whoever_asks(house: Any) -> None:
    told = []
    house.peers.on_local.append(lambda key, here: told.append((key, here)))
    alice = house.join()
    relay(house)
    alice.hang_up()
    assert told == [(alice.key, True), (alice.key, False)]


def test_a_watcher_may_be_slow_for_longer_and_loses_no_news(house: Any) -> None:
    watcher = relay(house)
    watcher.send(frame(WATCH_CONNS))
    watcher.room = 3
    guests = [house.join(address=f"192.0.2.{n}") for n in range(30)]
    house.run(20)
    watcher.take(None)
    assert [data[:32] for kind, data in watcher.heard() if kind == PEER_PRESENT] == [guest.key for guest in guests]
