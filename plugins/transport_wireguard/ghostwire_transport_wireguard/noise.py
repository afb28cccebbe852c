"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard speaks it: both roles' messages and the keys they agree on.

    initiator                                              responder
    initiate() -> Pending  --- Initiation, 148 bytes --->  read_initiation() -> Request
    Pending.finish()       <--- Response, 92 bytes ------  Request.timestamp(), Request.respond()
    SessionKeys            ==== transport data ==========  SessionKeys (send and receive swapped)

The messages here end where mac1 begins (see `ghostwire_transport_wireguard.cookie`). Source: the WireGuard paper,
section 5.4, and the Noise Protocol Framework, revision 34.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import KEY_BYTES, PrivateKey

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"

# Message types: the first byte; three zero bytes follow, so that both read as one little-endian u32.
INITIATION: Final = 1
RESPONSE: Final = 2
COOKIE_REPLY: Final = 3
TRANSPORT: Final = 4

INITIATION_BODY: Final = struct.Struct("<II32s48s28s")
"""type(4) sender(4) ephemeral(32) sealed static key(32+16) sealed timestamp(12+16)"""
RESPONSE_BODY: Final = struct.Struct("<III32s16s")
"""type(4) sender(4) receiver(4) ephemeral(32) sealed nothing(16)"""
MACS_BYTES: Final = 32
"""mac1(16) mac2(16), after either body"""
INITIATION_BYTES: Final = INITIATION_BODY.size + MACS_BYTES
RESPONSE_BYTES: Final = RESPONSE_BODY.size + MACS_BYTES

NO_PRESHARED_KEY: Final = bytes(KEY_BYTES)
_FIRST_NONCE: Final = bytes(12)


def _hash(*parts: bytes) -> bytes:
    return blake2s(b"".join(parts)).digest()


_FIRST_CHAIN: Final = _hash(CONSTRUCTION)
_FIRST_HASH: Final = _hash(_FIRST_CHAIN, IDENTIFIER)


def kdf(chain: bytes, secret: bytes, count: int) -> list[bytes]:
    """``count`` keys of 32 bytes from a chaining key and an input (HKDF with HMAC-BLAKE2s)."""
    extracted = hmac.digest(chain, secret, blake2s)
    keys: list[bytes] = []
    block = b""
    for number in range(1, count + 1):
        block = hmac.digest(extracted, block + bytes((number,)), blake2s)
        keys.append(block)
    return keys


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The two 32-byte keys of a session, named from their holder's side."""

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)


class Transcript:
    """The handshake's chaining key and running hash; `fork` lets a failed message leave no trace."""

    __slots__ = ("chain", "hash")

    def __init__(self, chain: bytes, hash: bytes) -> None:
        self.chain, self.hash = chain, hash

    @classmethod
    def towards(cls, responder: bytes) -> Transcript:
        """The start of every handshake with this responder's public key."""
        return cls(_FIRST_CHAIN, _hash(_FIRST_HASH, responder))

    def fork(self) -> Transcript:
        """A copy to go on from."""
        return Transcript(self.chain, self.hash)

    def mix_hash(self, data: bytes) -> None:
        """Bind to data that travels in the open."""
        self.hash = _hash(self.hash, data)

    def mix_ephemeral(self, public: bytes) -> None:
        """Bind to an ephemeral public key, by hash and by chain."""
        self.mix_hash(public)
        self.mix_secret(public)

    def mix_secret(self, secret: bytes) -> None:
        """Move the chain on; no key is needed yet."""
        (self.chain,) = kdf(self.chain, secret, 1)

    def mix_key(self, secret: bytes) -> bytes:
        """Move the chain on; the key for the next sealed field."""
        self.chain, key = kdf(self.chain, secret, 2)
        return key

    def mix_preshared(self, preshared: bytes) -> bytes:
        """Move chain and hash on by the preshared key; the key for the next sealed field."""
        self.chain, bound, key = kdf(self.chain, preshared, 3)
        self.mix_hash(bound)
        return key

    def seal(self, key: bytes, plaintext: bytes) -> bytes:
        """Seal a field under a key used once, and bind to it."""
        sealed = ChaCha20Poly1305(key).encrypt(_FIRST_NONCE, plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """Open a field and bind to it; RemoteProtocolError where it is forged."""
        try:
            plaintext = ChaCha20Poly1305(key).decrypt(_FIRST_NONCE, sealed, self.hash)
        except InvalidTag:
            raise RemoteProtocolError("handshake: a sealed field does not open; drop the message") from None
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The session's keys: what the initiator sends with, what the responder sends with."""
        first, second = kdf(self.chain, b"", 2)
        return first, second


def exchange(private: PrivateKey, public: bytes) -> bytes:
    """The X25519 shared secret; RemoteProtocolError where the public key would make it all zeros."""
    try:
        return private.exchange(public)
    except ValueError:
        raise RemoteProtocolError("handshake: a public key of low order; drop the message") from None


class Pending:
    """A handshake this side began and that awaits its response."""

    __slots__ = ("_ephemeral", "_static", "_transcript")

    def __init__(self, static: PrivateKey, ephemeral: PrivateKey, transcript: Transcript) -> None:
        self._static, self._ephemeral, self._transcript = static, ephemeral, transcript

    def finish(self, response: bytes, preshared: bytes) -> tuple[int, SessionKeys]:
        """The responder's index and the session's keys; RemoteProtocolError leaves the handshake as it was."""
        _, sender, _, ephemeral, empty = RESPONSE_BODY.unpack_from(response)
        transcript = self._transcript.fork()
        transcript.mix_ephemeral(ephemeral)
        transcript.mix_secret(exchange(self._ephemeral, ephemeral))
        transcript.mix_secret(exchange(self._static, ephemeral))
        transcript.open(transcript.mix_preshared(preshared), empty)
        ours, theirs = transcript.split()
        return sender, SessionKeys(send=ours, receive=theirs)


def initiate(
    static: PrivateKey, ephemeral: PrivateKey, responder: bytes, static_shared: bytes, sender: int, timestamp: bytes
) -> tuple[bytes, Pending]:
    """The initiation without its macs; ``static_shared`` is `exchange` of both static keys, ``sender`` our index."""
    transcript = Transcript.towards(responder)
    transcript.mix_ephemeral(ephemeral.public_raw)
    sealed_static = transcript.seal(transcript.mix_key(exchange(ephemeral, responder)), static.public_raw)
    sealed_timestamp = transcript.seal(transcript.mix_key(static_shared), timestamp)
    body = INITIATION_BODY.pack(INITIATION, sender, ephemeral.public_raw, sealed_static, sealed_timestamp)
    return body, Pending(static, ephemeral, transcript)


class Request:
    """An initiation whose sender's key is known; nothing is proven before `timestamp` returns."""

    __slots__ = ("_ephemeral", "_sealed_timestamp", "_transcript", "initiator", "sender")

    def __init__(
        self, transcript: Transcript, sender: int, initiator: bytes, ephemeral: bytes, sealed_timestamp: bytes
    ) -> None:
        self._transcript, self._ephemeral, self._sealed_timestamp = transcript, ephemeral, sealed_timestamp
        self.sender, self.initiator = sender, initiator

    def timestamp(self, static_shared: bytes) -> bytes:
        """The initiator's 12-byte timestamp, which proves its static key; RemoteProtocolError where it is forged."""
        return self._transcript.open(self._transcript.mix_key(static_shared), self._sealed_timestamp)

    def respond(self, ephemeral: PrivateKey, sender: int, preshared: bytes) -> tuple[bytes, SessionKeys]:
        """The response without its macs and the session's keys; `timestamp` comes first."""
        transcript = self._transcript
        transcript.mix_ephemeral(ephemeral.public_raw)
        transcript.mix_secret(exchange(ephemeral, self._ephemeral))
        transcript.mix_secret(exchange(ephemeral, self.initiator))
        empty = transcript.seal(transcript.mix_preshared(preshared), b"")
        theirs, ours = transcript.split()
        body = RESPONSE_BODY.pack(RESPONSE, sender, self.sender, ephemeral.public_raw, empty)
        return body, SessionKeys(send=ours, receive=theirs)


def read_initiation(static: PrivateKey, message: bytes) -> Request:
    """Learn who sent an initiation; RemoteProtocolError where it was not made for this node's key."""
    _, sender, ephemeral, sealed_static, sealed_timestamp = INITIATION_BODY.unpack_from(message)
    transcript = Transcript.towards(static.public_raw)
    transcript.mix_ephemeral(ephemeral)
    initiator = transcript.open(transcript.mix_key(exchange(static, ephemeral)), sealed_static)
    return Request(transcript, sender, initiator, ephemeral, sealed_timestamp)
