"""One peer's handshakes: the messages this side sends and the keypairs that come of them; when is `Peer`'s business."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import PrivateKey
from ghostwire_transport_wireguard.cookie import MacStamper
from ghostwire_transport_wireguard.keypair import Keypair
from ghostwire_transport_wireguard.local import Local
from ghostwire_transport_wireguard.noise import NO_PRESHARED_KEY, Pending, Request, exchange, initiate

if TYPE_CHECKING:
    from ghostwire_transport_wireguard.peer import Peer

RESPONSE_RECEIVER: Final = struct.Struct("<8xI").unpack_from
"""Whose handshake a response completes."""
EXCUSED: Final = 4
"""Responses to one initiation that are computed under load without a cookie."""
_NONE: Final = -1


class Handshake:
    """What this side began and what awaits a response: one handshake, and one beside it that tests a path; others'
    are answered at once.

    A response makes all that was begun before it void, for the peer has forgotten that by then, and leaves what was
    begun later: the peer may have answered that already, and would not know the session in between.
    """

    __slots__ = (
        "_awaited",
        "_begun",
        "_excuses",
        "_last_timestamp",
        "_local",
        "_peer",
        "_static_shared",
        "_tested",
        "stamper",
    )

    def __init__(self, local: Local, peer: Peer) -> None:
        self._local, self._peer = local, peer
        self.stamper = MacStamper(peer.spec.key.raw)
        self._static_shared: bytes | None = None
        self._awaited: dict[int, Pending] = {}
        self._begun = self._tested = _NONE
        self._excuses = 0
        self._last_timestamp = b""

    def begin(self, now: int) -> bytes:
        """A new initiation instead of the one before. RemoteProtocolError where the peer's key is of low order."""
        self.abandon()
        self._begun, message = self._initiate(now)
        return message

    def test(self, now: int) -> bytes:
        """A new initiation that tests a path, instead of the test before; fails as `begin` does."""
        self.abandon_test()
        self._tested, message = self._initiate(now)
        return message

    def _initiate(self, now: int) -> tuple[int, bytes]:
        """Our index and the message."""
        local, index = self._local, self._local.new_index()
        ephemeral = PrivateKey(local.entropy(32))
        body, self._awaited[index] = initiate(
            local.private_key, ephemeral, self._peer.spec.key.raw, self._shared(), index, local.stamp()
        )
        local.pending[index] = self._peer
        self._excuses = EXCUSED
        return index, self.stamper.stamp(body, now)

    def finish(self, response: bytes, now: int) -> Keypair:
        """The keypair of the handshake begun; RemoteProtocolError, and all as before, where the response is forged."""
        (index,) = RESPONSE_RECEIVER(response)
        pending = self._awaited.get(index)
        if pending is None:
            raise RemoteProtocolError("handshake: a response that nothing awaits; drop the message")
        remote, keys = pending.finish(response, self._preshared())
        for begun in list(self._awaited):
            self._forget(begun)
            if begun == index:
                break
        return Keypair(self._peer, index, remote, keys, now, initiator=True)

    def excuse(self) -> bool:
        """Whether one more response to what was begun last may go without a cookie; counts it."""
        self._excuses -= 1
        return self._excuses >= 0

    @property
    def pending(self) -> bool:
        """Whether a handshake awaits its response, tests aside."""
        return self._begun in self._awaited

    def abandon(self) -> None:
        """Await the response to `begin` no more."""
        self._forget(self._begun)

    def abandon_test(self) -> None:
        """Await the response to `test` no more."""
        self._forget(self._tested)

    def _forget(self, index: int) -> None:
        if self._awaited.pop(index, None) is not None:
            del self._local.pending[index]

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
