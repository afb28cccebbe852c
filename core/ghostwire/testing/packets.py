"""As much of IPv4, IPv6, ICMP echo and UDP as a tiny host needs (RFC 791, 8200, 792, 4443, 768)."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ghostwire.capabilities.transport import Buffer

ICMP, UDP, ICMPV6 = 1, 17, 58
_V4 = struct.Struct("!BBHHHBBH4s4s")
_V6 = struct.Struct("!IHBB16s16s")
_ECHO = struct.Struct("!BBHHH")
_UDP = struct.Struct("!HHHH")
_ECHO_TYPES = {ICMP: (8, 0), ICMPV6: (128, 129)}
HOP_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet without options: addresses as text, the protocol's number, what it carries."""

    source: str
    target: str
    protocol: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Echo:
    """An ICMP echo request, or the reply to one."""

    reply: bool
    identifier: int
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram."""

    source_port: int
    target_port: int
    data: bytes


def encode(packet: Packet) -> bytes:
    """A whole IP packet; the addresses' family decides which."""
    source, target = _packed(packet.source), _packed(packet.target)
    if len(source) != len(target):
        raise ValueError(f"{packet.source} and {packet.target} are of different families")
    if len(source) == 16:
        head = _V6.pack(6 << 28, len(packet.payload), packet.protocol, HOP_LIMIT, source, target)
        return head + packet.payload
    length = _V4.size + len(packet.payload)
    head = _V4.pack(0x45, 0, length, 0, 0, HOP_LIMIT, packet.protocol, 0, source, target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + packet.payload


def decode(raw: Buffer) -> Packet:
    """Parse an IP packet; ValueError says what is wrong with it. Bytes behind its end (padding) are refused."""
    data = bytes(raw)
    if not data or data[0] >> 4 not in (4, 6):
        raise ValueError("not an IP packet")
    return _decode_v4(data) if data[0] >> 4 == 4 else _decode_v6(data)


def _decode_v4(data: bytes) -> Packet:
    if len(data) < _V4.size:
        raise ValueError("an IPv4 packet shorter than its header")
    first, _, length, _, _, _, protocol, _, source, target = _V4.unpack_from(data)
    if first != 0x45 or length != len(data):
        raise ValueError(f"an IPv4 packet of {len(data)} bytes that says {length}, header byte {first:#x}")
    if checksum(data[: _V4.size]):
        raise ValueError("an IPv4 header with a wrong checksum")
    return Packet(str(IPv4Address(source)), str(IPv4Address(target)), protocol, data[_V4.size :])


def _decode_v6(data: bytes) -> Packet:
    if len(data) < _V6.size:
        raise ValueError("an IPv6 packet shorter than its header")
    _, length, protocol, _, source, target = _V6.unpack_from(data)
    if length != len(data) - _V6.size:
        raise ValueError(f"an IPv6 packet with {len(data) - _V6.size} bytes behind its header that says {length}")
    return Packet(str(IPv6Address(source)), str(IPv6Address(target)), protocol, data[_V6.size :])


def echo_packet(source: str, target: str, echo: Echo) -> bytes:
    """An IP packet with an ICMP or ICMPv6 echo."""
    protocol = ICMPV6 if ":" in target else ICMP
    kind = _ECHO_TYPES[protocol][echo.reply]
    body = _ECHO.pack(kind, 0, 0, echo.identifier, echo.sequence) + echo.data
    pseudo = _pseudo(source, target, protocol, len(body)) if protocol == ICMPV6 else b""
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return encode(Packet(source, target, protocol, body))


def read_echo(packet: Packet) -> Echo | None:
    """The echo in a packet, None where it holds something else; ValueError for a wrong checksum."""
    types = _ECHO_TYPES.get(packet.protocol)
    if types is None or len(packet.payload) < _ECHO.size or packet.payload[0] not in types:
        return None
    size = len(packet.payload)
    pseudo = _pseudo(packet.source, packet.target, ICMPV6, size) if packet.protocol == ICMPV6 else b""
    if checksum(pseudo + packet.payload):
        raise ValueError("an echo with a wrong checksum")
    kind, _, _, identifier, sequence = _ECHO.unpack_from(packet.payload)
    return Echo(kind == types[1], identifier, sequence, packet.payload[_ECHO.size :])


def udp_packet(source: str, target: str, datagram: Datagram) -> bytes:
    """An IP packet with a UDP datagram."""
    size = _UDP.size + len(datagram.data)
    body = _UDP.pack(datagram.source_port, datagram.target_port, size, 0) + datagram.data
    total = checksum(_pseudo(source, target, UDP, size) + body) or 0xFFFF
    return encode(Packet(source, target, UDP, body[:6] + struct.pack("!H", total) + body[8:]))


def read_udp(packet: Packet) -> Datagram | None:
    """The datagram in a packet, None where it holds something else; ValueError where it is malformed."""
    if packet.protocol != UDP:
        return None
    if len(packet.payload) < _UDP.size:
        raise ValueError("a UDP datagram shorter than its header")
    source, target, size, _ = _UDP.unpack_from(packet.payload)
    if size != len(packet.payload) or checksum(_pseudo(packet.source, packet.target, UDP, size) + packet.payload):
        raise ValueError("a UDP datagram with a wrong length or checksum")
    return Datagram(source, target, packet.payload[_UDP.size :])


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that holds its own right one."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(source: str, target: str, protocol: int, size: int) -> bytes:
    """What TCP, UDP and ICMPv6 checksums cover besides the packet."""
    addresses = _packed(source) + _packed(target)
    return addresses + (struct.pack("!IxxxB", size, protocol) if ":" in target else struct.pack("!xBH", protocol, size))


@functools.lru_cache(4096)
def _packed(address: str) -> bytes:
    return ip_address(address).packed
