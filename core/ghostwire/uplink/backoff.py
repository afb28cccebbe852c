"""Exponential backoff with full jitter: who lost a server together does not come back together."""

from __future__ import annotations

from ghostwire.engine import Entropy

FIRST = 1.0
MOST = 60.0
_RANGE = 1 << 32


class Backoff:
    """Each `next` draws evenly from 0 to a bound that doubles from ``first`` to ``most`` seconds."""

    def __init__(self, entropy: Entropy, first: float = FIRST, most: float = MOST) -> None:
        self._entropy, self._first, self._most = entropy, first, most
        self._bound = first

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        bound, self._bound = self._bound, min(self._most, self._bound * 2)
        return self.within(bound)

    def within(self, bound: float) -> float:
        """Evenly from 0 to ``bound`` seconds."""
        return bound * int.from_bytes(self._entropy(4)) / _RANGE

    def reset(self) -> None:
        """Begin again at ``first``: the last attempt succeeded."""
        self._bound = self._first
