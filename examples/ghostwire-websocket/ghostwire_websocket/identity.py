"""A key of the plugin's own: what proves that the right node answers behind a proxy which ends TLS."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ghostwire.engine import Entropy
from ghostwire.errors import StateError
from ghostwire.keys import write_private

FILE = "websocket.key"
KEY_BYTES, SIGNATURE_BYTES = 32, 64


class Identity:
    """An Ed25519 key; ``pin`` is the SHA-256 of its public part, in hex."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()
        self.pin = pin_of(self.public)

    @classmethod
    def load(cls, folder: Path, entropy: Entropy) -> Identity:
        """The key kept in this folder, made at the first time; StateError where that is impossible."""
        file = folder / FILE
        try:
            if not file.exists():
                write_private(file, entropy(KEY_BYTES))
            secret = file.read_bytes()
        except OSError as error:
            raise StateError(f"{file}: {error.strerror}; the plugin keeps its key there") from error
        if len(secret) != KEY_BYTES:
            raise StateError(f"{file}: not a key; remove it, and the node gets another endpoint")
        return cls(secret)

    def sign(self, text: bytes) -> bytes:
        """A signature of `SIGNATURE_BYTES`."""
        return self._key.sign(text)


def pin_of(key: bytes) -> str:
    """What an endpoint says of a public key."""
    return hashlib.sha256(key).hexdigest()


def is_signed(text: bytes, key: bytes, signature: bytes) -> bool:
    """Whether the holder of this public key signed the text."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
