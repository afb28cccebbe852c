"""Joins consecutive TCP segments of one flow into one large packet, so that the kernel takes them in one write.

The kernel's TCP then handles, and acknowledges, dozens of segments at once: what receive offload does for a network
card. Each write to a TUN device made with IFF_VNET_HDR starts with a virtio_net_hdr (linux/virtio_net.h):

    flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2)     in the machine's byte order

A joined packet leaves its TCP checksum to the kernel. The segments' own are not verified before: they were
authenticated by the tunnel, which the kernel's WireGuard takes as proof enough, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ghostwire import Buffer

VIRTIO_HEADER = struct.Struct("=BBHHHH")
PLAIN: Final = VIRTIO_HEADER.pack(0, 0, 0, 0, 0, 0)
"""Before a packet that is just itself."""

_NEEDS_CSUM, _GSO_TCPV4, _GSO_TCPV6 = 1, 1, 4
_CHECKSUM_AT = 16
"""Where the TCP header keeps its checksum."""
_ACK, _PUSH = 0x10, 0x08
_TCP = 6
_LARGEST = 65_535
_SHORTEST = 73
"""A byte more than the longest header: nothing below this is worth joining."""


class _Layout(NamedTuple):
    """A TCP/IP header of one fixed length: how to read it, and where things are.

    ``alike`` reads what equally long segments of a run have in common: all but IPv4's packet number and the
    checksums, and but for the ``sequence`` number.
    """

    alike: Callable[[Buffer], tuple[bytes, ...]]
    sequence: Callable[[Buffer], tuple[int]]
    length_at: int
    network: int
    header: int


def _layouts(network: int, length_at: int, alike: str) -> dict[int, _Layout]:
    """By the byte with TCP's data offset: headers without options, and with timestamps as every flow has them."""
    sequence = struct.Struct(f">{network + 4}xI").unpack_from
    return {
        size // 4 << 4: _Layout(
            struct.Struct(f"{alike}4x8s4x{size - 20}s").unpack_from, sequence, length_at, network, network + size
        )
        for size in (20, 32)
    }


_IPV4 = _layouts(20, 2, "4s2x4s2x12s")
_IPV6 = _layouts(40, 4, "44s")


def _layout(packet: Buffer) -> _Layout | None:
    """The layout of a whole TCP segment that carries data and nothing unusual; None for all else."""
    size = len(packet)
    if size < _SHORTEST:
        return None
    if packet[0] == 0x45:
        layout, protocol, fragment = _IPV4.get(packet[32]), packet[9], packet[6] & 0x3F | packet[7]
        length = packet[2] << 8 | packet[3]
    elif packet[0] >> 4 == 6:
        layout, protocol, fragment = _IPV6.get(packet[52]), packet[6], 0
        length = 40 + (packet[4] << 8 | packet[5])
    else:
        return None
    if layout is None or protocol != _TCP or fragment or length != size:
        return None
    return layout if packet[layout.network + 13] & ~_PUSH == _ACK else None


class _Run:
    """Segments that follow each other in one flow.

    ``segment`` is how many bytes each carries, but perhaps the last; ``push`` is the last one's flag.
    """

    __slots__ = ("_alike", "_next", "_read_alike", "_read_sequence", "_size", "layout", "packets", "push", "segment")

    def __init__(self, packet: Buffer, layout: _Layout) -> None:
        self.layout, self.packets = layout, [packet]
        self._read_alike, self._read_sequence = layout.alike, layout.sequence
        self._size = len(packet)
        self._alike, sequence = layout.alike(packet), layout.sequence(packet)[0]
        self.segment = self._size - layout.header
        self.push = packet[layout.network + 13] & _PUSH
        self._next = None if self.push else ((sequence + self.segment) & 0xFFFFFFFF,)

    def take(self, packet: Buffer) -> bool:
        """Add the packet if it is the next segment; a shorter or pushed one ends the run."""
        following = self._next
        if following is None or len(self.packets) * self.segment + self._size > _LARGEST:
            return False
        if (
            len(packet) == self._size
            and self._read_sequence(packet) == following
            and self._read_alike(packet) == self._alike
        ):
            self._next = ((following[0] + self.segment) & 0xFFFFFFFF,)
        elif not self._ends(packet):
            return False
        self.packets.append(packet)
        return True

    def _ends(self, packet: Buffer) -> bool:
        layout, network = self.layout, self.layout.network
        if len(packet) > self._size or _layout(packet) is not layout or layout.sequence(packet) != self._next:
            return False
        header = bytearray(packet[: layout.header])
        push = header[network + 13] & _PUSH
        header[network + 13] &= ~_PUSH
        header[layout.length_at : layout.length_at + 2] = self.packets[0][layout.length_at : layout.length_at + 2]
        if layout.alike(header) != self._alike:
            return False
        self._next, self.push = None, push
        return True


def joined(packets: Sequence[Buffer]) -> Iterator[tuple[int, list[Buffer]]]:
    """Cut a burst into writes: how many packets each holds, and the buffers for one `os.writev`."""
    run: _Run | None = None
    for packet in packets:
        if run is not None:
            if run.take(packet):
                continue
            yield len(run.packets), _write(run)
        layout = _layout(packet)
        run = _Run(packet, layout) if layout else None
        if run is None:
            yield 1, [PLAIN, packet]
    if run is not None:
        yield len(run.packets), _write(run)


def _write(run: _Run) -> list[Buffer]:
    if len(run.packets) == 1:
        return [PLAIN, run.packets[0]]
    header = run.layout.header
    return [_headers(run), *[packet[header:] for packet in run.packets]]


def _headers(run: _Run) -> bytes:
    """The virtio header and the first segment's headers, made to fit the whole."""
    network, size = run.layout.network, run.layout.header
    total = size + sum(map(len, run.packets)) - size * len(run.packets)
    head = bytearray(run.packets[0][:size])
    if network == 20:
        struct.pack_into(">H", head, 2, total)
        struct.pack_into(">H", head, 10, 0)
        struct.pack_into(">H", head, 10, 0xFFFF ^ _sum(head[:20]))
        addresses, kind = head[12:20], _GSO_TCPV4
    else:
        struct.pack_into(">H", head, 4, total - 40)
        addresses, kind = head[8:40], _GSO_TCPV6
    if run.push:
        head[network + 13] |= _PUSH
    pseudo = _sum(addresses + struct.pack(">HH", _TCP, total - network))
    struct.pack_into(">H", head, network + _CHECKSUM_AT, pseudo)
    return VIRTIO_HEADER.pack(_NEEDS_CSUM, kind, size, run.segment, network, _CHECKSUM_AT) + head


def _sum(data: bytes | bytearray) -> int:
    """The one's complement sum of an even number of bytes (RFC 1071), not complemented."""
    return int.from_bytes(data, "big") % 0xFFFF
