"""What is in the WebSocket messages, all binary and unfragmented; integers are big-endian.

    node that accepts                     node that dials
      01 challenge  version(1) nonce(32)      ->
                                          <-  02 introduction  nonce(32) key(32) signature(64) endpoint
      03 proof      key(32) signature(64)     ->
      04 datagrams  { length(2) datagram }   <->

Both sign ``LABEL role 0 nonces endpoints`` (see `signed`): the nonces bind a signature to this connection, the
endpoints to these two nodes. What follows the known fields of 01 and 03 is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from ghostwire import BURST, Buffer
from ghostwire.errors import RemoteProtocolError
from ghostwire_websocket.endpoint import MAX_TEXT, Endpoint
from ghostwire_websocket.identity import KEY_BYTES, SIGNATURE_BYTES, Identity, is_signed, pin_of

CHALLENGE, INTRODUCTION, PROOF, DATAGRAMS = 1, 2, 3, 4
VERSION = 1
NONCE_BYTES = 32
MAX_DATAGRAM = 65_535
MAX_MESSAGE = 128 * 1024
"""Bytes of one message, either way."""

_LABEL = b"ghostwire-websocket/1 "
_LENGTH = struct.Struct(">H")


def signed(role: bytes, challenge: bytes, answer: bytes, acceptor: str, dialler: str) -> bytes:
    """What a node signs as ``accepts`` or ``dials``: the acceptor's nonce, the dialler's, and both endpoints."""
    texts = b"".join(_LENGTH.pack(len(text)) + text.encode() for text in (acceptor, dialler))
    return _LABEL + role + b"\0" + challenge + answer + texts


def challenge(nonce: bytes) -> bytes:
    """The first message of a node that accepts."""
    return bytes((CHALLENGE, VERSION)) + nonce


def parse_challenge(body: memoryview) -> bytes:
    """Its nonce."""
    if len(body) < 1 + NONCE_BYTES or body[0] != VERSION:
        raise RemoteProtocolError("not a challenge of this version")
    return bytes(body[1 : 1 + NONCE_BYTES])


def introduction(nonce: bytes, own: Identity, endpoint: Endpoint, challenged: bytes, acceptor: Endpoint) -> bytes:
    """Who dials, with proof."""
    signature = own.sign(signed(b"dials", challenged, nonce, str(acceptor), str(endpoint)))
    return bytes((INTRODUCTION,)) + nonce + own.public + signature + str(endpoint).encode()


def parse_introduction(body: memoryview, challenged: bytes, acceptor: Endpoint) -> tuple[bytes, Endpoint]:
    """Nonce and endpoint of who dials, proven to be his."""
    fixed = NONCE_BYTES + KEY_BYTES + SIGNATURE_BYTES
    try:
        endpoint = Endpoint.parse(bytes(body[fixed : fixed + MAX_TEXT + 1]).decode("ascii"))
    except ValueError as error:
        raise RemoteProtocolError(f"an introduction without an endpoint: {error}") from None
    nonce, key = bytes(body[:NONCE_BYTES]), bytes(body[NONCE_BYTES : NONCE_BYTES + KEY_BYTES])
    text = signed(b"dials", challenged, nonce, str(acceptor), str(endpoint))
    if endpoint.pin != pin_of(key) or not is_signed(text, key, bytes(body[NONCE_BYTES + KEY_BYTES : fixed])):
        raise RemoteProtocolError("an introduction without proof")
    return nonce, endpoint


def proof(own: Identity, challenged: bytes, nonce: bytes, acceptor: Endpoint, dialler: Endpoint) -> bytes:
    """The acceptor's answer to an introduction."""
    signature = own.sign(signed(b"accepts", challenged, nonce, str(acceptor), str(dialler)))
    return bytes((PROOF,)) + own.public + signature


def check_proof(body: memoryview, challenged: bytes, nonce: bytes, acceptor: Endpoint, dialler: Endpoint) -> None:
    """RemoteProtocolError unless the node that was dialled made it."""
    key = bytes(body[:KEY_BYTES])
    text = signed(b"accepts", challenged, nonce, str(acceptor), str(dialler))
    if acceptor.pin != pin_of(key) or not is_signed(text, key, bytes(body[KEY_BYTES : KEY_BYTES + SIGNATURE_BYTES])):
        raise RemoteProtocolError("another node answers there than the endpoint names")


def messages(datagrams: Sequence[Buffer]) -> Iterator[bytes]:
    """Bursts of at most `BURST` datagrams, each as one message where it fits; none is over `MAX_DATAGRAM`."""
    parts, size = [bytes((DATAGRAMS,))], 1
    for datagram in datagrams:
        if size + 2 + len(datagram) > MAX_MESSAGE or len(parts) > 2 * BURST:
            yield b"".join(parts)
            parts, size = [bytes((DATAGRAMS,))], 1
        parts += _LENGTH.pack(len(datagram)), bytes(datagram)
        size += 2 + len(datagram)
    if size > 1:
        yield b"".join(parts)


def parse_datagrams(body: memoryview) -> list[memoryview]:
    """The datagrams of a message, views into it."""
    found, at, end = list[memoryview](), 0, len(body)
    while at < end:
        if end - at < 2:
            raise RemoteProtocolError("a datagram without its length")
        (size,) = _LENGTH.unpack_from(body, at)
        at += 2 + size
        if not size or at > end or len(found) == BURST:
            raise RemoteProtocolError("a datagram that is empty or cut off, or too many of them")
        found.append(body[at - size : at])
    return found
