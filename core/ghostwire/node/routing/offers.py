"""The map's routes, by prefix and by router."""

from __future__ import annotations

from dataclasses import dataclass

from ghostwire.model import MapChange, MapRoute
from ghostwire.wire.prefixes import Prefix, parse_prefix

MAX_OFFERS = 32_768
"""Routes of one map that are looked at."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A `MapRoute` whose prefix was read."""

    id: int
    prefix: Prefix
    router: int
    down: bool


class Offers:
    """Every route of the map that can be read, of a bounded number; the others are counted."""

    def __init__(self) -> None:
        self.all: dict[int, Offer] = {}
        self.by_prefix: dict[Prefix, dict[int, Offer]] = {}
        self.by_router: dict[int, dict[int, Offer]] = {}
        self.unusable = 0

    def follow(self, change: MapChange) -> list[tuple[Offer | None, Offer | None]]:
        """Follow the map; what each changed offer was before and is now."""
        gone = set(change.removed_routes)
        if change.full:
            gone |= self.all.keys() - {route.id for route in change.routes}
        pairs = [(self._take(id_), None) for id_ in gone if id_ in self.all]
        return [*pairs, *(pair for route in change.routes if (pair := self._put(route)) is not None)]

    def _put(self, route: MapRoute) -> tuple[Offer | None, Offer | None] | None:
        """Take a new word for this id; None where nothing changed."""
        held = self.all.get(route.id)
        if held is None and len(self.all) >= MAX_OFFERS:
            self.unusable += 1
            return None
        made = self._read(route)
        if made == held:
            return None
        if held is not None:
            self._take(route.id)
        if made is not None:
            self.all[made.id] = made
            self.by_prefix.setdefault(made.prefix, {})[made.id] = made
            self.by_router.setdefault(made.router, {})[made.id] = made
        return held, made

    def _read(self, route: MapRoute) -> Offer | None:
        try:
            return Offer(route.id, parse_prefix(route.prefix), route.router, route.down)
        except ValueError:
            self.unusable += 1
            return None

    def _take(self, id_: int) -> Offer:
        held = self.all.pop(id_)
        for index, key in ((self.by_prefix, held.prefix), (self.by_router, held.router)):
            index[key].pop(id_)  # type: ignore[index]
            if not index[key]:  # type: ignore[index]
                del index[key]  # type: ignore[arg-type]
        return held
