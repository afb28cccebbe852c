"""A node's end of one connection to a relay, without I/O.

    state       what may come                        next       what goes out
    ---------   ----------------------------------   --------   ---------------------
    upgrading   101 Upgrade: DERP                    greeting   GET /derp (at `begin`)
    greeting    ServerKey, the one of the map        login      ClientInfo
    login       ServerInfo, sealed with that key     open       NotePreferred
    login,      RecvPacket, PeerGone, KeepAlive,     the same   Pong for a Ping
    open        Ping, Pong, Health, Restarting;
                unknown frames are skipped

One mutation, then drain: `receive`'s events (whose datagrams live in the engine's buffer, so until the next call of
`buffer`), then `outgoing`, then ask for the `deadline`. After an error, or once `failure` is set, it is of no more use.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from ghostwire import Buffer
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import AuthenticationFailed, GhostwireError, RemoteProtocolError, Unavailable
from ghostwire.hints import one_line
from ghostwire.keys import RelayKey, equal
from ghostwire_derp import frames
from ghostwire_derp.bucket import Bucket
from ghostwire_derp.client.events import Event, Health, Opened, PeerGone, Received, Restarting
from ghostwire_derp.client.reader import MAX_PACKET, Frame, FrameReader
from ghostwire_derp.client.upgrade import Upgrade

if TYPE_CHECKING:
    from ghostwire import Identity
    from ghostwire.model import MapRelay

SILENCE = 120 * SECOND
"""A relay that lets nothing be heard for so long is dead: it keeps connections alive every 60 s."""
ASK_AFTER = 10 * SECOND
"""How long may be sent with nothing heard until the relay is pinged."""
PATIENCE = 10 * SECOND
"""How long a ping may stay without anything heard: everything that was sent before it has to arrive first."""
LITTLE_PATIENCE = 3 * SECOND
"""The same where the connection is suspected to be dead."""

_PREFIX = frames.HEADER_BYTES + frames.KEY_BYTES
_PING = frames.frame(frames.PING, bytes(8))
_PREFERRED = {each: frames.frame(frames.NOTE_PREFERRED, bytes([each])) for each in (False, True)}
_restarting = struct.Struct(">II")


class _ServerInfo(msgspec.Struct, rename="pascal"):
    """The JSON of ServerInfo, as far as it matters here."""

    token_bucket_bytes_per_second: int = 0
    token_bucket_bytes_burst: int = 0


class DerpClient:
    """One connection to ``relay`` in the name of ``identity``; times in nanoseconds."""

    def __init__(self, relay: MapRelay, identity: Identity) -> None:
        self._relay, self._identity = relay, identity
        self._upgrade: Upgrade | None = Upgrade(f"relay {relay.name}", relay.host)
        self._key: RelayKey | None = None
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._pong = b""
        self._bucket: Bucket | None = None
        self._preferred = False
        self._spoke: int | None = None
        self._give_up: int | None = None
        self.opened = False
        """Whether the login is done."""
        self.heard = 0
        """When the relay was last heard, or the connection began."""
        self.failure: GhostwireError | None = None
        """Why the connection must be given up, set by `advance`."""

    def begin(self, now: int) -> None:
        """The stream is there."""
        assert self._upgrade is not None
        self.heard = now
        self._out.append(self._upgrade.request())

    def outgoing(self) -> bytes:
        """What to write now, besides `packets`."""
        if self._pong:
            self._out.append(frames.frame(frames.PONG, self._pong))
            self._pong = b""
        out = b"".join(self._out)
        self._out.clear()
        return out

    # Receiving

    def buffer(self) -> memoryview:
        """Where to put what arrives next, never empty; the datagrams of earlier events are overwritten."""
        return self._reader.buffer()

    def receive(self, size: int, now: int) -> list[Event]:
        """So many bytes were put into `buffer`.

        RemoteProtocolError, AuthenticationFailed, Refused, Unavailable: close the connection, for this reason.
        """
        events: list[Event] = []
        self._reader.filled(size)
        if self._upgrade is not None and not self._answered(self._upgrade):
            return events
        try:
            while (frame := self._reader.next()) is not None:
                self.heard, self._spoke, self._give_up = now, None, None
                self._take(frame, events, now)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"relay {self._relay.name} broke the protocol: {error}") from None
        return events

    def _answered(self, upgrade: Upgrade) -> bool:
        rest = upgrade.answered(self._reader.take_all())
        if rest is None:
            return False
        self._upgrade = None
        self._reader.put_back(rest)
        return True

    def _take(self, frame: Received | Frame, events: list[Event], now: int) -> None:
        if self._key is None and (isinstance(frame, Received) or frame[0] != frames.SERVER_KEY):
            raise RemoteProtocolError("did not begin with its key")
        if isinstance(frame, Received):
            events.append(frame)
        elif (take := self._known.get(frame[0])) is not None:
            take(self, frame[1], events, now)

    # Frames, by kind

    def _server_key(self, payload: bytes, events: list[Event], now: int) -> None:
        if self._key is not None:
            return
        magic, raw = payload[: len(frames.MAGIC)], payload[len(frames.MAGIC) :][: frames.KEY_BYTES]
        if magic != frames.MAGIC or len(raw) != frames.KEY_BYTES:
            raise RemoteProtocolError("did not begin with its key")
        expected = self._relay.key
        if expected is not None and not equal(raw, expected.raw):
            raise AuthenticationFailed(
                f"relay {self._relay.name} ({self._relay.host}) does not hold the key that the map gives: someone is "
                "in between, or its key changed and the server was not told",
                "relay-key",
            )
        self._key = RelayKey(raw)
        self._out.append(frames.frame(frames.CLIENT_INFO, self._identity.derp_login(self._key)))

    def _server_info(self, payload: bytes, events: list[Event], now: int) -> None:
        if self.opened or self._key is None:
            return
        try:
            info = msgspec.json.decode(self._identity.derp_open(self._key, payload), type=_ServerInfo)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise RemoteProtocolError("sent a ServerInfo that makes no sense") from None
        if info.token_bucket_bytes_per_second > 0:
            burst = max(info.token_bucket_bytes_burst, MAX_PACKET + frames.HEADER_BYTES)
            self._bucket = Bucket(info.token_bucket_bytes_per_second, burst, now)
        self.opened = True
        if self._preferred:
            self._out.append(_PREFERRED[True])
        events.append(Opened())

    def _peer_gone(self, payload: bytes, events: list[Event], now: int) -> None:
        if len(payload) >= frames.KEY_BYTES:
            events.append(PeerGone(payload[: frames.KEY_BYTES]))

    def _ping(self, payload: bytes, events: list[Event], now: int) -> None:
        self._pong = payload[:8] if len(payload) >= 8 else b""

    def _health(self, payload: bytes, events: list[Event], now: int) -> None:
        events.append(Health(one_line(payload.decode("utf-8", "replace"))))

    def _restart(self, payload: bytes, events: list[Event], now: int) -> None:
        if len(payload) >= _restarting.size:
            after, lasting = _restarting.unpack_from(payload)
            events.append(Restarting(after * MILLISECOND, lasting * MILLISECOND))

    _known: ClassVar[dict[int, Callable[[DerpClient, bytes, list[Event], int], None]]] = {
        frames.SERVER_KEY: _server_key,
        frames.SERVER_INFO: _server_info,
        frames.PEER_GONE: _peer_gone,
        frames.PING: _ping,
        frames.HEALTH: _health,
        frames.RESTARTING: _restart,
    }

    # Sending

    def affordable(self, datagrams: Sequence[Buffer], now: int) -> Sequence[Buffer]:
        """Those that the relay's rate lets go now."""
        bucket = self._bucket
        if bucket is None:
            return datagrams
        return [datagram for datagram in datagrams if bucket.take(_PREFIX + len(datagram), now)]

    def packets(self, peer: bytes, datagrams: Sequence[Buffer], now: int) -> bytes:
        """The frames that carry these datagrams (`frames.MAX_DATA` bytes at most, each) to a peer: write them now."""
        if self._spoke is None:
            self._spoke = now
        pack, kind, keys = frames.packet_header.pack, frames.SEND_PACKET, frames.KEY_BYTES
        parts: list[Buffer] = []
        for datagram in datagrams:
            parts += (pack(kind, keys + len(datagram), peer), datagram)
        return b"".join(parts)

    def prefer(self, preferred: bool) -> None:
        """Whether this relay's region is the node's home."""
        if preferred != self._preferred:
            self._preferred = preferred
            if self.opened:
                self._out.append(_PREFERRED[preferred])

    # Time

    def ask(self, now: int, patience: int = LITTLE_PATIENCE) -> None:
        """Find out whether the relay is still there: something must be heard within so many nanoseconds."""
        if self.opened and (self._give_up is None or now + patience < self._give_up):
            self._give_up = now + patience
            self._out.append(_PING)

    def deadline(self) -> int | None:
        """When `advance` must be called next."""
        if self.failure is not None:
            return None
        times = [self.heard + SILENCE]
        if self._give_up is not None:
            times.append(self._give_up)
        elif self._spoke is not None:
            times.append(self._spoke + ASK_AFTER)
        return min(times)

    def advance(self, now: int) -> None:
        """Ping a relay that has gone silent, give up one that stays so."""
        if now >= self.heard + SILENCE or (self._give_up is not None and now >= self._give_up):
            silent = (now - self.heard) // SECOND
            self.failure = Unavailable(f"relay {self._relay.name}: nothing heard for {silent} s")
        elif self._give_up is None and self._spoke is not None and now >= self._spoke + ASK_AFTER:
            self.ask(now, PATIENCE)
