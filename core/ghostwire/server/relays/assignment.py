"""Which relay of its home region each node is to be at; an engine without I/O (see `ghostwire.engine`).

    a node comes to a region      the running relay with the least relative load takes it, or the one it is at already
    a relay is draining           takes nobody new; its nodes move, `PACE` of them a second
    a relay is gone               its nodes move at once
    a relay comes                 takes those that had none; nobody else moves for its sake

Relative load is (clients as the relay last said + nodes assigned since) / capacity. A node is told where the region has
several relays, and once per session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from ghostwire.engine import SECOND
from ghostwire.wire.messages import HomeRelay

PACE = 0.05
"""The part of a draining relay's nodes that moves with each step; at least one node."""
STEP = SECOND


class Seat(msgspec.Struct, frozen=True):
    """A relay that runs. ``connected`` False: it was lost a moment ago, and may come back."""

    id: int
    region: int
    capacity: int
    draining: bool = False
    connected: bool = True


class Tell(msgspec.Struct, frozen=True):
    """Send this to the node, if it has a session."""

    node: int
    message: HomeRelay


class Drained(msgspec.Struct, frozen=True):
    """No node's home is at this relay any more."""

    relay: int


@dataclass(slots=True)
class _Relay:
    seat: Seat
    clients: int = 0
    since: int = 0
    nodes: dict[int, None] = field(default_factory=dict)
    drained: bool = False
    quota: int = 0
    """Nodes to move with each step."""
    due: int | None = None
    """When the next step is; None where no node can be moved."""

    @property
    def load(self) -> tuple[float, int]:
        return (self.clients + self.since) / self.seat.capacity, self.seat.id


@dataclass(slots=True)
class _Place:
    region: int
    relay: int | None = None
    told: int | None = None


class Assignment:
    """Drain it with `take` after every call that may change it."""

    def __init__(self) -> None:
        self._relays: dict[int, _Relay] = {}
        self._places: dict[int, _Place] = {}
        self._homes: dict[int, dict[int, None]] = {}
        self._waiting: dict[int, dict[int, None]] = {}
        self._several: set[int] = set()
        self._events: list[Tell | Drained] = []

    # What is known

    def home_of(self, node: int) -> tuple[int, int | None] | None:
        """The node's home region, and the relay there that it is to be at; None where it has no home."""
        place = self._places.get(node)
        return (place.region, place.relay) if place else None

    def count(self, relay: int) -> int:
        """How many nodes are to be at this relay."""
        held = self._relays.get(relay)
        return len(held.nodes) if held else 0

    def takers(self, relay: int) -> int:
        """How many others of its region could take this relay's nodes."""
        held = self._relays.get(relay)
        return sum(other is not held for other in self._open(held.seat.region)) if held else 0

    # What happens

    def regions(self, sizes: Mapping[int, int]) -> None:
        """How many relays each region has in the map, whether they run or not."""
        several = {region for region, size in sizes.items() if size > 1}
        new, self._several = several - self._several, several
        for region in new:
            for node in self._homes.get(region, ()):
                self._tell(node, self._places[node])

    def place(self, now: int, seat: Seat) -> None:
        """A relay runs, or has changed."""
        held = self._relays.get(seat.id)
        if held is not None and held.seat.region != seat.region:
            self.withdraw(now, seat.id)
            held = None
        if held is None:
            held = self._relays[seat.id] = _Relay(seat)
        held.seat = seat
        self._pace(now, held)
        if not seat.draining:
            self._settle(now, seat.region)

    def withdraw(self, now: int, relay: int) -> None:
        """A relay is gone; harmless where it was not there."""
        held = self._relays.pop(relay, None)
        for node in list(held.nodes) if held else ():
            self._move(now, node)

    def load(self, relay: int, clients: int) -> None:
        """A relay said how many clients it has."""
        held = self._relays.get(relay)
        if held is not None:
            held.clients, held.since = clients, 0

    def arrive(self, node: int) -> None:
        """A node has a new session, and was told nothing in it."""
        place = self._places.get(node)
        if place is not None:
            place.told = None

    def repeat(self, node: int) -> None:
        """A node was too slow to be told."""
        place = self._places.get(node)
        if place is not None and place.told is not None:
            place.told = None
            self._tell(node, place)

    def report(self, now: int, node: int, region: int | None, at: int | None = None) -> None:
        """A node's home region is this; ``at`` is the relay at which it is already."""
        place = self._places.get(node)
        if place is not None and place.region != region:
            self.forget(now, node)
            place = None
        if region is None:
            return
        if place is None:
            place = self._places[node] = _Place(region)
            self._homes.setdefault(region, {})[node] = None
        if place.relay is None:
            self._seat(node, place, at)
        self._tell(node, place)

    def forget(self, now: int, node: int) -> None:
        """A node has no home any more; harmless where it had none."""
        place = self._places.get(node)
        if place is None:
            return
        self._leave(now, node, place)
        del self._places[node]
        _discard(self._homes, place.region, node)
        _discard(self._waiting, place.region, node)

    # As an engine

    def deadline(self) -> int | None:
        """When the next nodes of a draining relay are to move."""
        return min((relay.due for relay in self._relays.values() if relay.due is not None), default=None)

    def advance(self, now: int) -> None:
        """Move what is due."""
        for relay in list(self._relays.values()):
            if relay.due is not None and relay.due <= now:
                self._step(now, relay)

    def take(self) -> list[Tell | Drained]:
        """What is to be told, in order."""
        events, self._events = self._events, []
        return events

    # Within

    def _open(self, region: int) -> list[_Relay]:
        return [r for r in self._relays.values() if r.seat.region == region and not r.seat.draining]

    def _best(self, region: int) -> _Relay | None:
        running = self._open(region)
        connected = [relay for relay in running if relay.seat.connected]
        return min(connected or running, key=lambda relay: relay.load, default=None)

    def _seat(self, node: int, place: _Place, at: int | None = None) -> None:
        """Find a relay for a node that has none."""
        held = self._relays.get(at) if at is not None else None
        if held is None or held.seat.region != place.region or held.seat.draining:
            held = self._best(place.region)
            if held is None:
                self._waiting.setdefault(place.region, {})[node] = None
                return
            held.since += 1
        _discard(self._waiting, place.region, node)
        held.nodes[node] = None
        place.relay = held.seat.id

    def _move(self, now: int, node: int) -> None:
        place = self._places[node]
        self._leave(now, node, place)
        self._seat(node, place)
        self._tell(node, place)

    def _leave(self, now: int, node: int, place: _Place) -> None:
        held = self._relays.get(place.relay) if place.relay is not None else None
        place.relay = None
        if held is not None:
            del held.nodes[node]
            self._pace(now, held)

    def _settle(self, now: int, region: int) -> None:
        """A relay takes nodes: those that have none, and those of relays that waited to be drained."""
        for node in list(self._waiting.get(region, ())):
            self._seat(node, self._places[node])
            self._tell(node, self._places[node])
        for relay in self._relays.values():
            if relay.seat.region == region:
                self._pace(now, relay)

    def _pace(self, now: int, relay: _Relay) -> None:
        """Begin, go on with or end a relay's draining."""
        if not relay.seat.draining:
            relay.drained, relay.due = False, None
        elif not relay.nodes:
            if not relay.drained:
                self._events.append(Drained(relay.seat.id))
            relay.drained, relay.due = True, None
        elif relay.due is None and self._best(relay.seat.region) is not None:
            relay.quota = max(1, round(len(relay.nodes) * PACE))
            relay.due = now

    def _step(self, now: int, relay: _Relay) -> None:
        if self._best(relay.seat.region) is None:
            relay.due = None
            return
        relay.due = now + STEP
        for node in list(relay.nodes)[: relay.quota]:
            self._move(now, node)

    def _tell(self, node: int, place: _Place) -> None:
        if place.relay is None or place.relay == place.told:
            return
        if place.region in self._several or place.told is not None:
            place.told = place.relay
            self._events.append(Tell(node, HomeRelay(region=place.region, relay=place.relay)))


def _discard(held: dict[int, dict[int, None]], key: int, member: int) -> None:
    members = held.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del held[key]
