"""Bounds on what strangers can make the server do, and on what it writes about them."""

from __future__ import annotations

import logging
from collections import OrderedDict

from ghostwire.engine import SECOND, Clock
from ghostwire.frontdoor.admission import origin_of


class Buckets:
    """A token bucket for each address (each /64 of IPv6), or whatever else has a name, of a bounded number of them.

    ``burst`` at once, then one every ``interval`` seconds.
    """

    def __init__(self, clock: Clock, *, burst: int, interval: float, addresses: int = 4096) -> None:
        self._clock, self._burst, self._addresses = clock, burst, addresses
        self._interval = round(interval * SECOND)
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def wait(self, address: str) -> int:
        """Seconds until this address may try again, 0 for now."""
        over = self._full_at.get(origin_of(address), 0) - self._clock.now() - (self._burst - 1) * self._interval
        return max(0, -(-over // SECOND))

    def take(self, address: str) -> None:
        """Count one attempt."""
        origin, now = origin_of(address), self._clock.now()
        self._full_at[origin] = max(now, self._full_at.pop(origin, 0)) + self._interval
        if len(self._full_at) > self._addresses:
            self._full_at.popitem(last=False)


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
