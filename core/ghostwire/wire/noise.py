"""Noise_IK_25519_ChaChaPoly_BLAKE2s without I/O (The Noise Protocol Framework, revision 34).

    <- s                             the initiator knows the responder's static key beforehand
    ...
    -> e, es, s, ss     message 1: 32 | 48 | payload + 16    says who the initiator is; can be replayed
    <- e, ee, se        message 2: 32 | payload + 16         proves the responder; the keys are fresh from here on

Message 1 has no forward secrecy towards the responder's static key and may be a replay, so nothing may be done on its
strength. Every failure to read is a RemoteProtocolError, after which the handshake must be dropped.
"""

from __future__ import annotations

import struct
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ghostwire.engine import Entropy
from ghostwire.errors import LocalProtocolError, RemoteProtocolError
from ghostwire.keys import KEY_BYTES, PrivateKey

PROTOCOL_NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
TAG_BYTES = 16
MAX_MESSAGE = 65535
"""Bytes of the largest Noise message, tag included."""

_INITIAL = blake2s(PROTOCOL_NAME).digest()
_STATIC = KEY_BYTES + TAG_BYTES
_BLOCK = blake2s().block_size
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_nonce = struct.Struct("<4xQ").pack


class CipherState:
    """One direction's key and counter. It holds no cipher object between calls: an idle stream is just its key."""

    __slots__ = ("_counter", "_key")

    def __init__(self, key: bytes) -> None:
        self._key, self._counter = key, 0

    def encrypt(self, plaintext: bytes | memoryview, associated: bytes = b"") -> bytes:
        """The ciphertext and its tag, under the next nonce."""
        sealed = ChaCha20Poly1305(self._key).encrypt(_nonce(self._counter), plaintext, associated)
        self._counter += 1
        return sealed

    def decrypt(self, ciphertext: bytes | memoryview, associated: bytes = b"") -> bytes:
        """The plaintext; RemoteProtocolError where it was not sealed under the next nonce and this key."""
        try:
            opened = ChaCha20Poly1305(self._key).decrypt(_nonce(self._counter), ciphertext, associated)
        except InvalidTag:
            raise RemoteProtocolError("a Noise message failed authentication") from None
        self._counter += 1
        return opened


class _Symmetric:
    """Chaining key, transcript hash and the handshake's current cipher."""

    __slots__ = ("_chaining", "_cipher", "hash")

    def __init__(self, prologue: bytes) -> None:
        self._chaining = self.hash = _INITIAL
        self._cipher = CipherState(bytes(KEY_BYTES))
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        self._chaining, key = _hkdf(self._chaining, secret)
        self._cipher = CipherState(key)

    def encrypt(self, plaintext: bytes) -> bytes:
        sealed = self._cipher.encrypt(plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, ciphertext: bytes) -> bytes:
        opened = self._cipher.decrypt(ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return opened

    def split(self) -> tuple[CipherState, CipherState]:
        first, second = _hkdf(self._chaining, b"")
        return CipherState(first), CipherState(second)


class Handshake:
    """What both roles share; ``hash`` identifies the session once both messages are through."""

    __slots__ = ("_entropy", "_static", "_symmetric", "ephemeral")
    initiates: bool
    ephemeral: PrivateKey

    def __init__(self, static: PrivateKey, responder: bytes, prologue: bytes, entropy: Entropy) -> None:
        self._static, self._entropy = static, entropy
        self._symmetric = _Symmetric(prologue)
        self._symmetric.mix_hash(responder)

    @property
    def hash(self) -> bytes:
        """The transcript hash so far, 32 bytes; equal on both sides and unique to a finished handshake."""
        return self._symmetric.hash

    def split(self) -> tuple[CipherState, CipherState]:
        """The transport ciphers (sending, receiving), once message 2 is through."""
        first, second = self._symmetric.split()
        return (first, second) if self.initiates else (second, first)

    def _send_ephemeral(self) -> bytes:
        self._symmetric.mix_hash(self.ephemeral.public_raw)
        return self.ephemeral.public_raw

    def _mix_exchange(self, private: PrivateKey, public: bytes) -> None:
        try:
            self._symmetric.mix_key(private.exchange(public))
        except ValueError:
            raise RemoteProtocolError("a low-order public key in a Noise handshake") from None


class Initiator(Handshake):
    """The side that opens; it knows ``responder``, the other side's static public key."""

    __slots__ = ("_responder",)
    initiates = True

    def __init__(self, static: PrivateKey, responder: bytes, prologue: bytes, entropy: Entropy) -> None:
        super().__init__(static, responder, prologue, entropy)
        self._responder = responder

    def write_first(self, payload: bytes = b"") -> bytes:
        """Message 1. The payload is readable by whoever ever gets the responder's static key."""
        self.ephemeral = PrivateKey.generate(self._entropy)
        first = self._send_ephemeral()
        self._mix_exchange(self.ephemeral, self._responder)
        static = self._symmetric.encrypt(self._static.public_raw)
        self._mix_exchange(self._static, self._responder)
        return first + static + self._symmetric.encrypt(payload)

    def read_second(self, message: bytes) -> bytes:
        """Message 2's payload; the responder has proven itself when this returns."""
        _check_length(message, KEY_BYTES + TAG_BYTES)
        ephemeral, sealed = message[:KEY_BYTES], message[KEY_BYTES:]
        self._symmetric.mix_hash(ephemeral)
        self._mix_exchange(self.ephemeral, ephemeral)
        self._mix_exchange(self._static, ephemeral)
        return self._symmetric.decrypt(sealed)


class Responder(Handshake):
    """The side that answers; ``initiator`` is the other side's static public key, known from message 1, and
    ``ephemeral`` then our key of this handshake alone."""

    __slots__ = ("_remote_ephemeral", "initiator")
    initiates = False

    def __init__(self, static: PrivateKey, prologue: bytes, entropy: Entropy) -> None:
        super().__init__(static, static.public_raw, prologue, entropy)
        self.initiator = self._remote_ephemeral = b""

    def read_first(self, message: bytes) -> bytes:
        """Message 1's payload. It may be a replay."""
        _check_length(message, KEY_BYTES + _STATIC + TAG_BYTES)
        self._remote_ephemeral = message[:KEY_BYTES]
        self._symmetric.mix_hash(self._remote_ephemeral)
        self._mix_exchange(self._static, self._remote_ephemeral)
        self.initiator = self._symmetric.decrypt(message[KEY_BYTES : KEY_BYTES + _STATIC])
        self._mix_exchange(self._static, self.initiator)
        payload = self._symmetric.decrypt(message[KEY_BYTES + _STATIC :])
        self.ephemeral = PrivateKey.generate(self._entropy)
        return payload

    def write_second(self, payload: bytes = b"") -> bytes:
        """Message 2."""
        if not self.initiator:
            raise LocalProtocolError("message 2 comes after message 1")
        second = self._send_ephemeral()
        self._mix_exchange(self.ephemeral, self._remote_ephemeral)
        self._mix_exchange(self.ephemeral, self.initiator)
        return second + self._symmetric.encrypt(payload)


def _check_length(message: bytes, least: int) -> None:
    if not least <= len(message) <= MAX_MESSAGE:
        raise RemoteProtocolError(f"a Noise handshake message of {len(message)} bytes")


def _hkdf(chaining: bytes, secret: bytes) -> tuple[bytes, bytes]:
    temporary = _hmac(chaining, secret)
    first = _hmac(temporary, b"\x01")
    return first, _hmac(temporary, first + b"\x02")


def _hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-BLAKE2s (RFC 2104): by OpenSSL it costs twice as much, for it looks for the hash first."""
    padded = key.ljust(_BLOCK, b"\0")
    inner = blake2s(padded.translate(_INNER) + message).digest()
    return blake2s(padded.translate(_OUTER) + inner).digest()
