"""Bounds on what strangers can make the server do, and on what it writes about them."""

from __future__ import annotations

import logging

from ghostwire.engine import SECOND, Clock
from ghostwire.frontdoor.buckets import Buckets

__all__ = ["Buckets", "Complaints"]


class Complaints:
    """Counts what strangers do wrong and logs at most one line of a kind every ``quiet`` seconds."""

    def __init__(self, log: logging.Logger, clock: Clock, quiet: float = 10.0) -> None:
        self._log, self._clock, self._quiet = log, clock, round(quiet * SECOND)
        self._counts: dict[str, int] = {}
        self._said: dict[str, tuple[int, int]] = {}

    @property
    def total(self) -> int:
        """All complaints so far."""
        return sum(self._counts.values())

    def add(self, kind: str, detail: str) -> None:
        """One more of this kind (a fixed word)."""
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        last, at = self._said.get(kind, (0, -self._quiet))
        now = self._clock.now()
        if now - at >= self._quiet:
            self._said[kind] = (count, now)
            more = f" (and {count - last - 1} more since)" if count - last > 1 else ""
            self._log.warning("%s: %s%s", kind, detail, more)
