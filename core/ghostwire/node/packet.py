"""The few fields of an IP packet that a filter needs (RFC 791, RFC 8200; options and extension headers skipped)."""

from __future__ import annotations

import msgspec

from ghostwire import Buffer

ICMP, TCP, UDP, DCCP, ICMP6, SCTP, UDP_LITE = 1, 6, 17, 33, 58, 132, 136
PORTED = frozenset((TCP, UDP, DCCP, SCTP, UDP_LITE))
"""Protocols whose header begins with the source's and the destination's port."""
PORTLESS = frozenset((ICMP, ICMP6))
"""Protocols that match a rule whatever its ports are."""
_FRAGMENT, _ROUTING = 44, 43
_EXTENSIONS = frozenset((0, _ROUTING, 60))
"""Hop-by-hop, routing and destination options, all with their length in byte 1. Authentication and encryption are
protocols for us: what they carry is for whoever has their keys."""
_MAX_EXTENSIONS = 8
_HEAD = 256
"""Bytes of a packet that are looked at: headers, and those of the packet an ICMP error quotes."""
_ECHO = {ICMP: (8, 0), ICMP6: (128, 129)}
_ERRORS = {ICMP: frozenset((3, 11, 12)), ICMP6: frozenset((1, 2, 3, 4))}
_SOURCE_ROUTES = frozenset((131, 137))
_SYN, _ACK = 2, 16

Key = tuple[object, ...]


class Packet(msgspec.Struct, frozen=True):
    """A parsed packet. Addresses are raw bytes; ``body`` begins at the transport header.

    ``source_port`` and ``port`` are None where there are none to read. An echo's identifier stands for both ports,
    ``echo`` (``request``, ``reply``) saying which way it goes. ``fragment`` identifies the datagram of a fragment,
    whose ``offset`` is its place in units of 8 bytes. ``plain``: ports follow the IP header at once, at its usual
    place, in a packet that is whole.
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
    plain: bool = False

    @property
    def flow(self) -> Key:
        """What packets of one flow in this direction have in common."""
        return self.protocol, self.source, self.source_port, self.destination, self.port

    @property
    def datagram(self) -> Key:
        """What the fragments of one datagram have in common."""
        return self.source, self.destination, self.fragment

    @property
    def begins(self) -> bool:
        """Whether this may be the first packet of a flow; of TCP only SYN is."""
        return self.protocol != TCP or (len(self.body) > 13 and self.body[13] & (_SYN | _ACK) == _SYN)

    @property
    def quoted(self) -> Packet | None:
        """The packet that an ICMP error answers, None where this is no error."""
        if self.offset or not self.body or self.body[0] not in _ERRORS.get(self.protocol, ()):
            return None
        return parse(self.body[8:])

    def reversed(self) -> Packet:
        """A packet of the same flow in the other direction."""
        return Packet(self.destination, self.source, self.protocol, b"", self.port, self.source_port)


def parse(data: Buffer) -> Packet | None:
    """Read the headers; None where they are cut short, unknown or too deep, or route by way of others."""
    packet = bytes(data[:_HEAD])
    try:
        if packet[0] >> 4 == 4:
            return _parse4(packet)
        return _parse6(packet) if packet[0] >> 4 == 6 else None
    except IndexError:
        return None


def _parse4(packet: bytes) -> Packet | None:
    length = (packet[0] & 15) * 4
    if length < 20 or len(packet) < length or _source_routed(packet[20:length]):
        return None
    flags = _word(packet, 6)
    fragment = _word(packet, 4) if flags & 0x3FFF else None
    plain = length == 20 and fragment is None
    return _transport(packet[12:20], packet[9], packet[length:], (fragment, flags & 0x1FFF), plain=plain)


def _source_routed(options: bytes) -> bool:
    at = 0
    while at < len(options) and options[at]:
        if options[at] in _SOURCE_ROUTES:
            return True
        at += 1 if options[at] == 1 else max(2, options[at + 1])
    return False


def _parse6(packet: bytes) -> Packet | None:
    if len(packet) < 40:
        return None
    protocol, at = packet[6], 40
    fragment: tuple[int | None, int] = None, 0
    for _ in range(_MAX_EXTENSIONS):
        if protocol == _FRAGMENT and fragment[0] is None:
            fragment = int.from_bytes(packet[at + 4 : at + 8]), _word(packet, at + 2) >> 3
            protocol, at = packet[at], at + 8
        elif protocol in _EXTENSIONS and not fragment[1]:
            if protocol == _ROUTING and packet[at + 3]:
                return None
            protocol, at = packet[at], at + 8 + packet[at + 1] * 8
        else:
            return _transport(packet[8:40], protocol, packet[at:], fragment, plain=at == 40)
    return None


def _transport(
    addresses: bytes, protocol: int, body: bytes, fragment: tuple[int | None, int], *, plain: bool
) -> Packet:
    """``fragment`` is the datagram's identification, None where it is whole, and the offset."""
    half = len(addresses) // 2
    source_port = port = None
    echo = ""
    if fragment[1] == 0 and protocol in PORTED and len(body) >= 4:
        source_port, port = _word(body, 0), _word(body, 2)
    elif fragment[1] == 0 and len(body) >= 8 and body[0] in _ECHO.get(protocol, ()):
        source_port = port = _word(body, 4)
        echo = "request" if body[0] == _ECHO[protocol][0] else "reply"
    plain = plain and protocol in PORTED and port is not None
    return Packet(
        addresses[:half], addresses[half:], protocol, body, source_port, port, *fragment, echo=echo, plain=plain
    )


def _word(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
