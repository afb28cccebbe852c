"""Finds which of many prefixes hold an address, or overlap a route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from ghostwire.capabilities.policy import Address, Prefix

_NOT_INTERNET = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16 224.0.0.0/3"


def _internet() -> Sequence[Prefix]:
    left = [IPv4Network("0.0.0.0/0")]
    for text in _NOT_INTERNET.split():
        gone = IPv4Network(text)
        left = [part for each in left for part in (each.address_exclude(gone) if gone.subnet_of(each) else (each,))]
    return (*collapse_addresses(left), IPv6Network("2000::/3"))


INTERNET = _internet()
"""What an exit node leads to: no private, link-local, loopback or multicast addresses, and none of the mesh."""


class PrefixIndex:
    """Answers in the time of a few look-ups, however many prefixes there are; ``of_route`` remembers its answers."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._prefixes = tuple(dict.fromkeys(prefixes))
        self._by_length: dict[tuple[int, int], dict[int, str]] = defaultdict(dict)
        for prefix in self._prefixes:
            shift = prefix.max_prefixlen - prefix.prefixlen
            self._by_length[prefix.version, shift][int(prefix.network_address) >> shift] = str(prefix)
        self._routes: dict[Prefix, Sequence[str]] = {}

    def of_address(self, address: Address) -> list[str]:
        """The prefixes that hold this address."""
        number, found = int(address), []
        for (version, shift), held in self._by_length.items():
            if version == address.version:
                text = held.get(number >> shift)
                if text is not None:
                    found.append(text)
        return found

    def of_route(self, route: Prefix) -> Sequence[str]:
        """The prefixes that overlap this route; for a default route those of the internet, and default ones."""
        found = self._routes.get(route)
        if found is None:
            if len(self._routes) > 10_000:
                self._routes.clear()
            found = self._routes[route] = tuple(str(each) for each in self._prefixes if _led(each, route))
        return found


def _led(prefix: Prefix, route: Prefix) -> bool:
    if prefix.version != route.version:
        return False
    if route.prefixlen == 0:
        return prefix.prefixlen == 0 or any(_within(prefix, each) for each in INTERNET)
    return _within(prefix, route) or _within(route, prefix)


def _within(inner: Prefix, outer: Prefix) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and int(inner.network_address) >> (outer.max_prefixlen - outer.prefixlen)
        == int(outer.network_address) >> (outer.max_prefixlen - outer.prefixlen)
    )
