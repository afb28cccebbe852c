"""The few fields of an IP packet that a filter needs (RFC 791, RFC 8200; options and extension headers skipped)."""

from __future__ import annotations

from dataclasses import dataclass

from ghostwire import Buffer

ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
_PORTS = frozenset((TCP, UDP, SCTP))
_FRAGMENT = 44
_EXTENSIONS = frozenset((0, 43, 60, 135))
"""Hop-by-hop, routing, destination options and mobility headers, all with their length in byte 1."""
_MAX_EXTENSIONS = 8
_HEAD = 256
"""Bytes of a packet that are looked at: headers, and those of the packet an ICMP error quotes."""
_ECHO = {ICMP: (8, 0), ICMP6: (128, 129)}
_ERRORS = {ICMP: frozenset((3, 11, 12)), ICMP6: frozenset((1, 2, 3, 4))}


@dataclass(frozen=True, slots=True)
class Packet:
    """A parsed packet. Addresses are raw bytes; ``body`` begins at the transport header.

    ``source_port`` and ``port`` are None where there are none to read. An echo's identifier stands for both ports,
    ``reply`` saying which way it goes. ``fragment`` identifies the datagram of a fragment, whose ``offset`` is its
    place in units of 8 bytes.
    """

    source: bytes
    destination: bytes
    protocol: int
    body: bytes
    source_port: int | None = None
    port: int | None = None
    fragment: int | None = None
    offset: int = 0
    echo: str = ""

    @property
    def quoted(self) -> Packet | None:
        """The packet that an ICMP error answers, None where this is no error."""
        if self.offset or not self.body or self.body[0] not in _ERRORS.get(self.protocol, ()):
            return None
        return parse(self.body[8:])


def parse(data: Buffer) -> Packet | None:
    """Read the headers; None where they are cut short, unknown or too deep."""
    packet = bytes(data[:_HEAD])
    try:
        if packet[0] >> 4 == 4:
            return _parse4(packet)
        return _parse6(packet) if packet[0] >> 4 == 6 else None
    except IndexError:
        return None


def _parse4(packet: bytes) -> Packet | None:
    length = (packet[0] & 15) * 4
    if length < 20 or len(packet) < length:
        return None
    flags = _word(packet, 6)
    fragment = _word(packet, 4) if flags & 0x3FFF else None
    return _transport(packet[12:16], packet[16:20], packet[9], packet[length:], fragment, flags & 0x1FFF)


def _parse6(packet: bytes) -> Packet | None:
    if len(packet) < 40:
        return None
    protocol, at, fragment, offset = packet[6], 40, None, 0
    for _ in range(_MAX_EXTENSIONS):
        if protocol == _FRAGMENT:
            fragment, offset = int.from_bytes(packet[at + 4 : at + 8]), _word(packet, at + 2) >> 3
            protocol, at = packet[at], at + 8
        elif protocol in _EXTENSIONS and not offset:
            protocol, at = packet[at], at + 8 + packet[at + 1] * 8
        else:
            return _transport(packet[8:24], packet[24:40], protocol, packet[at:], fragment, offset)
    return None


def _transport(
    source: bytes, destination: bytes, protocol: int, body: bytes, fragment: int | None, offset: int
) -> Packet:
    source_port = port = None
    echo = ""
    if offset == 0 and protocol in _PORTS and len(body) >= 4:
        source_port, port = _word(body, 0), _word(body, 2)
    elif offset == 0 and len(body) >= 8 and body[0] in _ECHO.get(protocol, ()):
        source_port = port = _word(body, 4)
        echo = "request" if body[0] == _ECHO[protocol][0] else "reply"
    return Packet(source, destination, protocol, body, source_port, port, fragment, offset, echo)


def _word(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
