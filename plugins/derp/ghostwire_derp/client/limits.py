"""The rate that a relay asks its clients to keep."""

from __future__ import annotations

from ghostwire.engine import SECOND


class TokenBucket:
    """``rate`` bytes a second for good, ``burst`` bytes at once; full at the start."""

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self._rate, self._burst, self._tokens, self._filled = rate, burst, float(burst), now

    def take(self, size: int, now: int) -> bool:
        """Whether ``size`` bytes may go now; they are taken if so."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate / SECOND)
        self._filled = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True
