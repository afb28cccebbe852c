"""Tells nodes at which relay of their home region to be: drives `Assignment` with what the server sees.

Each server assigns the nodes that are connected to it; of others' nodes it knows where they were told to be.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from ghostwire.driver import Driver
from ghostwire.engine import Clock
from ghostwire.model import Relay
from ghostwire.server.relays import records
from ghostwire.server.relays.assignment import Assignment, Seat, Tell
from ghostwire.wire.messages import HomeRelay


class Homes:
    """``tell(node, message)`` sends to a node's session, if it has one."""

    def __init__(self, clock: Clock, tell: Callable[[int, HomeRelay], None], log: logging.Logger) -> None:
        self._clock, self._tell, self._log = clock, tell, log
        self._engine = Assignment()
        self._driver: Driver | None = None
        self._regions: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._away: dict[int, tuple[int, int | None]] = {}
        self._away_at: Counter[int] = Counter()

    def start(self, relays: Iterable[Relay]) -> None:
        """Begin; with these in the map."""
        self._driver = Driver(self._engine, self._clock, self._drain)
        self.mapped(relays)

    def close(self) -> None:
        """Assign nobody any more."""
        if self._driver is not None:
            self._driver.close()

    def mapped(self, relays: Iterable[Relay]) -> None:
        """These relays are in the map."""
        mapped = [relay for relay in relays if records.usable(relay)]
        self._regions = {relay.region: relay.region_name for relay in mapped}
        self._names = {relay.id: relay.name for relay in mapped}
        self._engine.regions(Counter(relay.region for relay in mapped))
        self._settle()

    def runs(self, relay: Relay, *, connected: bool) -> None:
        """This relay can take nodes; ``connected`` False: if it comes back."""
        self._engine.place(self._clock.now(), Seat(relay.id, relay.region, relay.capacity, relay.draining, connected))
        self._settle()

    def gone(self, relay: int) -> None:
        """This one can't; its nodes need another."""
        self._engine.withdraw(self._clock.now(), relay)
        self._settle()

    def load(self, relay: int, clients: int) -> None:
        """So many clients are connected to it."""
        self._engine.load(relay, clients)

    def arrived(self, node: int) -> None:
        """The node has a new session."""
        self._engine.arrive(node)

    def reported(self, node: int, region: int | None, at: int | None) -> int | None:
        """The node's home is this region, and it is at that relay already; the region, None where it is not known."""
        known = region if region in self._regions else None
        self._come(node)
        self._engine.report(self._clock.now(), node, known, at)
        self._settle()
        return known

    def elsewhere(self, node: int, region: int | None, relay: int | None) -> int | None:
        """Another server's node has its home in this region, as that server knows it, at that relay; the region."""
        self._come(node)
        self._engine.forget(self._clock.now(), node)
        if region is not None:
            self._away[node] = region, relay
            self._away_at[relay or 0] += 1
        self._settle()
        return region

    def missed(self, node: int) -> None:
        """The node was too slow to be told, and has caught up."""
        self._engine.repeat(node)
        self._settle()

    def forget(self, node: int) -> None:
        """The node is no more."""
        self._come(node)
        self._engine.forget(self._clock.now(), node)
        self._settle()

    def of(self, node: int) -> tuple[int, int | None] | None:
        """A node's home region, and the relay there that it is to be at; None where it has none."""
        return self._away.get(node) or self._engine.home_of(node)

    def region_name(self, region: int) -> str:
        """What people call the region; empty where no relay is in it."""
        return self._regions.get(region, "")

    def count(self, relay: int) -> int:
        """How many nodes are to be at that relay."""
        return self._engine.count(relay) + self._away_at[relay]

    def takers(self, relay: int) -> int:
        """How many others of its region could take that relay's nodes."""
        return self._engine.takers(relay)

    def _come(self, node: int) -> None:
        """It is no other server's node any more."""
        away = self._away.pop(node, None)
        if away is not None:
            self._away_at[away[1] or 0] -= 1

    def _settle(self) -> None:
        if self._driver is not None:
            self._driver.settle()

    def _drain(self) -> None:
        for event in self._engine.take():
            if isinstance(event, Tell):
                self._tell(event.node, event.message)
            elif not self.count(event.relay):
                name = self._names.get(event.relay, event.relay)
                self._log.info("relay %s is drained: no node's home is there any more", name)
