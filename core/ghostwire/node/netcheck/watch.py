"""Watches whether this node is let in at its home region, so that another is looked for where it is not.

the home's connection is gone for `GRACE`          a hurried look: another relay there may have taken over before
it is away still                                   looks after 15 s, 30 s, ... up to `INTERVAL` apart
it answers, but lets nobody in for `LOST`          the region is no home for `SHUN`
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ghostwire.engine import SECOND, Clock
from ghostwire.node.relays import Relays

INTERVAL = 300 * SECOND
"""Time between two looks at the network while all is well."""
GLIMPSE = 15 * SECOND
"""Time between two glimpses at whether the home is connected."""
GRACE = 2.0
"""Seconds for a transport to come back."""
LOST = 60 * SECOND
SHUN = 600 * SECOND


class HomeWatch:
    """``hurry`` is called when the home is lost, unless it comes back within `GRACE`."""

    def __init__(self, relays: Relays, clock: Clock, hurry: Callable[[], object]) -> None:
        self._relays, self._clock, self._hurry = relays, clock, hurry
        self._since: int | None = None
        self._patience = GLIMPSE
        self._shunned: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Hear of losses from now on."""
        self._relays.lost = self._lost

    def close(self) -> None:
        """Call nobody any more."""
        self._relays.lost = lambda: None
        if self._timer is not None:
            self._timer.cancel()

    def due(self, looked: int) -> bool:
        """Whether to look at the network, which was last done then."""
        now, relays = self._clock.now(), self._relays
        if relays.home is None or relays.connected():
            self._since, self._patience = None, GLIMPSE
            return bool(relays.all) and now - looked >= INTERVAL
        self._since = self._since or now
        due = now - looked >= self._patience
        self._patience = min(INTERVAL, 2 * self._patience) if due else self._patience
        return due

    def closed(self) -> set[int]:
        """The regions that take nobody new, or have not let this node in."""
        now, home = self._clock.now(), self._relays.home
        if home is not None and self._since is not None and now - self._since >= LOST:
            self._shunned[home] = now + SHUN
            self._since = None
        self._shunned = {region: end for region, end in self._shunned.items() if end > now}
        closing = {region for region, each in self._relays.regions.items() if all(relay.draining for relay in each)}
        return closing | self._shunned.keys()

    def _lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(GRACE, self._still_lost)

    def _still_lost(self) -> None:
        if self._relays.home is not None and not self._relays.connected():
            self._hurry()
