"""Which of a region's relays to be at.

The assigned one is best, the others follow in an order that every node shuffles for itself, and last come those that
are draining or about to restart. Who is at one of a better standing does not leave it for another of the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2s
from typing import Final

from ghostwire.keys import NodeKey
from ghostwire.model import MapRelay

ASSIGNED: Final = 0
FIT: Final = 1
LEAVING: Final = 2
UNKNOWN: Final = 3
"""Standing of a relay, best first; a connection to one that the map no longer has is `UNKNOWN`."""

_PLACE: Final = ("id", "host", "port", "ipv4", "ipv6", "tls", "certificate", "key")


class Relays:
    """The relays of one region, as seen by one node."""

    def __init__(self, node_key: NodeKey) -> None:
        self._node_key = node_key
        self._relays: list[MapRelay] = []
        self._assigned: int | None = None
        self._restarting: dict[int, int] = {}

    def update(self, relays: Sequence[MapRelay], assigned: int | None) -> bool:
        """These are the relays now, this one's id is assigned (None: any); whether that is news."""
        shuffled = sorted(relays, key=self._lot)
        if (shuffled, assigned) == (self._relays, self._assigned):
            return False
        self._relays, self._assigned = shuffled, assigned
        self._restarting = {id_: end for id_, end in self._restarting.items() if any(r.id == id_ for r in relays)}
        return True

    def restarting(self, relay: MapRelay, until: int) -> None:
        """Avoid this relay for a while."""
        self._restarting[relay.id] = until

    def candidates(self, current: MapRelay | None, now: int) -> list[MapRelay]:
        """Whom to connect to, best first: everybody, or those better than the relay connected to now."""
        ordered = sorted(self._relays, key=lambda relay: self._standing(relay, now))
        if current is None:
            return ordered
        known = next((relay for relay in self._relays if _place(relay) == _place(current)), None)
        least = UNKNOWN if known is None else self._standing(known, now)
        return [relay for relay in ordered if self._standing(relay, now) < least]

    def _standing(self, relay: MapRelay, now: int) -> int:
        if relay.draining or now < self._restarting.get(relay.id, now):
            return LEAVING
        return ASSIGNED if relay.id == self._assigned else FIT

    def _lot(self, relay: MapRelay) -> bytes:
        return blake2s(self._node_key.raw + relay.id.to_bytes(8), digest_size=8).digest()


def addresses(relay: MapRelay) -> list[str]:
    """Where to connect to, in order: IPv6 before IPv4, and the name where a family is left to DNS."""
    literals = [text for text in (relay.ipv6, relay.ipv4) if text not in ("", "none")]
    named = [relay.host] if "" in (relay.ipv6, relay.ipv4) else []
    return list(dict.fromkeys(literals + named))


def _place(relay: MapRelay) -> tuple[object, ...]:
    """What makes a connection one to this relay."""
    return tuple(getattr(relay, name) for name in _PLACE)
