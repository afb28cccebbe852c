"""How many at once: counts per remote address, so that one address can't take the places of all others."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_network


class Admission:
    """At most ``total`` in all and ``per_address`` from one address (one /64 of IPv6)."""

    def __init__(self, total: int, per_address: int) -> None:
        self.total, self.per_address = total, per_address
        self.count = 0
        self._held: dict[str, int] = {}

    def enter(self, address: str, make_room: Callable[[], object] | None = None) -> bool:
        """Take a place, to be given back with `leave`; False where there is none.

        Where all are taken and this address has not too many, ``make_room`` may `leave` one in somebody's stead: so
        strangers who have come in numbers, and say nothing, keep nobody out.
        """
        origin = origin_of(address)
        if self._held.get(origin, 0) >= self.per_address:
            return False
        if self.count >= self.total and make_room is not None:
            make_room()
        if self.count >= self.total:
            return False
        self._held[origin] = self._held.get(origin, 0) + 1
        self.count += 1
        return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        origin = origin_of(address)
        self.count -= 1
        if (held := self._held[origin] - 1) > 0:
            self._held[origin] = held
        else:
            del self._held[origin]


def origin_of(address: str) -> str:
    """What counts as one address: an IPv6 customer has a whole /64 to send from."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or ip_network((int(parsed) >> 64 << 64, 64)))
