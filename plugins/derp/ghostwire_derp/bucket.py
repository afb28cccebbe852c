"""A token bucket: how a relay limits its clients, and how they keep to the rate that it asks for."""

from __future__ import annotations

from ghostwire.engine import SECOND


class Bucket:
    """Tokens that fill up with time: ``rate`` a second, at most ``burst``; all is in the caller's unit."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = float(burst), now

    def take(self, amount: int, now: int) -> bool:
        """Take that much, if it is there."""
        if self._fill(now) < amount:
            return False
        self._tokens -= amount
        return True

    def spend(self, amount: int, now: int) -> int:
        """Take that much in any case; the nanoseconds until the debt is made up for, 0 where there is none."""
        self._tokens = self._fill(now) - amount
        return self.wait(0)

    def wait(self, amount: int) -> int:
        """Nanoseconds, as of the last call, until ``amount`` is there."""
        missing = amount - self._tokens
        return int(missing * SECOND / self._rate) + 1 if missing > 0 else 0

    def _fill(self, now: int) -> float:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate / SECOND)
        self._at = now
        return self._tokens
