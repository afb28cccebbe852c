"""Accepted connections: where they come from, and which of them the mesh has never answered.

Anybody may connect; but the mesh answers only what proves itself inside. So a connection on which it has sent nothing
is a stranger's: those are few, short-lived, and the oldest gives way to a new one.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

from ghostwire_transport_quic.link import Link

ACCEPTED = 1_024
"""The most accepted connections."""
PER_NEIGHBOURHOOD = 64
STRANGERS, CROWD = 64, 16
"""Strangers at most, and from how many on new ones must prove their address."""


def neighbourhood(host: str) -> str:
    """Whose addresses count as one: an IPv4 address, or the /64 that one customer of IPv6 has at least."""
    address = ipaddress.ip_address(host)
    return host if address.version == 4 else str(ipaddress.IPv6Address(int(address) >> 64 << 64))


class Guests:
    """All of them, the strangers among them in order of arrival."""

    def __init__(self) -> None:
        self._homes: dict[Link, str] = {}
        self._near = Counter[str]()
        self._strangers: dict[Link, None] = {}

    @property
    def crowded(self) -> bool:
        """Whether so many strangers are here that new ones must prove their address."""
        return len(self._strangers) >= CROWD

    def fit(self, home: str) -> bool:
        """Whether one more of this neighbourhood has room, if need be instead of `yielding`."""
        return self._near[home] < PER_NEIGHBOURHOOD and (len(self._homes) < ACCEPTED or bool(self._strangers))

    def yielding(self) -> Link | None:
        """The stranger that must go before one more comes."""
        if len(self._strangers) < STRANGERS and len(self._homes) < ACCEPTED:
            return None
        return next(iter(self._strangers), None)

    def add(self, link: Link, home: str) -> None:
        """A stranger came."""
        self._homes[link], self._strangers[link] = home, None
        self._near[home] += 1

    def answered(self, link: Link) -> str | None:
        """The mesh knows this one; its neighbourhood where that is news."""
        if link not in self._strangers:
            return None
        del self._strangers[link]
        return self._homes[link]

    def remove(self, link: Link) -> None:
        """It is over."""
        self._strangers.pop(link, None)
        home = self._homes.pop(link, None)
        if home is None:
            return
        self._near[home] -= 1
        if not self._near[home]:
            del self._near[home]
