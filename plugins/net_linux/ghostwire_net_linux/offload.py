"""Joins consecutive TCP segments or UDP datagrams of one flow into one large packet, taken by the kernel in one write.

The kernel then handles dozens of them at once, and TCP acknowledges them together: what receive offload does for a
network card. Each write to a TUN device made with IFF_VNET_HDR starts with a virtio_net_hdr (linux/virtio_net.h):

    flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2)     in the machine's byte order

A joined packet leaves its checksum to the kernel. The packets' own are not verified before: they were authenticated
by the tunnel, which the kernel's WireGuard takes as proof enough, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ghostwire import Buffer

VIRTIO_HEADER = struct.Struct("=BBHHHH")
PLAIN: Final = VIRTIO_HEADER.pack(0, 0, 0, 0, 0, 0)
"""Before a packet that is just itself."""

_NEEDS_CSUM, _GSO_TCPV4, _GSO_TCPV6, _GSO_UDP = 1, 1, 4, 5
_ACK, _PUSH = 0x10, 0x08
_TCP, _UDP = 6, 17
_LARGEST = 65_535
_SHORTEST = 61
"""A byte more than the headers that are looked into: nothing below this is worth joining."""
_PORTS, _LENGTH, _CHECKSUM = 0, 4, 6
"""Where the UDP header has them."""


class _Layout(NamedTuple):
    """Headers of one fixed length in all: how to read them, and where things are.

    ``alike`` reads what equally long packets of a run have in common: all but IPv4's packet number and the
    checksums, and but for TCP's ``sequence`` number. UDP has none: its ports, which stay the same, stand in for it.
    """

    alike: Callable[[Buffer], tuple[bytes, ...]]
    sequence: Callable[[Buffer], tuple[int]]
    protocol: int
    kind: int
    network: int
    header: int
    checksum: int

    def step(self, size: int) -> int:
        """How far a packet of this size moves the sequence number."""
        return size - self.header if self.protocol == _TCP else 0

    def pushed(self, packet: Buffer) -> int:
        """TCP's push flag, which ends a run."""
        return packet[self.network + 13] & _PUSH if self.protocol == _TCP else 0

    def resize(self, head: bytearray, size: int) -> None:
        """Write the lengths of a packet of this size into its headers."""
        struct.pack_into(">H", head, *((2, size) if self.network == 20 else (4, size - 40)))
        if self.protocol == _UDP:
            struct.pack_into(">H", head, self.network + _LENGTH, size - self.network)


def _tcp(network: int, alike: str, kind: int) -> dict[int, _Layout]:
    """By the byte with TCP's data offset: headers without options, and with timestamps as every flow has them."""
    sequence = struct.Struct(f">{network + 4}xI").unpack_from
    return {
        size // 4 << 4: _Layout(
            struct.Struct(f"{alike}4x8s4x{size - 20}s").unpack_from,
            sequence,
            _TCP,
            kind,
            network,
            network + size,
            network + 16,
        )
        for size in (20, 32)
    }


def _udp(network: int, alike: str) -> _Layout:
    return _Layout(
        struct.Struct(f"{alike}2s").unpack_from,
        struct.Struct(f">{network + _PORTS}xI").unpack_from,
        _UDP,
        _GSO_UDP,
        network,
        network + 8,
        network + _CHECKSUM,
    )


_ALIKE_IPV4, _ALIKE_IPV6 = "4s2x4s2x12s", "44s"
"""The IP header and both ports."""
_TCP_IPV4, _TCP_IPV6 = _tcp(20, _ALIKE_IPV4, _GSO_TCPV4), _tcp(40, _ALIKE_IPV6, _GSO_TCPV6)
_UDP_IPV4, _UDP_IPV6 = _udp(20, _ALIKE_IPV4), _udp(40, _ALIKE_IPV6)


def _layout(packet: Buffer, udp: bool) -> _Layout | None:
    """The layout of a whole TCP segment or UDP datagram that carries data and nothing unusual; None for all else."""
    size = len(packet)
    if size < _SHORTEST:
        return None
    if packet[0] == 0x45:
        protocol, length, fragment = packet[9], packet[2] << 8 | packet[3], packet[6] & 0x3F | packet[7]
        tcp, datagram, network = _TCP_IPV4, _UDP_IPV4, 20
    elif packet[0] >> 4 == 6:
        protocol, length, fragment = packet[6], 40 + (packet[4] << 8 | packet[5]), 0
        tcp, datagram, network = _TCP_IPV6, _UDP_IPV6, 40
    else:
        return None
    if length != size or fragment:
        return None
    if protocol == _TCP:
        layout = tcp.get(packet[network + 12])
        plain = packet[network + 13] & ~_PUSH == _ACK
        return layout if layout and plain and size > layout.header else None
    return datagram if udp and protocol == _UDP and _checked(packet, network) else None


def _checked(packet: Buffer, network: int) -> bool:
    """Whether a UDP datagram has its packet's length and a checksum, which joining would add."""
    length, checksum = struct.unpack_from(">HH", packet, network + _LENGTH)
    return bool(length == len(packet) - network and checksum)


def joined(packets: Sequence[Buffer], *, udp: bool) -> Iterator[tuple[int, list[Buffer]]]:
    """Cut a burst into writes: how many packets each holds, and the buffers for one `os.writev`.

    UDP is only joined where the kernel can take it apart again.
    """
    start = 0
    while start < len(packets):
        layout = _layout(packets[start], udp) if start + 1 < len(packets) else None
        end = start + 1 if layout is None else _end(packets, start, layout)
        if layout is None or end == start + 1:
            yield 1, [PLAIN, packets[start]]
        else:
            header, run = layout.header, packets[start:end]
            yield end - start, [_headers(run, layout), *[packet[header:] for packet in run]]
        start = end


def _end(packets: Sequence[Buffer], start: int, layout: _Layout) -> int:
    """Where the run that starts there ends: a shorter or pushed packet is the last of it."""
    first = packets[start]
    if layout.pushed(first):
        return start + 1
    read_alike, read_sequence = layout.alike, layout.sequence
    size, alike, (sequence,) = len(first), read_alike(first), read_sequence(first)
    step = layout.step(size)
    limit = min(len(packets), start + (_LARGEST - layout.header) // (size - layout.header))
    for at in range(start + 1, limit):
        packet = packets[at]
        sequence = (sequence + step) & 0xFFFFFFFF
        if len(packet) != size or read_sequence(packet)[0] != sequence or read_alike(packet) != alike:
            return at + _ends(packet, first, sequence, layout)
    return limit


def _ends(packet: Buffer, first: Buffer, sequence: int, layout: _Layout) -> bool:
    """Whether the packet follows in the run that ``first`` began, but as its last: shorter, pushed or both."""
    if len(packet) > len(first) or _layout(packet, True) is not layout or layout.sequence(packet)[0] != sequence:
        return False
    head = bytearray(packet[: layout.header])
    layout.resize(head, len(first))
    if layout.pushed(packet):
        head[layout.network + 13] &= ~_PUSH
    return layout.alike(head) == layout.alike(first)


def _headers(run: Sequence[Buffer], layout: _Layout) -> bytes:
    """The virtio header and the first packet's headers, made to fit the whole."""
    network, size = layout.network, layout.header
    total = sum(map(len, run)) - size * (len(run) - 1)
    head = bytearray(run[0][:size])
    layout.resize(head, total)
    if network == 20:
        struct.pack_into(">H", head, 10, 0)
        struct.pack_into(">H", head, 10, 0xFFFF ^ _sum(head[:20]))
    if layout.pushed(run[-1]):
        head[network + 13] |= _PUSH
    addresses = head[12:20] if network == 20 else head[8:40]
    pseudo = _sum(addresses + struct.pack(">HH", layout.protocol, total - network))
    struct.pack_into(">H", head, layout.checksum, pseudo)
    virtio = VIRTIO_HEADER.pack(_NEEDS_CSUM, layout.kind, size, len(run[0]) - size, network, layout.checksum - network)
    return virtio + head


def _sum(data: bytes | bytearray) -> int:
    """The one's complement sum of an even number of bytes (RFC 1071), not complemented."""
    return int.from_bytes(data, "big") % 0xFFFF
