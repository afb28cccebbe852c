"""STUN's binding request and its answers, for relays and nodes alike (RFC 8489; RFC 5389 is the same on the wire).

    +------+--------+------------+----------------+     +------+--------+-------+---------+
    | type | length | 2112A442   | transaction id |  +  | type | length | value | padding |  ...
    | 2    | 2      | 4          | 12             |     | 2    | 2      |       | to 4    |
    +------+--------+------------+----------------+     +------+--------+-------+---------+

    0001 request     client>server   SOFTWARE, FINGERPRINT
    0101 response    server>client   XOR-MAPPED-ADDRESS; FINGERPRINT where the request had one
    0111 error       server>client   ERROR-CODE, UNKNOWN-ATTRIBUTES; FINGERPRINT where the request had one

Attribute types below 8000 must be understood: a request with another one is answered 420. An answer never has more
bytes than its request plus the address attribute, so that nobody gains by forging a source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from zlib import crc32

Bytes = bytes | bytearray | memoryview

COOKIE = 0x2112A442
TRANSACTION_BYTES = 12
HEADER_BYTES = 20
MAX_MESSAGE = 1280
"""Bytes of the longest message that is read: what a link of any kind carries whole."""

BINDING_REQUEST = 0x0001
BINDING_RESPONSE = 0x0101
BINDING_ERROR = 0x0111

MAPPED_ADDRESS = 0x0001
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
XOR_MAPPED_ADDRESS = 0x0020
SOFTWARE = 0x8022
FINGERPRINT = 0x8028

_OPTIONAL = 0x8000
_UNDERSTOOD = frozenset({0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, 0x0020})
"""The attributes of RFC 8489 that must be understood; credentials among them need no answer from an open server."""
_IPV4, _IPV6 = 1, 2
_NO_MASK = bytes(20)
_FINGERPRINT_MASK = 0x5354554E
_FINGERPRINT_BYTES = 8
_UNKNOWN_ATTRIBUTE = struct.pack(">HHI", ERROR_CODE, 4, 4 << 8 | 20)
"""ERROR-CODE 420, without a reason phrase."""
_SOFTWARE = struct.pack(">HH8s", SOFTWARE, 8, b"tailnode")

_header = struct.Struct(">HHI12s")
_attribute = struct.Struct(">HH")
_fingerprint = struct.Struct(">HHI")

Attribute = tuple[int, int, int]
"""Type, where its value begins in the message, and how long it is."""


def binding_request(transaction: bytes) -> bytes:
    """A request under this transaction id (12 bytes).

    Stock relays answer only where SOFTWARE is ``tailnode`` and FINGERPRINT comes last.
    """
    return _message(BINDING_REQUEST, transaction, _SOFTWARE, fingerprint=True)


def answer(request: Bytes, source: tuple[str, int]) -> bytes | None:
    """What to answer to a datagram from this address and port; None where it is no sound binding request."""
    transaction = _opened(request, BINDING_REQUEST)
    attributes = None if transaction is None else _attributes(request)
    if transaction is None or attributes is None:
        return None
    fingerprint = bool(attributes) and attributes[-1][0] == FINGERPRINT
    unknown = [kind for kind, _, _ in attributes if kind < _OPTIONAL and kind not in _UNDERSTOOD]
    if unknown:
        return _message(BINDING_ERROR, transaction, _UNKNOWN_ATTRIBUTE + _listed(unknown), fingerprint)
    return _message(BINDING_RESPONSE, transaction, _xor_mapped(transaction, *source), fingerprint)


def mapped_address(response: Bytes) -> tuple[bytes, str, int] | None:
    """The transaction id, address and port that a success response carries; None where it is no sound one.

    Attributes of no meaning here are passed over, as older servers send some.
    """
    transaction = _opened(response, BINDING_RESPONSE)
    attributes = None if transaction is None else _attributes(response)
    if transaction is None or attributes is None:
        return None
    for wanted, mask in ((XOR_MAPPED_ADDRESS, _mask(transaction)), (MAPPED_ADDRESS, _NO_MASK)):
        for kind, start, size in attributes:
            if kind == wanted:
                found = _address(bytes(response[start : start + size]), mask)
                return None if found is None else (transaction, *found)
    return None


def _opened(message: Bytes, wanted: int) -> bytes | None:
    """The transaction id, where the header is sound and of the wanted type."""
    size = len(message)
    if not HEADER_BYTES <= size <= MAX_MESSAGE:
        return None
    kind, length, cookie, transaction = _header.unpack_from(message)
    if kind != wanted or cookie != COOKIE or length != size - HEADER_BYTES or length & 3:
        return None
    return bytes(transaction)


def _attributes(message: Bytes) -> list[Attribute] | None:
    """All attributes; None where their lengths don't add up, or a FINGERPRINT is wrong or not the last."""
    found = list(_cut(message))
    if not found:
        return found if len(message) == HEADER_BYTES else None
    _, start, size = found[-1]
    if start + (size + 3 & ~3) != len(message):
        return None
    for at, (kind, start, size) in enumerate(found, 1):
        if kind == FINGERPRINT and not (at == len(found) and size == 4 and _matches(message, start)):
            return None
    return found


def _cut(message: Bytes) -> Iterator[Attribute]:
    at, end = HEADER_BYTES, len(message)
    while at < end:
        kind, size = _attribute.unpack_from(message, at)
        yield kind, at + 4, size
        at += 4 + (size + 3 & ~3)


def _matches(message: Bytes, value: int) -> bool:
    """Whether the FINGERPRINT whose value is there fits what comes before it."""
    (claimed,) = struct.unpack_from(">I", message, value)
    return bool(claimed == crc32(message[: value - 4]) ^ _FINGERPRINT_MASK)


def _message(kind: int, transaction: bytes, attributes: bytes, fingerprint: bool) -> bytes:
    length = len(attributes) + _FINGERPRINT_BYTES * fingerprint
    message = _header.pack(kind, length, COOKIE, transaction) + attributes
    if not fingerprint:
        return message
    return message + _fingerprint.pack(FINGERPRINT, 4, crc32(message) ^ _FINGERPRINT_MASK)


def _listed(unknown: list[int]) -> bytes:
    """UNKNOWN-ATTRIBUTES."""
    count = len(unknown)
    padding = b"\0\0" * (count & 1)
    return struct.pack(f">HH{count}H", UNKNOWN_ATTRIBUTES, 2 * count, *unknown) + padding


def _mask(transaction: bytes) -> bytes:
    """What an address attribute's 20 bytes are XORed with: two bytes of family stay, the port has the cookie's head."""
    return struct.pack(">HHI12s", 0, COOKIE >> 16, COOKIE, transaction)


def _xor_mapped(transaction: bytes, host: str, port: int) -> bytes:
    address = _packed(host)
    value = struct.pack(">HH", _IPV4 if len(address) == 4 else _IPV6, port) + address
    return _attribute.pack(XOR_MAPPED_ADDRESS, len(value)) + _xor(value, _mask(transaction))


def _packed(host: str) -> bytes:
    """4 or 16 bytes of an address as sockets write it, an interface's name after it included."""
    if ":" not in host:
        return bytes(map(int, host.split(".")))
    address = IPv6Address(host.partition("%")[0])
    return (address.ipv4_mapped or address).packed


def _address(value: bytes, mask: bytes) -> tuple[str, int] | None:
    """Address and port of an address attribute's value; None where it has the wrong length or family."""
    plain = _xor(value, mask)
    family, port = struct.unpack_from(">xBH", plain) if len(plain) >= 4 else (0, 0)
    if family == _IPV4 and len(value) == 8:
        return str(IPv4Address(plain[4:])), port
    if family == _IPV6 and len(value) == 20:
        return str(IPv6Address(plain[4:])), port
    return None


def _xor(value: bytes, mask: bytes) -> bytes:
    size = min(len(value), len(mask))
    mixed = int.from_bytes(value[:size], "big") ^ int.from_bytes(mask[:size], "big")
    return mixed.to_bytes(size, "big")
