"""The login: a client proves by a NaCl box that it holds its key, and says what it can; the relay answers likewise."""

from __future__ import annotations

from typing import Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import Box
from nacl.public import PrivateKey as BoxKey
from nacl.public import PublicKey as BoxPublicKey

from ghostwire.engine import Entropy
from ghostwire.errors import AuthenticationFailed, RemoteProtocolError
from ghostwire_derp.frames import KEY_BYTES, SERVER_INFO, VERSION, frame

NONCE_BYTES: Final = 24
LEAST_LOGIN: Final = KEY_BYTES + NONCE_BYTES + 16 + len("{}")
"""Bytes of the shortest ClientInfo there can be."""


class ClientInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What a client says of itself. ``mesh_key`` is 64 hex digits; ``version`` the protocol's."""

    version: int = 0
    mesh_key: str = ""
    can_ack_pings: bool = msgspec.field(name="CanAckPings", default=False)
    is_prober: bool = msgspec.field(name="IsProber", default=False)

    def __repr__(self) -> str:
        return f"ClientInfo(version={self.version}, is_prober={self.is_prober}, mesh key hidden)"


class ServerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the relay says of itself; the rate, in bytes a second, and the burst are told where they are limited."""

    version: int
    rate: int = msgspec.field(name="TokenBucketBytesPerSecond", default=0)
    burst: int = msgspec.field(name="TokenBucketBytesBurst", default=0)


_decoder = msgspec.json.Decoder(ClientInfo)


class Login:
    """Opens a ClientInfo frame's payload, of `LEAST_LOGIN` bytes at least: key (32), nonce (24), box.

    RemoteProtocolError where it is malformed, AuthenticationFailed where its sender does not hold the key.
    """

    def __init__(self, private_key: BoxKey, payload: bytes) -> None:
        self.key = payload[:KEY_BYTES]
        try:
            self._box = Box(private_key, BoxPublicKey(self.key))
            text = self._box.decrypt(payload[KEY_BYTES:])
        except CryptoError:
            raise AuthenticationFailed("the client does not hold its key") from None
        try:
            self.info = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise RemoteProtocolError("a ClientInfo that is no JSON of its kind") from None

    def answer(self, entropy: Entropy, rate: int, burst: int) -> bytes:
        """The ServerInfo frame for this client."""
        text = msgspec.json.encode(ServerInfo(VERSION, rate, burst))
        return frame(SERVER_INFO, bytes(self._box.encrypt(text, entropy(NONCE_BYTES))))
