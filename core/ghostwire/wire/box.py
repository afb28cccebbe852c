"""NaCl's crypto_box (X25519, XSalsa20-Poly1305) as DERP and disco write it: nonce (24 bytes), then the box."""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as LibraryError

from ghostwire.engine import Entropy
from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import PrivateKey

NONCE_BYTES = 24
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
"""What a box is longer than its contents."""


class Box:
    """Boxes between a private key and one public key of 32 bytes; their shared key is computed once."""

    __slots__ = ("_shared",)

    def __init__(self, private: PrivateKey, public: bytes) -> None:
        """RemoteProtocolError where the public key is a point of low order, which is nobody's."""
        try:
            self._shared = bindings.crypto_box_beforenm(public, private.raw)
        except (CryptoError, LibraryError):
            raise RemoteProtocolError("a public key that is nobody's") from None

    def seal(self, plain: bytes, entropy: Entropy) -> bytes:
        """A fresh nonce of ``entropy`` and the box."""
        nonce = entropy(NONCE_BYTES)
        return nonce + bindings.crypto_box_afternm(plain, nonce, self._shared)

    def open(self, sealed: bytes) -> bytes:
        """What is in the box; RemoteProtocolError where it was not made by these two keys."""
        if len(sealed) < OVERHEAD:
            raise RemoteProtocolError(f"a box of {len(sealed)} bytes; the least is {OVERHEAD}")
        try:
            return bindings.crypto_box_open_afternm(sealed[NONCE_BYTES:], sealed[:NONCE_BYTES], self._shared)
        except CryptoError:
            raise RemoteProtocolError("a box that does not open") from None
