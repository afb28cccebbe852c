"""Joining TCP segments and UDP datagrams: what is joined says the same as its parts, and what differs is not joined."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from ghostwire_net_linux.offload import PLAIN, VIRTIO_HEADER, joined

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (7, 9))]


def segment(sequence: int, payload: bytes, *, version: int = 4, flags: str = "A", **fields: Any) -> bytes:
    """A TCP segment with valid checksums; ``ip_*`` fields go to the IP header, the others to TCP's."""
    ip_fields = {name[3:]: fields.pop(name) for name in list(fields) if name.startswith("ip_")}
    network = (IP if version == 4 else IPv6)(**ip_fields)
    tcp = TCP(**{"sport": 5, "dport": 6, "ack": 77, "window": 500, "options": TIMESTAMPS} | fields)
    tcp.seq, tcp.flags = sequence & 0xFFFFFFFF, flags
    return bytes(network / tcp / Raw(payload))


def datagram(payload: bytes, *, version: int = 4, dport: int = 6, **fields: Any) -> bytes:
    """A UDP datagram with valid checksums; ``fields`` go to the IP header."""
    return bytes((IP if version == 4 else IPv6)(**fields) / UDP(sport=5, dport=dport) / Raw(payload))


def flow(count: int, size: int = 100, start: int = 1000, **fields: Any) -> list[bytes]:
    return [segment(start + number * size, bytes([number % 256]) * size, **fields) for number in range(count)]


def counts(packets: Sequence[bytes]) -> list[int]:
    return [count for count, _ in joined(packets, udp=True)]


def split(written: bytes) -> list[bytes]:
    """Cut one write as the kernel's segmentation does, with valid checksums throughout (the peer of `joined`)."""
    flags, kind, header, size, start, offset = VIRTIO_HEADER.unpack_from(written)
    packet = written[VIRTIO_HEADER.size :]
    if kind == 0:
        return [packet]
    layer = UDP if kind == 5 else TCP
    assert (flags, offset) == (1, 6 if layer is UDP else 16)
    assert kind in ((1, 5) if packet[0] >> 4 == 4 else (4, 5))
    assert start == (20 if packet[0] >> 4 == 4 else 40)
    whole = (IP if start == 20 else IPv6)(packet)
    payload = packet[header:]
    assert check_of_network(packet, start)
    assert struct.unpack_from(">H", packet, start + offset)[0] == pseudo_sum(packet, start, layer) % 0xFFFF
    return [
        one_of(whole, layer, payload[at : at + size], at, last=at + size >= len(payload))
        for at in range(0, len(payload), size)
    ]


def one_of(whole: Any, layer: Any, payload: bytes, at: int, *, last: bool) -> bytes:
    packet = whole.copy()
    if layer is TCP:
        packet[TCP].seq = (whole[TCP].seq + at) & 0xFFFFFFFF
        packet[TCP].flags = whole[TCP].flags if last else "A"
    else:
        assert whole[UDP].len == len(whole[UDP])
        del packet[UDP].len
    packet[layer].remove_payload()
    del packet[layer].chksum
    if packet.version == 4:
        del packet.chksum, packet.len
    else:
        del packet.plen
    return bytes(packet / Raw(payload))


def check_of_network(packet: bytes, network: int) -> bool:
    if network == 20:
        return struct.unpack_from(">H", packet, 2)[0] == len(packet) and ones_sum(packet[:20]) == 0xFFFF
    return struct.unpack_from(">H", packet, 4)[0] == len(packet) - 40


def ones_sum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_sum(packet: bytes, network: int, layer: Any) -> int:
    addresses = packet[12:20] if network == 20 else packet[8:40]
    return ones_sum(addresses + struct.pack(">HH", 17 if layer is UDP else 6, len(packet) - network))


def rejoined(packets: Sequence[bytes]) -> list[bytes]:
    return [part for _, buffers in joined(packets, udp=True) for part in split(b"".join(buffers))]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("options", [[], TIMESTAMPS])
def test_a_run_of_segments_becomes_one_write_that_splits_into_the_same(version, options):
    packets = flow(40, version=version, options=options)
    assert counts(packets) == [40]
    assert rejoined(packets) == packets


def test_a_shorter_last_segment_ends_the_run():
    packets = [*flow(3), segment(1300, b"s" * 30), segment(1330, b"x" * 100)]
    assert counts(packets) == [4, 1]
    assert rejoined(packets) == packets


def test_a_pushed_segment_ends_the_run_and_keeps_its_flag():
    packets = [*flow(3), segment(1300, b"x" * 100, flags="PA"), segment(1400, b"x" * 100)]
    assert counts(packets) == [4, 1]
    assert rejoined(packets) == packets


def test_a_run_stays_within_the_largest_ip_packet():
    packets = flow(80, size=1228)
    assert counts(packets) == [53, 27]
    assert rejoined(packets) == packets


def test_sequence_numbers_may_wrap():
    packets = flow(5, start=0xFFFFFFFF - 150)
    assert counts(packets) == [5]
    assert rejoined(packets) == packets


NEIGHBOURS = {
    "gap": {"sequence": 1101},
    "repeated": {"sequence": 1000},
    "longer": {"payload": b"x" * 101},
    "other port": {"dport": 7},
    "other source": {"ip_src": "10.0.0.9"},
    "other acknowledgement": {"ack": 78},
    "other window": {"window": 501},
    "other timestamp": {"options": [("NOP", None), ("NOP", None), ("Timestamp", (8, 9))]},
    "other options": {"options": []},
    "selective acknowledgement": {"options": [("NOP", None), ("NOP", None), ("SAck", (1, 2))]},
    "other congestion mark": {"ip_tos": 3},
    "other time to live": {"ip_ttl": 9},
    "fragment": {"ip_flags": "MF"},
    "later fragment": {"ip_frag": 5},
    "no fragmenting": {"ip_flags": "DF"},
    "ip options": {"ip_options": b"\x01\x01\x01\x01"},
    "another protocol": {"ip_proto": 17},
} | {f"flag {flag}": {"flags": flag} for flag in ("S", "SA", "FA", "RA", "UA", "EA", "CA", "P", "")}


@pytest.mark.parametrize("change", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_what_differs_is_not_joined(change):
    fields = {"sequence": 1100, "payload": b"x" * 100} | change
    packets = [*flow(1), segment(fields.pop("sequence"), fields.pop("payload"), **fields)]
    assert counts(packets) == [1, 1]
    assert rejoined(packets) == packets


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        b"\x45" * 71,
        b"\xff" * 100,
        bytes(100),
        datagram(b"x" * 32),
        datagram(b"x" * 100) + b"trailing",
        datagram(b"x" * 100)[:-1],
        datagram(b"x" * 100, flags="MF"),
        datagram(b"x" * 100, version=6) + b"trailing",
        bytes(IP() / UDP(chksum=0) / Raw(b"x" * 100)),
        bytes(IP() / UDP(len=50) / Raw(b"x" * 100)),
        segment(1, b""),
        segment(1, b"", version=6),
        segment(1, b"x" * 100) + b"trailing",
        segment(1, b"x" * 100)[:-1],
        segment(1, b"x" * 100, version=6) + b"trailing",
    ],
)
def test_all_else_is_written_as_it_is(packet):
    assert list(joined([packet, packet], udp=True)) == [(1, [PLAIN, packet])] * 2


def test_other_packets_between_keep_their_place():
    packets = [*flow(2), segment(1200, b""), *flow(2, start=1200), bytes(IP() / UDP()), *flow(2, start=1400)]
    assert counts(packets) == [2, 1, 2, 1, 2]
    assert rejoined(packets) == packets


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_of_one_flow_become_one_write_that_splits_into_the_same(version):
    packets = [datagram(bytes([number]) * 64, version=version) for number in range(40)]
    assert counts(packets) == [40]
    assert rejoined(packets) == packets


def test_a_shorter_last_datagram_ends_the_run():
    packets = [*[datagram(b"x" * 64)] * 3, datagram(b"x" * 40), *[datagram(b"x" * 64)] * 2, datagram(b"x" * 65)]
    assert counts(packets) == [4, 2, 1]
    assert rejoined(packets) == packets


@pytest.mark.parametrize("change", [{"dport": 7}, {"src": "10.0.0.9"}, {"ttl": 9}, {"tos": 3}, {"flags": "DF"}])
def test_datagrams_that_differ_are_not_joined(change):
    packets = [datagram(b"x" * 64), datagram(b"x" * 64, **change)]
    assert counts(packets) == [1, 1]


def test_datagrams_are_written_alone_where_the_kernel_cannot_take_them_apart():
    packets = [datagram(b"x" * 64)] * 3
    assert list(joined(packets, udp=False)) == [(1, [PLAIN, packet]) for packet in packets]


LOOKALIKE_DATAGRAM = st.builds(
    datagram,
    st.sampled_from([b"", b"x" * 40, b"y" * 99, b"z" * 100]),
    version=st.sampled_from([4, 6]),
    dport=st.sampled_from([6, 7]),
)
LOOKALIKE = st.builds(
    segment,
    st.sampled_from([0, 100, 200, 300, 0xFFFFFFFF]),
    st.sampled_from([b"", b"x" * 20, b"y" * 99, b"z" * 100]),
    version=st.sampled_from([4, 6]),
    flags=st.sampled_from(["A", "PA", "FA"]),
    options=st.sampled_from([[], TIMESTAMPS]),
    dport=st.sampled_from([6, 7]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(flow(4, start=0)), LOOKALIKE, LOOKALIKE_DATAGRAM), max_size=12))
def test_any_burst_splits_into_itself(packets):
    assert sum(counts(packets)) == len(packets)
    assert rejoined(packets) == packets


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=150), max_size=6))
def test_garbage_is_never_joined_or_lost(packets):
    assert [buffers for _, buffers in joined(packets, udp=True)] == [[PLAIN, packet] for packet in packets]
