"""Joins consecutive TCP segments of one flow into one large packet, so that the kernel takes them in one write.

The kernel's TCP then handles, and acknowledges, dozens of segments at once: what receive offload does for a network
card. Each write to a TUN device made with IFF_VNET_HDR starts with a virtio_net_hdr (linux/virtio_net.h):

    flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2)     in the machine's byte order

A joined packet leaves its TCP checksum to the kernel. The segments' own are not verified before: they were
authenticated by the tunnel, which the kernel's WireGuard takes as proof enough, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ghostwire import Buffer

VIRTIO_HEADER = struct.Struct("=BBHHHH")
PLAIN: Final = VIRTIO_HEADER.pack(0, 0, 0, 0, 0, 0)
"""Before a packet that is just itself."""

_NEEDS_CSUM, _GSO_TCPV4, _GSO_TCPV6 = 1, 1, 4
_CHECKSUM_AT = 16
"""Where the TCP header keeps its checksum."""
_ACK, _PUSH = 0x10 << 16, 0x08 << 16
"""Flags as they lie in the 64 bits of acknowledgement number, data offset, flags and window."""
_FLAGS = 0xFFF << 16
_LARGEST = 65_535
_TCP = 6


class _Layout(NamedTuple):
    """A TCP/IP header of one fixed length.

    ``fields`` gives: what must be equal, length, what must be equal, addresses and ports, sequence number, the 64 bits
    from the acknowledgement number to the window, options. ``third & mask`` must be ``protocol``: TCP, no fragment.
    """

    fields: struct.Struct
    network: int
    header: int
    mask: int
    protocol: int


def _layouts(network: int, prefix: str, mask: int, protocol: int) -> dict[int, _Layout]:
    """By the byte with TCP's data offset: headers without options, and with timestamps as every flow has them."""
    return {
        size // 4 << 4: _Layout(struct.Struct(f">{prefix}IQ4x{size - 20}s"), network, network + size, mask, protocol)
        for size in (20, 32)
    }


_IPV4 = _layouts(20, "HH2xI2x12s", 0x3FFF00FF, _TCP)
_IPV6 = _layouts(40, "IHH36s", 0xFF00, _TCP << 8)
_SHORTEST = 72
"""No packet below this is worth joining, and the longest header fits."""


class _Run:
    """Segments that follow each other in one flow."""

    __slots__ = ("first", "key", "layout", "next", "open", "packets", "push", "segment", "total")

    def __init__(self, packet: Buffer, layout: _Layout, key: tuple[object, ...], sequence: int, push: int) -> None:
        self.first, self.layout, self.key, self.push = packet, layout, key, push
        self.packets: list[Buffer] = [packet]
        self.total = len(packet)
        self.segment = self.total - layout.header
        self.next = (sequence + self.segment) & 0xFFFFFFFF
        self.open = not push

    def take(self, packet: Buffer, key: tuple[object, ...], sequence: int, push: int) -> bool:
        """Add the segment if it is the next one."""
        payload = len(packet) - self.layout.header
        if not self.open or sequence != self.next or payload > self.segment or key != self.key:
            return False
        if self.total + payload > _LARGEST:
            return False
        self.packets.append(packet)
        self.total += payload
        self.next = (sequence + payload) & 0xFFFFFFFF
        self.push = push
        self.open = not push and payload == self.segment
        return True


def joined(packets: Sequence[Buffer]) -> Iterator[tuple[int, list[Buffer]]]:
    """Cut a burst into writes: how many packets each holds, and the buffers for one `os.writev`."""
    run: _Run | None = None
    for packet in packets:
        found = _segment(packet)
        if found is None:
            if run:
                yield len(run.packets), _write(run)
                run = None
            yield 1, [PLAIN, packet]
            continue
        layout, key, sequence, push = found
        if run:
            if run.take(packet, key, sequence, push):
                continue
            yield len(run.packets), _write(run)
        run = _Run(packet, layout, key, sequence, push)
    if run:
        yield len(run.packets), _write(run)


def _segment(packet: Buffer) -> tuple[_Layout, tuple[object, ...], int, int] | None:
    """Layout, what makes segments neighbours, sequence number and push flag; None for all that can't be joined."""
    size = len(packet)
    if size < _SHORTEST:
        return None
    layout = _IPV4.get(packet[32]) if packet[0] == 0x45 else _IPV6.get(packet[52]) if packet[0] >> 4 == 6 else None
    if layout is None:
        return None
    start, length, third, flow, sequence, word, options = layout.fields.unpack_from(packet)
    if third & layout.mask != layout.protocol or word & _FLAGS & ~_PUSH != _ACK:
        return None
    if length + (0 if layout.network == 20 else 40) != size:
        return None
    return layout, (start, third, flow, word & ~_PUSH, options), sequence, word & _PUSH


def _write(run: _Run) -> list[Buffer]:
    if len(run.packets) == 1:
        return [PLAIN, run.first]
    header = run.layout.header
    return [_headers(run), *[packet[header:] for packet in run.packets]]


def _headers(run: _Run) -> bytes:
    """The virtio header and the first segment's headers, made to fit the whole."""
    network, size = run.layout.network, run.layout.header
    head = bytearray(run.first[:size])
    if network == 20:
        struct.pack_into(">H", head, 2, run.total)
        struct.pack_into(">H", head, 10, 0)
        struct.pack_into(">H", head, 10, 0xFFFF ^ _sum(head[:20]))
        addresses, kind = head[12:20], _GSO_TCPV4
    else:
        struct.pack_into(">H", head, 4, run.total - 40)
        addresses, kind = head[8:40], _GSO_TCPV6
    if run.push:
        head[network + 13] |= _PUSH >> 16
    pseudo = _sum(addresses + struct.pack(">HH", _TCP, run.total - network))
    struct.pack_into(">H", head, network + _CHECKSUM_AT, pseudo)
    return VIRTIO_HEADER.pack(_NEEDS_CSUM, kind, size, run.segment, network, _CHECKSUM_AT) + head


def _sum(data: bytes | bytearray) -> int:
    """The one's complement sum of an even number of bytes (RFC 1071), not complemented."""
    return int.from_bytes(data, "big") % 0xFFFF
