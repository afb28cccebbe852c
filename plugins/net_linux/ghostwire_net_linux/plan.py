"""Which routes and rules lead into a device, computed from what was asked for; pure.

Each interface has two tables of its own. Rules send every packet that is not marked as a node's own there before the
main table is asked: `SPECIFIC` comes first for all interfaces, so that the default route of one never hides the mesh of
another. A throw route gives a network back to the tables behind. Beneath a default route lies an unreachable one, which
stays when the device vanishes.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Final, Literal, NamedTuple

from ghostwire_net_linux.configure import Request

Prefix = IPv4Network | IPv6Network

SPECIFIC, DEFAULT = 5210, 5230
"""Priorities of the rules for an interface's first and second table; the main table's is 32766."""
TABLES: Final = range(520_000_000, 522_000_000)
"""Where the numbers of our tables are."""
FAMILIES: Final = {4: 2, 6: 10}
"""AF_INET and AF_INET6, by IP version."""
EVERYWHERE: Final = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
LINK_LOCAL: Final = IPv6Network("fe80::/10")


class Entry(NamedTuple):
    """A route of one of our tables."""

    table: int
    prefix: Prefix
    kind: Literal["unicast", "throw", "unreachable"] = "unicast"

    @property
    def metric(self) -> int:
        """The lowest wins among routes of one prefix."""
        return 1_000_000 if self.kind == "unreachable" else 1024


class Lookup(NamedTuple):
    """A rule: packets of this IP version, but those with the nodes' mark, are looked up in a table."""

    priority: int
    version: int
    table: int


def tables(interface: str) -> tuple[int, int]:
    """The numbers of an interface's two tables: the same at every start, and hardly another's."""
    first = TABLES.start + zlib.crc32(interface.encode()) % (len(TABLES) // 2) * 2
    return first, first + 1


def entries(request: Request) -> set[Entry]:
    """The routes of both tables."""
    specific, default = tables(request.interface)
    routes = {ip_network(text) for text in request.routes}
    exits = {prefix for prefix in routes if prefix.prefixlen == 0}
    near = {network for network in map(ip_network, request.connected) if 0 < network.prefixlen < network.max_prefixlen}
    thrown = _given_back(near, routes - exits, request.addresses) if request.lan or not exits else set[Prefix]()
    found = {Entry(specific, prefix) for prefix in routes - exits - thrown}
    found |= {Entry(specific, prefix, "throw") for prefix in thrown}
    if exits:
        found |= {Entry(default, prefix) for prefix in exits}
        found |= {Entry(default, prefix, "unreachable") for prefix in EVERYWHERE}
        found |= {Entry(default, prefix, "throw") for prefix in {LINK_LOCAL, *(near if request.lan else ())}}
    return found


def lookups(wanted: Iterable[Entry]) -> set[Lookup]:
    """The rules that these routes need."""
    used = {(entry.table, entry.prefix.version) for entry in wanted}
    return {Lookup(SPECIFIC if table % 2 == 0 else DEFAULT, version, table) for table, version in used}


def beyond(routes: Iterable[str], addresses: Collection[str]) -> bool:
    """Whether any route leads beyond the mesh, to whose prefixes our addresses belong."""
    return any(not _own(ip_network(text), addresses) for text in routes)


def _given_back(near: Iterable[Prefix], routes: Collection[Prefix], addresses: Collection[str]) -> set[Prefix]:
    """The networks that keep their way although a route covers them."""
    return set(_kept(near, routes, addresses))


def _kept(near: Iterable[Prefix], routes: Collection[Prefix], addresses: Collection[str]) -> Iterator[Prefix]:
    for network in near:
        covering = [route for route in routes if _covers(route, network)]
        if covering and not _own(max(covering, key=lambda route: route.prefixlen), addresses):
            yield network


def _covers(outer: Prefix, inner: Prefix) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)


def _own(route: Prefix, addresses: Iterable[str]) -> bool:
    return route.prefixlen > 0 and any(ip_interface(text).ip in route for text in addresses)
