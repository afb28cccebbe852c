"""How often: token buckets by address, or by whatever else has a name."""

from __future__ import annotations

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
