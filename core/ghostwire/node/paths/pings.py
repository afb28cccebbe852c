"""The pings that are under way: transaction id -> what it asked, for `PING_TIMEOUT`."""

from __future__ import annotations

from typing import Final, NamedTuple

from ghostwire.engine import Entropy
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.timing import PING_TIMEOUT

TRANSACTION_BYTES: Final = 12
MOST: Final = 65_536
"""Pings under way at a time; the oldest make room."""


class Asked(NamedTuple):
    """A ping: whom it went to, over which candidate (None: the relay), when, and whether it was padded."""

    peer: int
    candidate: Candidate | None
    at: int
    padded: bool


class Pings:
    """In order of sending, so that the old ones are dropped from the front when others are added."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[bytes, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, peer: int, candidate: Candidate | None, now: int, entropy: Entropy, *, padded: bool) -> bytes:
        """The transaction id of a new ping."""
        self._drop_old(now)
        transaction = entropy(TRANSACTION_BYTES)
        self._asked[transaction] = Asked(peer, candidate, now, padded)
        return transaction

    def take(self, transaction: bytes, peer: int, now: int) -> Asked | None:
        """The ping that this peer's pong answers, once; None where there is none, or it is too late."""
        asked = self._asked.get(transaction)
        if asked is None or asked.peer != peer:
            return None
        del self._asked[transaction]
        return asked if now - asked.at < PING_TIMEOUT else None

    def _drop_old(self, now: int) -> None:
        while self._asked:
            oldest = next(iter(self._asked))
            if now - self._asked[oldest].at < PING_TIMEOUT and len(self._asked) < MOST:
                return
            del self._asked[oldest]
