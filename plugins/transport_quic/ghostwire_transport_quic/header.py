"""The part of a QUIC packet's header that says whose it is (RFC 8999; Initial packets RFC 9000 section 17.2.2).

long    1xxxxxxx  version(4)  DCID length(1) DCID  SCID length(1) SCID  Initial: token length(varint) token ...
short   0xxxxxxx  DCID (of the length that we gave it) ...
"""

from __future__ import annotations

from typing import NamedTuple

CID_BYTES = 8
"""The length of the connection ids that we give."""
VERSION = 1
_LONGEST_CID = 20


class Header(NamedTuple):
    """``version`` None marks a short header; ``token`` None a packet that is no Initial of version 1."""

    version: int | None
    to: bytes
    source: bytes = b""
    token: bytes | None = None


def parse_header(datagram: bytes) -> Header | None:
    """The header of a datagram's first packet; None where there is none."""
    if not datagram:
        return None
    if not datagram[0] & 0x80:
        cid = datagram[1 : 1 + CID_BYTES]
        return Header(None, cid) if datagram[0] & 0x40 and len(cid) == CID_BYTES else None
    at = 6 + (datagram[5] if len(datagram) > 6 else 256)
    if at >= len(datagram) or at - 6 > _LONGEST_CID:
        return None
    end = at + 1 + datagram[at]
    if end > len(datagram) or datagram[at] > _LONGEST_CID:
        return None
    version = int.from_bytes(datagram[1:5], "big")
    initial = version == VERSION and datagram[0] & 0xF0 == 0xC0
    return Header(version, datagram[6:at], datagram[at + 1 : end], _token(datagram, end) if initial else None)


def destination(datagram: bytes) -> bytes:
    """To which connection id it goes; empty where that cannot be said."""
    header = parse_header(datagram)
    return b"" if header is None else header.to


def _token(datagram: bytes, at: int) -> bytes | None:
    if at >= len(datagram):
        return None
    size = 1 << (datagram[at] >> 6)
    length = int.from_bytes(datagram[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    token = datagram[at + size : at + size + length]
    return token if len(token) == length else None


def version_negotiation(header: Header) -> bytes:
    """The answer to a version that we do not speak (RFC 9000 section 17.2.1): shorter than what it answers."""
    ends = bytes([len(header.source)]) + header.source + bytes([len(header.to)]) + header.to
    return b"\xc0" + bytes(4) + ends + VERSION.to_bytes(4, "big")
