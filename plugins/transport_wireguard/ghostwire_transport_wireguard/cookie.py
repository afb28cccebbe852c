"""Handshake messages' macs, and the cookies a node under load asks for before it computes anything dear.

    mac1 = BLAKE2s-128(key: H("mac1----" || receiver's key), all before it)       the sender knows whom it addresses
    mac2 = BLAKE2s-128(key: cookie, all before it), or zeros                      the sender is where it says it is
    cookie = BLAKE2s-128(key: secret changed every 120 s, source)

Source: the WireGuard paper, section 5.4.4 to 5.4.7.
"""

from __future__ import annotations

import struct
from hashlib import blake2s
from typing import Final

from ghostwire.engine import SECOND, Entropy
from ghostwire.keys import equal
from ghostwire_transport_wireguard.noise import COOKIE_REPLY, MACS_BYTES

COOKIE_REPLY_MESSAGE: Final = struct.Struct("<II24s32s")
"""type(4) receiver(4) nonce(24) sealed cookie(16+16)"""
COOKIE_REPLY_BYTES: Final = COOKIE_REPLY_MESSAGE.size
MAC_BYTES: Final = 16
NO_MAC: Final = bytes(MAC_BYTES)

COOKIE_REFRESH: Final = 120 * SECOND
"""How long a cookie's secret lasts."""
COOKIE_USE: Final = 115 * SECOND
"""How long the holder uses a cookie: 5 s less, for the way."""

RATE: Final = 20
"""Handshake messages with a valid cookie that one source may send per second while under load."""
RATE_BURST: Final = 5
RATE_SOURCES: Final = 1_024


def _keyed(label: bytes, public: bytes) -> bytes:
    return blake2s(label + public).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, digest_size=MAC_BYTES, key=key).digest()


class MacStamper:
    """Adds macs to handshake messages for one peer, and keeps the cookie it asked for."""

    __slots__ = ("_cookie", "_cookie_key", "_expires", "_last", "_mac1_key")

    def __init__(self, peer: bytes) -> None:
        self._mac1_key, self._cookie_key = _keyed(b"mac1----", peer), _keyed(b"cookie--", peer)
        self._last = b""
        self._cookie = b""
        self._expires = 0

    def stamp(self, body: bytes, now: int) -> bytes:
        """The whole message: body, mac1, mac2."""
        self._last = body + _mac(self._mac1_key, body)
        return self._last + (_mac(self._cookie, self._last) if self._cookie and now < self._expires else NO_MAC)

    def accept(self, reply: bytes, now: int) -> bytes | None:
        """Take a cookie reply to the last message stamped, and give that message with the cookie shown; None where the
        reply is forged or answers nothing. Only the first reply to a message counts."""
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as open_cookie
        from nacl.exceptions import CryptoError

        if not self._last:
            return None
        _, _, nonce, sealed = COOKIE_REPLY_MESSAGE.unpack(reply)
        try:
            self._cookie = open_cookie(sealed, self._last[-MAC_BYTES:], nonce, self._cookie_key)
        except CryptoError:
            return None
        self._expires, message, self._last = now + COOKIE_USE, self._last, b""
        return message + _mac(self._cookie, message)


class MacChecker:
    """Checks the macs of messages sent to this node, and makes cookie replies."""

    __slots__ = ("_cookie_key", "_entropy", "_expires", "_mac1_key", "_secret")

    def __init__(self, public: bytes, entropy: Entropy) -> None:
        self._mac1_key, self._cookie_key = _keyed(b"mac1----", public), _keyed(b"cookie--", public)
        self._entropy = entropy
        self._secret = b""
        self._expires = 0

    def mac1_valid(self, message: bytes) -> bool:
        """Whether the sender knows this node's public key."""
        return equal(_mac(self._mac1_key, message[:-MACS_BYTES]), message[-MACS_BYTES:-MAC_BYTES])

    def mac2_valid(self, message: bytes, source: bytes, now: int) -> bool:
        """Whether the sender holds the cookie of this source."""
        return equal(_mac(self._cookie(source, now), message[:-MAC_BYTES]), message[-MAC_BYTES:])

    def reply(self, message: bytes, source: bytes, now: int) -> bytes:
        """The cookie reply to a message whose mac1 is valid."""
        from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as seal_cookie

        nonce = self._entropy(24)
        mac1 = message[-MACS_BYTES:-MAC_BYTES]
        sealed = seal_cookie(self._cookie(source, now), mac1, nonce, self._cookie_key)
        (sender,) = struct.unpack_from("<I", message, 4)
        return COOKIE_REPLY_MESSAGE.pack(COOKIE_REPLY, sender, nonce, sealed)

    def _cookie(self, source: bytes, now: int) -> bytes:
        if now >= self._expires:
            self._secret, self._expires = self._entropy(32), now + COOKIE_REFRESH
        return _mac(self._secret, source)


class RateLimiter:
    """A token bucket per source, for a bounded number of sources."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at: dict[str, int] = {}

    def allow(self, source: str, now: int) -> bool:
        """Take a token; False where the source has none left. The source unheard for longest is forgotten first."""
        full_at = max(self._full_at.pop(source, now), now) + SECOND // RATE
        allowed = full_at - now <= RATE_BURST * SECOND // RATE
        if len(self._full_at) >= RATE_SOURCES:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[source] = full_at if allowed else full_at - SECOND // RATE
        return allowed
