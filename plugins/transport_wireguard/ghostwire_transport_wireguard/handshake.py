"""One peer's handshakes: the messages this side sends and the keypairs that come of them; when is `Peer`'s business."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import PrivateKey
from ghostwire_transport_wireguard.cookie import MacStamper
from ghostwire_transport_wireguard.keypair import Keypair
from ghostwire_transport_wireguard.local import Local
from ghostwire_transport_wireguard.noise import NO_PRESHARED_KEY, Pending, Request, exchange, initiate

if TYPE_CHECKING:
    from ghostwire_transport_wireguard.peer import Peer


class Handshake:
    """At most one handshake that this side began and that awaits its response; others' are answered at once."""

    __slots__ = ("_index", "_last_timestamp", "_local", "_peer", "_pending", "_static_shared", "stamper")

    def __init__(self, local: Local, peer: Peer) -> None:
        self._local, self._peer = local, peer
        self.stamper = MacStamper(peer.spec.key.raw)
        self._static_shared: bytes | None = None
        self._pending: Pending | None = None
        self._index = 0
        self._last_timestamp = b""

    def begin(self, now: int) -> bytes:
        """A new initiation instead of any before. RemoteProtocolError where the peer's key is of low order."""
        self.abandon()
        local, index = self._local, self._local.new_index()
        ephemeral = PrivateKey(local.entropy(32))
        body, self._pending = initiate(
            local.private_key, ephemeral, self._peer.spec.key.raw, self._shared(), index, local.stamp()
        )
        self._index, local.pending[index] = index, self._peer
        return self.stamper.stamp(body, now)

    def finish(self, response: bytes, now: int) -> Keypair:
        """The keypair of the handshake begun; RemoteProtocolError, and all as before, where the response is forged."""
        if self._pending is None:
            raise RemoteProtocolError("handshake: a response that nothing awaits; drop the message")
        remote, keys = self._pending.finish(response, self._preshared())
        self.abandon()
        return Keypair(self._peer, self._index, remote, keys, now, initiator=True)

    def abandon(self) -> None:
        """Await no response any more."""
        if self._pending is not None:
            self._pending = None
            del self._local.pending[self._index]

    def verify(self, request: Request) -> None:
        """RemoteProtocolError where the initiation is forged or not newer than the last one verified."""
        timestamp = request.timestamp(self._shared())
        if timestamp <= self._last_timestamp:
            raise RemoteProtocolError("handshake: an old timestamp; drop the message")
        self._last_timestamp = timestamp

    def answer(self, request: Request, now: int) -> tuple[Keypair, bytes]:
        """The keypair and the response to a verified initiation."""
        index, ephemeral = self._local.new_index(), PrivateKey(self._local.entropy(32))
        body, keys = request.respond(ephemeral, index, self._preshared())
        keypair = Keypair(self._peer, index, request.sender, keys, now, initiator=False)
        return keypair, self.stamper.stamp(body, now)

    def _shared(self) -> bytes:
        if self._static_shared is None:
            self._static_shared = exchange(self._local.private_key, self._peer.spec.key.raw)
        return self._static_shared

    def _preshared(self) -> bytes:
        return self._peer.spec.preshared_key or NO_PRESHARED_KEY
