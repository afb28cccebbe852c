"""Disco, by which nodes find direct paths and see that they work; Tailscale's, byte for byte (its disco/disco.go).

    +-------------------+----------------------+-------+--------------------------------------+
    | 54 53 f0 9f 92 ac | sender's disco key   | nonce | crypto_box of one message            |
    | 6                 | 32                   | 24    | 16 + the message's length            |
    +-------------------+----------------------+-------+--------------------------------------+

    message = type (1), version (1, it is 0), body

    01 Ping          any path       transaction(12), sender's node key(32), padding to probe a size
    02 Pong          back there     transaction(12), where the ping came from: address(16), port(2)
    03 CallMeMaybe   over a relay   one or more of: address(16), port(2)

    a             relay            b
    | 03: try me at ..  ---------->|      b pings each of a's endpoints, which opens b's translator;
    |<------------------------- 01 |      a, who pings b's endpoints as well, answers each to where it came from
    | 02 ------------------------->|      the pong proves the path

Integers are big-endian, IPv4 addresses mapped into IPv6 (::ffff:a.b.c.d). Old clients leave the node key out of a
ping. For the future, what follows a body is passed over, as are other types (04-09 are peer relays') and
call-me-maybes of another version; a later ping or pong is read as one of this version, as stock clients do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ghostwire.engine import Entropy
from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import KEY_BYTES, DiscoKey, NodeKey
from ghostwire.wire.box import OVERHEAD, Box
from ghostwire.wire.endpoint import parse_endpoint

Buffer = bytes | bytearray | memoryview

MAGIC = b"TS\xf0\x9f\x92\xac"
HEAD_BYTES = len(MAGIC) + KEY_BYTES
"""What stands before the box: the magic and the sender's key."""
TRANSACTION_BYTES = 12
ENDPOINT_BYTES = 18
MAX_DATAGRAM = 9_000
"""Bytes of the longest datagram that is read: the largest size that stock clients probe."""
MAX_CALLED = 32
"""The most endpoints of a call-me-maybe that are written, or kept of one that came."""

_PING, _PONG, _CALL_ME_MAYBE = 1, 2, 3
_VERSION = 0
_MESSAGE_HEAD = 2
_MAPPED = bytes(10) + b"\xff\xff"
_NOWHERE = bytes(ENDPOINT_BYTES)
_KNOWN = 1_024
"""Endpoints that are remembered in either form: pongs to and from a peer name the same again and again."""
_port = struct.Struct(">H")


class Ping(NamedTuple):
    """Asks for a pong. ``node_key`` is the sender's, None where it leaves it out; ``padding`` counts bytes."""

    transaction: bytes
    node_key: NodeKey | None = None
    padding: int = 0


class Pong(NamedTuple):
    """Answers a ping. ``source`` is where that came from as ``IP:port``, empty where its transport knows no such."""

    transaction: bytes
    source: str


class CallMeMaybe(NamedTuple):
    """Asks to be pinged at these endpoints (``IP:port``), best first."""

    endpoints: tuple[str, ...]


Message = Ping | Pong | CallMeMaybe

PING_BYTES = HEAD_BYTES + OVERHEAD + _MESSAGE_HEAD + TRANSACTION_BYTES + KEY_BYTES
"""A ping's datagram, without padding."""
PONG_BYTES = HEAD_BYTES + OVERHEAD + _MESSAGE_HEAD + TRANSACTION_BYTES + ENDPOINT_BYTES
"""A pong's datagram."""


def sender(datagram: Buffer) -> DiscoKey | None:
    """Who says that it sent this; None where it is no disco datagram or of no sound length."""
    if not HEAD_BYTES + OVERHEAD <= len(datagram) <= MAX_DATAGRAM or datagram[: len(MAGIC)] != MAGIC:
        return None
    return DiscoKey(bytes(datagram[len(MAGIC) : HEAD_BYTES]))


def seal(message: Message, own: DiscoKey, box: Box, entropy: Entropy) -> bytes:
    """The datagram of a message from ``own`` through the box that it shares with the receiver."""
    return MAGIC + own.raw + box.seal(encode(message), entropy)


def unseal(datagram: Buffer, box: Box) -> Message | None:
    """The message in a datagram that has a `sender`, as `decode` reads it.

    RemoteProtocolError where it is not the sender's, or malformed.
    """
    return decode(box.open(bytes(datagram[HEAD_BYTES:])))


def encode(message: Message) -> bytes:
    """A message's bytes; ValueError where an endpoint is no ``IP:port``."""
    match message:
        case Ping(transaction, node_key, padding):
            body = transaction + (node_key.raw if node_key is not None else b"") + bytes(padding)
            return bytes((_PING, _VERSION)) + body
        case Pong(transaction, source):
            return bytes((_PONG, _VERSION)) + transaction + _packed(source)
        case CallMeMaybe(endpoints):
            return bytes((_CALL_ME_MAYBE, _VERSION)) + b"".join(map(_packed, endpoints))


def decode(message: bytes) -> Message | None:
    """The message; None where its type, or a call's version, is not known; RemoteProtocolError: it is malformed."""
    if len(message) < _MESSAGE_HEAD:
        raise RemoteProtocolError(f"a disco message of {len(message)} bytes")
    read = _READERS.get(message[0])
    if read is None or (read is _read_call and message[1] != _VERSION):
        return None
    return read(message[_MESSAGE_HEAD:])


def _read_ping(body: bytes) -> Ping:
    """Zeros where the node key would be are padding: no node has that key."""
    transaction = _transaction(body)
    key = body[TRANSACTION_BYTES : TRANSACTION_BYTES + KEY_BYTES]
    if len(key) < KEY_BYTES or not any(key):
        return Ping(transaction, None, len(body) - TRANSACTION_BYTES)
    return Ping(transaction, NodeKey(key), len(body) - TRANSACTION_BYTES - KEY_BYTES)


def _read_pong(body: bytes) -> Pong:
    source = body[TRANSACTION_BYTES : TRANSACTION_BYTES + ENDPOINT_BYTES]
    if len(source) < ENDPOINT_BYTES:
        raise RemoteProtocolError(f"a pong of {len(body)} bytes")
    return Pong(_transaction(body), _endpoint(source))


def _read_call(body: bytes) -> CallMeMaybe:
    """What has no port is no endpoint, and is left out."""
    if not body or len(body) % ENDPOINT_BYTES:
        raise RemoteProtocolError(f"a call-me-maybe of {len(body)} bytes")
    end = min(len(body), MAX_CALLED * ENDPOINT_BYTES)
    found = (_endpoint(body[at : at + ENDPOINT_BYTES]) for at in range(0, end, ENDPOINT_BYTES))
    return CallMeMaybe(tuple(text for text in found if text))


_READERS: dict[int, Callable[[bytes], Message]] = {_PING: _read_ping, _PONG: _read_pong, _CALL_ME_MAYBE: _read_call}


def _transaction(body: bytes) -> bytes:
    if len(body) < TRANSACTION_BYTES:
        raise RemoteProtocolError(f"a ping of {len(body)} bytes")
    return body[:TRANSACTION_BYTES]


@lru_cache(_KNOWN)
def _packed(endpoint: str) -> bytes:
    """18 bytes of ``IP:port``; zeros for none."""
    if not endpoint:
        return _NOWHERE
    host, port = parse_endpoint(endpoint)
    address = _MAPPED + host.packed if isinstance(host, IPv4Address) else host.packed
    return address + _port.pack(port)


@lru_cache(_KNOWN)
def _endpoint(packed: bytes) -> str:
    """``IP:port`` of 18 bytes; empty where the port is 0."""
    (port,) = _port.unpack_from(packed, ENDPOINT_BYTES - _port.size)
    if not port:
        return ""
    if packed.startswith(_MAPPED):
        return "{}.{}.{}.{}:{}".format(*packed[12:16], port)
    return f"[{IPv6Address(packed[:16])}]:{port}"
