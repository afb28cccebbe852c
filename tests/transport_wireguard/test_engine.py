"""The engine as a device: peers, routes, paths and what it says of them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ghostwire import TunnelPeer
from ghostwire.engine import SECOND
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire_transport_wireguard.local import Authenticated, Awake, Established, Wanted

INITIATION, RESPONSE, TRANSPORT = 1, 2, 4
THIRD = PrivateKey(b"t" * 32).public(NodeKey)


def net(text: str) -> Any:
    return ipaddress.ip_network(text)


def test_a_preshared_key_must_be_the_same_on_both_sides(make_pair: Any) -> None:
    pair = make_pair(preshared=b"p" * 32)
    assert len(pair.send(pair.a, b"data")) == 1
    pair.run(SECOND)
    assert len(pair.b.packets) == 1
    pair = make_pair(preshared=b"p" * 32)
    pair.b.engine.apply([replace(pair.b.engine.peers[1].spec, preshared_key=b"q" * 32)], pair.now)
    pair.send(pair.a, b"data")
    pair.run(SECOND)
    assert pair.b.packets == []
    assert pair.a.engine.counters.bad_handshake == 1


@given(st.lists(st.integers(0, 1260), min_size=1, max_size=64))
def test_packets_of_every_size_arrive_as_they_were(make_pair: Any, sizes: list[int]) -> None:
    pair = make_pair()
    packets = pair.send(pair.a, *(bytes([size % 256]) * size for size in sizes))
    pair.run(SECOND)
    assert pair.b.packets == packets
    for each in pair.a.sent:
        if each.kind == TRANSPORT:
            assert (len(each.datagram) - 32) % 16 == 0
            assert len(each.datagram) <= 1280 + 32


def test_padding_ends_at_the_mtu(connected: Any) -> None:
    from ghostwire_transport_wireguard.keypair import OVERHEAD

    keypair = connected.a.engine.peers[1].sessions.current
    sizes = [
        len(datagram) - OVERHEAD for datagram in keypair.seal([b"x" * n for n in (0, 1, 16, 17, 1405, 1420)], 1420)
    ]
    assert sizes == [0, 16, 16, 32, 1408, 1420]


def test_both_ip_versions_are_routed(connected: Any, make_ipv6: Any) -> None:
    packet = make_ipv6("fd00::2", "fd00::3", b"six")
    connected.a.engine.send([packet], connected.now)
    connected.settle()
    connected.run(SECOND)
    assert connected.b.packets == [packet]


def test_a_burst_to_several_peers_leaves_as_one_send_for_each(connected: Any, make_ipv4: Any, path: Any) -> None:
    engine = connected.a.engine
    engine.apply([engine.peers[1].spec, TunnelPeer(2, THIRD, (net("100.64.0.9"),))], connected.now)
    engine.attach(2, [path("third:1")])
    to_b, to_third = make_ipv4("100.64.0.2", "100.64.0.3"), make_ipv4("100.64.0.2", "100.64.0.9")
    engine.send([to_b, to_third] * 32, connected.now)
    sends = engine.take_sends()
    assert [len(send.datagrams) for send in sends] == [32, 1], "a burst, and an initiation"
    assert [send.paths() for send in sends] == [(connected.b.path,), (path("third:1"),)]


def test_packets_that_cannot_leave_are_counted_by_reason(connected: Any, make_ipv4: Any) -> None:
    packets = [b"", b"\x45" * 19, b"\x60" + bytes(30), b"\x75" + bytes(30)]
    packets += [make_ipv4("100.64.0.2", "100.64.7.7"), make_ipv4("100.64.0.2", "100.64.0.3", bytes(1300))]
    connected.a.engine.send(packets, connected.now)
    counters = connected.a.engine.counters
    assert (counters.bad_packet, counters.no_peer, counters.oversized) == (4, 1, 1)
    assert not connected.a.engine.has_output


def test_everything_goes_over_both_attached_paths(connected: Any, path: Any) -> None:
    second = path("b:2")
    connected.a.engine.attach(1, [connected.b.path, second])
    connected.send(connected.a, b"twice")
    assert connected.a.sent[-1].paths == (connected.b.path, second)


def test_a_new_source_is_told_and_answers_stay_on_the_attached_path(connected: Any, path: Any) -> None:
    moved = path("a:2")
    connected.send(connected.a, b"from elsewhere")
    datagram = connected.a.sent[-1].datagram
    connected.receive(connected.b, moved, [datagram])
    assert connected.b.events == [Authenticated(1, moved)]
    connected.send(connected.b, b"answer")
    assert connected.b.sent[-1].paths == (connected.a.path,)
    connected.b.engine.attach(1, [moved])
    connected.send(connected.b, b"answer")
    assert connected.b.sent[-1].paths == (moved,)


def test_forged_datagrams_from_a_new_source_tell_nothing(connected: Any, path: Any) -> None:
    connected.send(connected.a, b"data")
    datagram = connected.a.sent[-1].datagram
    connected.receive(connected.b, path("x:1"), [datagram[:-1] + b"\0"])
    assert connected.b.events == []
    assert connected.b.engine.counters.forged == 1


def test_a_responder_without_a_path_answers_to_the_source(make_pair: Any) -> None:
    pair = make_pair(attach=False)
    pair.a.engine.attach(1, [pair.b.path])
    pair.send(pair.a, b"data")
    pair.run(SECOND)
    assert len(pair.b.packets) == 1
    assert pair.b.sent[0].paths == (pair.a.path,)
    assert pair.b.events[:1] == [Authenticated(1, pair.a.path)]
    assert Established(1, pair.a.path) in pair.b.events


def test_an_initiation_without_a_path_goes_out_as_soon_as_one_is_attached(make_pair: Any) -> None:
    pair = make_pair(attach=False)
    pair.send(pair.a, b"data")
    assert [each.paths for each in pair.a.sent] == [()]
    pair.b.engine.attach(1, [pair.a.path])
    pair.a.engine.attach(1, [pair.b.path])
    pair.settle()
    pair.run(SECOND)
    assert len(pair.b.packets) == 1


def test_a_path_attached_when_the_peer_is_wanted_gets_one_initiation(make_pair: Any, make_ipv4: Any) -> None:
    pair = make_pair(attach=False)
    engine = pair.a.engine
    engine.send([make_ipv4("100.64.0.2", "100.64.0.3")], pair.now)
    assert engine.take_events() == [Awake(1), Wanted(1)]
    engine.attach(1, [pair.b.path])
    (send,) = engine.take_sends()
    assert send.paths() == (pair.b.path,)


def test_an_unanswered_initiation_is_repeated_over_a_path_attached_later(make_pair: Any, path: Any) -> None:
    pair = make_pair()
    pair.a.engine.attach(1, [path("dead:1")])
    pair.send(pair.a, b"data")
    pair.run(SECOND)
    assert pair.b.packets == []
    pair.a.engine.attach(1, [path("dead:1"), pair.b.path])
    pair.settle()
    pair.run(SECOND)
    assert [packet[20:] for packet in pair.b.packets] == [b"data"]
    assert pair.a.kinds()[:2] == [INITIATION, INITIATION]


def test_unchanged_peers_keep_their_sessions_and_removed_ones_lose_their_keys(connected: Any) -> None:
    engine = connected.a.engine
    spec = engine.peers[1].spec
    engine.apply([spec, TunnelPeer(2, THIRD, (net("100.64.0.9"),))], connected.now)
    connected.send(connected.a, b"still here")
    connected.run(SECOND)
    assert len(connected.b.packets) == 1
    removed = engine.peers[1]
    engine.apply([], connected.now)
    assert removed.sessions.current is None
    assert not engine._local.sessions
    assert not engine._by_key
    assert connected.send(connected.a, b"to nobody")
    assert engine.counters.no_peer == 1


def test_a_peer_with_another_key_is_another_peer(connected: Any) -> None:
    engine = connected.a.engine
    engine.apply([replace(engine.peers[1].spec, key=THIRD)], connected.now)
    assert engine.peers[1].sessions.current is None
    assert list(engine._by_key) == [THIRD.raw]


def test_an_address_moves_to_the_peer_that_has_it_now(connected: Any, make_ipv4: Any) -> None:
    engine = connected.a.engine
    spec = engine.peers[1].spec
    third = TunnelPeer(2, THIRD, (net("100.64.0.3"),))
    engine.apply([third, replace(spec, allowed_ips=(net("100.64.0.77"),))], connected.now)
    engine.send([make_ipv4("100.64.0.2", "100.64.0.3")], connected.now)
    assert engine.take_events() == [Awake(2), Wanted(2)]
    engine.apply([spec], connected.now)
    connected.sent = connected.send(connected.a, b"back again")
    connected.run(SECOND)
    assert len(connected.b.packets) == 1


def test_the_own_key_is_no_peer(connected: Any) -> None:
    connected.a.engine.apply([TunnelPeer(5, connected.a.public(), (net("100.64.0.2"),))], connected.now)
    assert not connected.a.engine.peers


def test_turning_a_persistent_keepalive_off_stops_it(make_pair: Any) -> None:
    pair = make_pair(keepalive=25)
    pair.run(SECOND)
    pair.a.engine.apply([replace(pair.a.engine.peers[1].spec, keepalive=0)], pair.now)
    pair.a.kinds()
    pair.run(100 * SECOND)
    assert pair.a.kinds() == []


def test_counters_count_sealed_bytes_on_both_sides_alike(pair: Any) -> None:
    pair.send(pair.a, b"one", b"x" * 1000)
    pair.run(SECOND)
    pair.send(pair.b, b"two")
    pair.run(SECOND)
    a, b = pair.a.engine.peers[1], pair.b.engine.peers[1]
    assert a.sent_bytes == b.received_bytes == sum(len(each.datagram) for each in pair.a.sent)
    assert b.sent_bytes == a.received_bytes == sum(len(each.datagram) for each in pair.b.sent)


@pytest.mark.parametrize("peers", [1, 200])
def test_an_idle_peer_is_no_work(make_pair: Any, peers: int) -> None:
    pair = make_pair()
    specs = [TunnelPeer(id_, PrivateKey(id_.to_bytes(32, "big")).public(NodeKey), ()) for id_ in range(2, 2 + peers)]
    pair.a.engine.apply(specs, pair.now)
    assert pair.a.engine.deadline() is None
    assert not pair.a.engine.has_output


def test_the_table_of_sessions_does_not_grow_with_handshakes(pair: Any) -> None:
    for _ in range(20):
        for end in (pair.a, pair.b):
            pair.send(end, b"data")
        pair.run(130 * SECOND)
    for end in (pair.a, pair.b):
        assert len(end.engine._local.sessions) <= 3
        assert len(end.engine._local.pending) <= 1
        assert len(end.engine._local.timers._heap) <= 10


@pytest.mark.parametrize(
    ("source", "taken"),
    [("10.1.2.3", True), ("10.1.7.3", False), ("10.2.0.1", False), ("fd77::1", True), ("fd78::1", False)],
)
def test_packets_of_accepted_prefixes_are_taken_where_no_longer_prefix_is_another_peers(
    connected: Any, make_ipv4: Any, make_ipv6: Any, source: str, taken: bool
) -> None:
    """Peer 1 stands by for 10.1.0.0/16, which is peer 9's, as 10.1.7.0/24 in it is."""
    engine, keypair = connected.b.engine, connected.a.engine.peers[1].sessions.current
    spec = engine.peers[1].spec
    other = TunnelPeer(9, THIRD, (net("10.1.0.0/16"), net("10.1.7.0/24"), net("fd77::/64")))
    engine.apply([replace(spec, accepts=(net("10.1.0.0/16"), net("fd77::/64"))), other], connected.now)
    packet = make_ipv6(source, "fd00::3") if ":" in source else make_ipv4(source, "100.64.0.3")
    connected.receive(connected.b, connected.a.path, keypair.seal([packet], 1280))
    assert connected.b.packets == ([packet] if taken else [])
    assert engine.counters.bad_source == (not taken)
    engine.apply([spec, other], connected.now)
    connected.receive(connected.b, connected.a.path, keypair.seal([packet], 1280))
    assert engine.counters.bad_source == (not taken) + 1, "accepted no longer"
