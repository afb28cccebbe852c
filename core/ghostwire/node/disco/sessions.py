"""What is kept of each peer that speaks disco: its box, its allowance, its sources; of a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict

from ghostwire import Path
from ghostwire.keys import DiscoKey, PrivateKey
from ghostwire.node.disco.limits import Allowance, Bucket
from ghostwire.wire.box import Box

MAX_SESSIONS = 1024
MAX_SOURCES = 8
"""Sources of one peer that count as known: its paths of late."""
PEER_RATE, PEER_BURST = 30, 128
"""Datagrams a second, and at once, of one peer: it may ping and answer over all of its and our endpoints together."""


class Session:
    """One peer's. ``calls`` bounds its call-me-maybes."""

    __slots__ = ("_allowance", "_sources", "box", "calls")

    def __init__(self, box: Box) -> None:
        self.box = box
        self.calls = Bucket(rate=1, burst=1)
        self._allowance = Allowance(PEER_RATE, PEER_BURST)
        self._sources: OrderedDict[Path, None] = OrderedDict()

    def knows(self, source: Path) -> bool:
        """Whether something authentic came from there of late."""
        return source in self._sources

    def admits(self, known: bool, now: int) -> bool:
        """Whether the peer may be heard once more."""
        return self._allowance.take(known, now)

    def heard(self, source: Path) -> None:
        """Something authentic came from there."""
        self._sources[source] = None
        self._sources.move_to_end(source)
        if len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)


class Sessions:
    """Sessions by disco key; the one that was not used for longest goes first."""

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key
        self._held: OrderedDict[DiscoKey, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: DiscoKey) -> Session | None:
        """The session with the holder of this key, where there is one."""
        session = self._held.get(key)
        if session is not None:
            self._held.move_to_end(key)
        return session

    def open(self, key: DiscoKey) -> Session:
        """The session with the holder of this key, made (tens of microseconds) where there is none.

        RemoteProtocolError where the key can be nobody's.
        """
        session = self.get(key)
        if session is None:
            session = self._held[key] = Session(Box(self._private_key, key.raw))
            if len(self._held) > MAX_SESSIONS:
                self._held.popitem(last=False)
        return session
