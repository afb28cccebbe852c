"""One relay's end of its link to another, without I/O: an ordinary client that has the mesh key.

    state      what may come                              next   what goes out
    --------   ----------------------------------------   ----   --------------------------
    greeting   ServerKey: the expected one, not our own   login  ClientInfo with meshKey
    login      ServerInfo, sealed with that key           open   WatchConns
    open       PeerPresent, PeerGone: ``changes``         open   Pong for a Ping
    any        KeepAlive, Health, whatever is new: skipped

One mutation, then drain: `receive` or `advance`, then ``changes``, `outgoing`, `deadline`. After an error, or once
``failure`` is set, it is of no more use.
"""

from __future__ import annotations

import msgspec

from ghostwire.engine import SECOND, Entropy
from ghostwire.errors import AuthenticationFailed, GhostwireError, Refused, RemoteProtocolError, Unavailable
from ghostwire.keys import PrivateKey, RelayKey
from ghostwire.wire.box import Box
from ghostwire_derp import frames

LOGIN = 10 * SECOND
"""From the first byte to ServerInfo."""
SILENCE = 120 * SECOND
"""A relay that lets nothing be heard for so long is dead: it keeps connections alive every 60 s."""
MAX_KEYS = 1_000_000
"""Clients of one other relay that are followed; its further ones are counted and not reached through it."""

_FLAGS = frames.KEY_BYTES + 16 + 2
"""Where the flags of PeerPresent are, where it has any."""


class Itself(Refused):
    """The relay at the other end is this one."""


class MeshSession:
    """``private_key`` is this relay's, ``peer`` the other's key where it is known; times in nanoseconds.

    ``changes`` are (key, whether it is present) as they came, to be taken by the caller.
    """

    def __init__(
        self, private_key: PrivateKey, mesh_key: bytes, peer: RelayKey | None, entropy: Entropy, now: int
    ) -> None:
        self._private, self._mesh_key, self._peer, self._entropy = private_key, mesh_key, peer, entropy
        self._box: Box | None = None
        self._out: list[bytes] = []
        self._keys: set[bytes] = set()
        self._began = self._heard = now
        self.opened = False
        self.overflow = 0
        self.changes: list[tuple[bytes, bool]] = []
        self.failure: GhostwireError | None = None

    def receive(self, kind: int, payload: bytes, now: int) -> None:
        """One frame. RemoteProtocolError, AuthenticationFailed or `Itself`: close the link, for this reason."""
        self._heard = now
        if kind == frames.PING:
            self._out.append(frames.frame(frames.PONG, payload[:8]))
        elif self._box is None:
            self._greeted(kind, payload)
        elif not self.opened:
            self._answered(kind, payload)
        elif kind == frames.PEER_PRESENT:
            self._present(payload)
        elif kind == frames.PEER_GONE:
            self._gone(payload)

    def closed(self) -> GhostwireError:
        """What it means that the other relay has closed the stream."""
        refused = self._box is not None and not self.opened
        hint = " at the login; do both relays have the same mesh key?" if refused else ""
        return Unavailable(f"it closed the connection{hint}")

    def outgoing(self) -> bytes:
        """What to send now: whole frames."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def deadline(self) -> int | None:
        """When silence, or a login that takes too long, ends it."""
        if self.failure is not None:
            return None
        return self._heard + SILENCE if self.opened else self._began + LOGIN

    def advance(self, now: int) -> None:
        """Give up on a relay that has become silent."""
        deadline = self.deadline()
        if deadline is not None and now >= deadline:
            silent = f"it was silent for {SILENCE // SECOND} s"
            self.failure = Unavailable(silent if self.opened else f"no login within {LOGIN // SECOND} s")

    def _greeted(self, kind: int, payload: bytes) -> None:
        if kind != frames.SERVER_KEY or not payload.startswith(frames.MAGIC):
            raise RemoteProtocolError("it does not greet as a DERP relay does")
        raw = payload[len(frames.MAGIC) :][: frames.KEY_BYTES]
        if len(raw) < frames.KEY_BYTES:
            raise RemoteProtocolError("its ServerKey is too short")
        if raw == self._private.public_raw:
            raise Itself("it is this relay itself")
        if self._peer is not None and raw != self._peer.raw:
            raise AuthenticationFailed("it has another key than its record says; see gwctl relays list")
        self._box = Box(self._private, raw)
        info = {"version": frames.VERSION, "meshKey": self._mesh_key.hex(), "CanAckPings": True}
        sealed = self._box.seal(msgspec.json.encode(info), self._entropy)
        self._out.append(frames.frame(frames.CLIENT_INFO, self._private.public_raw + sealed))

    def _answered(self, kind: int, payload: bytes) -> None:
        if kind != frames.SERVER_INFO:
            return
        assert self._box is not None
        self._box.open(payload)
        self.opened = True
        self._out.append(frames.frame(frames.WATCH_CONNS))

    def _present(self, payload: bytes) -> None:
        """A client, or one more connection of it; other relays are nobody's destination."""
        key = self._key_of(payload)
        relay = len(payload) > _FLAGS and payload[_FLAGS] & frames.MESH_PEER
        if relay or key == self._private.public_raw:
            return
        if key not in self._keys and len(self._keys) >= MAX_KEYS:
            self.overflow += 1
            return
        self._keys.add(key)
        self.changes.append((key, True))

    def _gone(self, payload: bytes) -> None:
        """Only that the last connection is gone matters here: a packet's destination that is not there is no news."""
        key = self._key_of(payload)
        if payload[frames.KEY_BYTES : frames.KEY_BYTES + 1] == bytes([frames.NOT_HERE]) or key not in self._keys:
            return
        self._keys.discard(key)
        self.changes.append((key, False))

    def _key_of(self, payload: bytes) -> bytes:
        if len(payload) < frames.KEY_BYTES:
            raise RemoteProtocolError("it sent a frame that is too short for a key")
        return payload[: frames.KEY_BYTES]
