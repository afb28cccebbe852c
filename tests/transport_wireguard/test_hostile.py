"""Malformed, truncated, oversized, changed, replayed and misdirected datagrams: dropped, counted, and nothing else."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire_transport_wireguard.handshake_queue import QUEUE
from ghostwire_transport_wireguard.noise import SessionKeys
from ghostwire_transport_wireguard.timers import REJECT_AFTER_MESSAGES

kinds = st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1))
lengths = st.one_of(st.sampled_from([0, 1, 15, 16, 31, 32, 33, 64, 92, 148, 1312, 65_507]), st.integers(0, 300))


@st.composite
def junk(draw: st.DrawFn) -> bytes:
    """A datagram that looks like a WireGuard message to begin with."""
    length = draw(lengths)
    head = struct.pack("<III", draw(kinds), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**32 - 1)))
    return (head + draw(st.binary(max_size=200))).ljust(length, draw(st.sampled_from([b"\0", b"\xff"])))[:length]


def mutated(datagram: bytes, draw: Any) -> bytes:
    changed = bytearray(datagram)
    for _ in range(draw(st.integers(1, 4))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.integers(0, len(changed)))]) if draw(st.booleans()) else bytes(changed)


def works(pair: Any) -> bool:
    """Whether the session still carries packets both ways."""
    pair.a.packets.clear()
    pair.b.packets.clear()
    sent = pair.send(pair.a, b"there"), pair.send(pair.b, b"back")
    pair.run(SECOND)
    return (pair.b.packets, pair.a.packets) == sent


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(junk(), max_size=100))
def test_junk_is_dropped_and_the_session_goes_on(make_pair: Any, path: Any, datagrams: list[bytes]) -> None:
    pair = make_pair()
    pair.connect()
    for source in (path("stranger:1"), pair.a.path):
        pair.receive(pair.b, source, [memoryview(datagram) for datagram in datagrams])
    assert pair.b.packets == []
    assert works(pair)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_changed_messages_of_a_real_conversation_do_no_harm(make_pair: Any, data: st.DataObject) -> None:
    pair = make_pair()
    pair.send(pair.a, b"one", b"x" * 500)
    pair.run(SECOND)
    real = [each.datagram for end in (pair.a, pair.b) for each in end.sent]
    arrived = list(pair.b.packets)
    for _ in range(data.draw(st.integers(1, 20))):
        datagram = data.draw(st.sampled_from(real))
        for end in (pair.a, pair.b):
            pair.receive(end, pair.other(end).path, [mutated(datagram, data.draw)])
    pair.run(SECOND)
    assert pair.b.packets == arrived
    assert works(pair)


def test_each_datagram_is_taken_once(connected: Any) -> None:
    connected.send(connected.a, *(b"%d" % number for number in range(10)))
    replayed = [each.datagram for each in connected.a.sent]
    connected.run(SECOND)
    connected.receive(connected.b, connected.a.path, replayed * 3)
    assert len(connected.b.packets) == 10
    assert connected.b.engine.counters.replayed == 30


def test_datagrams_may_arrive_in_any_order(connected: Any) -> None:
    connected.carries = lambda sender, datagram: False
    packets = connected.send(connected.a, *(b"%d" % number for number in range(100)))
    shuffled = [each.datagram for each in connected.a.sent][::-1]
    connected.receive(connected.b, connected.a.path, shuffled)
    assert connected.b.packets == packets[::-1]


def test_a_replayed_datagram_from_elsewhere_moves_no_path(connected: Any, path: Any) -> None:
    connected.send(connected.a, b"data")
    connected.run(SECOND)
    connected.receive(connected.b, path("stranger:1"), [connected.a.sent[-1].datagram])
    assert connected.b.events == []


def test_strangers_cannot_make_an_engine_grow(connected: Any, path: Any) -> None:
    stranger = path("stranger:1")
    datagrams = [struct.pack("<IIQ", 1 + n % 4, n, n).ljust(60_000, b"x") for n in range(64)]
    sizes = [struct.pack("<II", 1, n).ljust(148, b"x") for n in range(64)]
    connected.receive(connected.b, stranger, datagrams)
    tracemalloc.start()
    for _ in range(50):
        connected.b.engine.receive(stranger, datagrams, connected.now)
        connected.b.engine.receive(stranger, sizes, connected.now)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < QUEUE * 2_000
    assert works(connected)


@pytest.mark.parametrize(
    "inner",
    [
        b"\x45",
        b"\x45" * 16,
        b"\x15" + bytes(31),
        b"\x60" + bytes(31),
        b"\x45\x00\xff\xff" + bytes(28),
        b"\x45\x00\x00\x13" + bytes(28),
        b"\x60\x00\x00\x00\xff\xff" + bytes(42),
    ],
    ids=["one byte", "16 bytes", "version 1", "short v6", "v4 too long", "v4 too short", "v6 too long"],
)
def test_a_peer_that_seals_no_ip_packet_is_dropped_there(connected: Any, inner: bytes) -> None:
    keypair = connected.a.engine.peers[1].sessions.current
    connected.receive(connected.b, connected.a.path, keypair.seal([inner], 1280))
    assert connected.b.packets == []
    assert connected.b.engine.counters.bad_packet == 1


def test_a_peer_may_only_send_from_its_own_addresses(connected: Any, make_ipv4: Any, make_ipv6: Any) -> None:
    keypair = connected.a.engine.peers[1].sessions.current
    genuine = [make_ipv4("100.64.0.2", "100.64.0.3"), make_ipv6("fd00::2", "fd00::3")]
    spoofed = [make_ipv4("100.64.0.9", "100.64.0.3"), make_ipv6("fd00::9", "fd00::3")]
    burst = [spoofed[0], genuine[0], spoofed[1], genuine[1]]
    connected.receive(connected.b, connected.a.path, keypair.seal(burst, 1280))
    assert connected.b.packets == genuine
    assert connected.b.engine.counters.bad_source == 2


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["genuine", "keepalive", "forged", "replayed", "malformed", "unknown"]), max_size=20))
def test_what_else_a_burst_holds_costs_no_genuine_datagram(make_pair: Any, make_ipv4: Any, burst: list[str]) -> None:
    pair = make_pair()
    pair.send(pair.a, b"first")
    pair.run(SECOND)
    keypair, packet = pair.a.engine.peers[1].sessions.current, make_ipv4("100.64.0.2", "100.64.0.3")
    before, counters = len(pair.b.packets), pair.b.engine.counters
    used = keypair.seal([packet], 1280)
    bad = {"replayed": used[0], "malformed": used[0][:31], "unknown": b"\x04\0\0\0" + bytes(60)}

    def make(kind: str) -> Any:
        if kind in bad:
            return bad[kind]
        sealed = keypair.seal([b"" if kind == "keepalive" else packet], 1280)[0]
        return sealed[:-1] + bytes([sealed[-1] ^ 1]) if kind == "forged" else sealed

    pair.receive(pair.b, pair.a.path, used)
    pair.receive(pair.b, pair.a.path, [make(kind) for kind in burst])
    assert pair.b.packets[before:] == [packet] * (1 + burst.count("genuine"))
    found = (counters.forged, counters.replayed, counters.malformed, counters.unknown_session)
    assert found == tuple(map(burst.count, ("forged", "replayed", "malformed", "unknown")))


def test_a_counter_beyond_the_last_is_refused(connected: Any) -> None:
    keypair = connected.a.engine.peers[1].sessions.current
    keypair.counter = REJECT_AFTER_MESSAGES
    assert not keypair.usable(connected.now)
    connected.receive(connected.b, connected.a.path, keypair.seal([b""], 1280))
    assert connected.b.engine.counters.replayed == 1


def test_a_key_of_low_order_in_the_map_costs_only_itself(connected: Any) -> None:
    import ipaddress

    from ghostwire import TunnelPeer
    from ghostwire.keys import NodeKey

    engine = connected.a.engine
    broken = TunnelPeer(2, NodeKey(bytes(32)), (ipaddress.ip_network("100.64.0.66"),), keepalive=25)
    engine.apply([engine.peers[1].spec, broken], connected.now)
    connected.settle()
    connected.run(60 * SECOND)
    assert engine.counters.bad_handshake > 0
    assert works(connected)


def test_session_keys_do_not_show_in_errors() -> None:
    assert "peculiar" not in repr(SessionKeys(b"peculiar", b"peculiar"))
