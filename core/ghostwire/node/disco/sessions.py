"""What is kept of each peer that speaks disco: its box, its allowance, where it was asked; of a bounded number."""

from __future__ import annotations

from collections import OrderedDict

from ghostwire import Path
from ghostwire.keys import DiscoKey, PrivateKey
from ghostwire.node.disco.limits import Bucket, Standing
from ghostwire.wire.box import Box

MAX_SESSIONS = 1024
"""Sessions with peers that this node asked, or that proved to be who they say."""
MAX_CLAIMED = 64
"""Sessions whose peers have proved nothing: anybody can name a peer's key."""
MAX_ASKED = 64
"""Paths of one peer of which is known that they were pinged, as many as it has candidates; those that answered stay."""
ASKED_RATE, ASKED_BURST = 200, 400
"""Datagrams a second, and at once, from one path that was pinged: to decipher as many takes a thousandth of a core."""
PEER_RATE, PEER_BURST = 30, 128
"""The same over relays, and as many from sources that were not pinged: a peer may ping over all of its and our
endpoints together."""
PING_RATE, PING_BURST = 16, 256
"""Pings a second, and at once, to where a peer says that it is, as long as it did not answer from there."""


class _Asked:
    """A path that was pinged."""

    __slots__ = ("allowance", "answered")

    def __init__(self) -> None:
        self.allowance = Bucket(ASKED_RATE, ASKED_BURST)
        self.answered = False


class Session:
    """One peer's. ``calls`` bounds its call-me-maybes, ``guesses`` the pings to where it may not be at all."""

    __slots__ = ("_asked", "_relayed", "_unasked", "box", "calls", "guesses")

    def __init__(self, box: Box) -> None:
        self.box = box
        self.calls = Bucket(rate=1, burst=1)
        self.guesses = Bucket(PING_RATE, PING_BURST)
        self._relayed, self._unasked = Bucket(PEER_RATE, PEER_BURST), Bucket(PEER_RATE, PEER_BURST)
        self._asked: OrderedDict[Path, _Asked] = OrderedDict()

    def standing(self, source: Path) -> Standing:
        """What a source is to this node."""
        if source.relayed:
            return Standing.RELAYED
        return Standing.ASKED if source in self._asked else Standing.UNASKED

    def admits(self, source: Path, now: int) -> bool:
        """Whether the peer may be heard once more from there."""
        if source.relayed:
            return self._relayed.take(now)
        asked = self._asked.get(source)
        return (asked.allowance if asked is not None else self._unasked).take(now)

    def ask(self, path: Path) -> None:
        """It is pinged over this path."""
        asked = self._asked.pop(path, None)
        if len(self._asked) >= MAX_ASKED:
            silent = (each for each, asked in self._asked.items() if not asked.answered)
            del self._asked[next(silent, next(iter(self._asked)))]
        self._asked[path] = asked if asked is not None else _Asked()

    def heard(self, source: Path) -> None:
        """Something authentic came from there."""
        asked = self._asked.get(source)
        if asked is not None:
            asked.answered = True

    def is_at(self, path: Path) -> bool:
        """Whether something authentic came over this path since it was pinged."""
        asked = self._asked.get(path)
        return asked is not None and asked.answered


class Sessions:
    """Sessions by disco key; of those asked or proven, and of the others, the one not used for longest goes first."""

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key
        self._held: OrderedDict[DiscoKey, Session] = OrderedDict()
        self._claimed: OrderedDict[DiscoKey, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held) + len(self._claimed)

    def get(self, key: DiscoKey) -> Session | None:
        """The session with the holder of this key, where there is one."""
        for sessions in (self._held, self._claimed):
            session = sessions.get(key)
            if session is not None:
                sessions.move_to_end(key)
                return session
        return None

    def claim(self, key: DiscoKey) -> Session:
        """The session with whoever says to be the holder of this key, made (tens of microseconds) where there is none.

        RemoteProtocolError where the key can be nobody's.
        """
        session = self.get(key)
        if session is None:
            session = self._claimed[key] = Session(Box(self._private_key, key.raw))
            _bound(self._claimed, MAX_CLAIMED)
        return session

    def hold(self, key: DiscoKey) -> Session:
        """The same with the holder, who is asked, or has proved to be it."""
        session = self.claim(key)
        if self._claimed.pop(key, None) is not None:
            self._held[key] = session
            _bound(self._held, MAX_SESSIONS)
        return session


def _bound(sessions: OrderedDict[DiscoKey, Session], most: int) -> None:
    if len(sessions) > most:
        sessions.popitem(last=False)
