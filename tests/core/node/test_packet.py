"""Reading packets: whatever is in them, without an error, and the same as scapy does."""

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_LSRR, IPOption_RR
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH, ESP
from scapy.packet import Raw

from ghostwire.node.packet import Packet, parse
from ghostwire.node.shortcuts import heads

A, B = "100.64.0.1", "100.64.0.2"
A6, B6 = "fd00::1", "fd00::2"
EXTENSIONS: list[Any] = [IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, lambda: IPv6ExtHdrRouting(segleft=0)]


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x45" + bytes(19))
@example(bytes([0x60, 0, 0, 0, 0, 0, 0, 0]) + bytes(32) + bytes([0, 0]) * 120)
def test_no_bytes_upset_it(data: bytes) -> None:
    for view in (data, memoryview(bytearray(data))):
        packet = parse(view)
        assert packet is None or packet.quoted is None or isinstance(packet.quoted, Packet)
        assert len(heads([view])) == 1


@given(st.binary(min_size=40, max_size=80), st.sampled_from((0x45, 0x4F, 0x60)), st.integers(0, 255))
def test_no_bytes_behind_a_likely_beginning_upset_it(data: bytes, first: int, protocol: int) -> None:
    whole = bytearray(data)
    whole[0], whole[6 if first == 0x60 else 9] = first, protocol
    parse(whole)


@given(st.lists(st.sampled_from(EXTENSIONS), max_size=6), st.integers(0, 65535), st.integers(0, 65535))
def test_ports_are_found_behind_every_chain_of_extension_headers(chain: Any, source: int, port: int) -> None:
    made = IPv6(src=A6, dst=B6)
    for each in chain:
        made /= each()
    packet = parse(bytes(made / UDP(sport=source, dport=port)))
    assert packet is not None
    assert (packet.protocol, packet.source_port, packet.port) == (17, source, port)
    assert packet.plain is (not chain)


def test_a_chain_that_is_too_long_is_not_read_to_its_end() -> None:
    made = IPv6(src=A6, dst=B6)
    for _ in range(9):
        made /= IPv6ExtHdrDestOpt()
    assert parse(bytes(made / UDP())) is None


@pytest.mark.parametrize(("layer", "protocol"), [(AH(spi=1), 51), (ESP(spi=1), 50)], ids=["AH", "ESP"])
def test_what_is_sealed_for_others_is_a_protocol_without_ports(layer: Any, protocol: int) -> None:
    for made in (IP(src=A, dst=B, proto=protocol), IPv6(src=A6, dst=B6, nh=protocol)):
        packet = parse(bytes(made / Raw(bytes(layer) + bytes(TCP(dport=22)))))
        assert packet is not None
        assert (packet.protocol, packet.port, packet.plain) == (protocol, None, False)


def test_a_packet_that_says_its_way_is_not_read() -> None:
    assert parse(bytes(IP(src=A, dst=B, options=[IPOption_LSRR(routers=["10.0.0.1"])]) / UDP())) is None
    assert parse(bytes(IPv6(src=A6, dst=B6) / IPv6ExtHdrRouting(segleft=1, addresses=[A6]) / UDP())) is None
    harmless = parse(bytes(IP(src=A, dst=B, options=[IPOption_RR()]) / UDP(dport=53)))
    assert harmless is not None
    assert (harmless.port, harmless.plain) == (53, False)


def test_only_a_lone_syn_begins_a_tcp_flow() -> None:
    kinds = {flags: parse(bytes(IP(src=A, dst=B) / TCP(flags=flags))) for flags in ("S", "SA", "A", "R", "PA", "SEC")}
    assert [flags for flags, packet in kinds.items() if packet and packet.begins] == ["S", "SEC"]


def test_a_later_fragment_has_no_ports() -> None:
    packet = parse(bytes(IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(offset=9, id=5, nh=17) / UDP(dport=53)))
    assert packet is not None
    assert (packet.port, packet.fragment, packet.offset) == (None, 5, 9)


def test_a_head_says_all_that_a_flow_is() -> None:
    base: dict[str, Any] = {"src": A, "dst": B}
    made = [
        IP(**base) / UDP(sport=1, dport=2),
        IP(**base) / UDP(sport=1, dport=3),
        IP(**base) / TCP(sport=1, dport=2),
        IP(src=B, dst=A) / UDP(sport=1, dport=2),
        IP(**base, flags="MF") / UDP(sport=1, dport=2),
        IP(**base, frag=7) / UDP(sport=1, dport=2),
        IPv6(src=A6, dst=B6) / UDP(sport=1, dport=2),
        IPv6(src=A6, dst=B6) / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2),
    ]
    found = heads([bytes(each / Raw(bytes(20))) for each in made])
    assert len(set(found)) == len(made)
    assert heads([b"", struct.pack("!B", 0x60)]) == [None, None]
