"""Which prefixes no node may route, whoever approves: the mesh's own, nobody's, and where the server and relays are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from ghostwire.model import Relay
from ghostwire.wire.prefixes import Prefix, is_default, overlap, parse_prefix, unroutable

Address = IPv4Address | IPv6Address

RESOLVER: Final = IPv4Network("100.100.0.0/16")
"""Reserved in every mesh: its resolver is in there."""

known_prefix = lru_cache(1 << 16)(parse_prefix)
"""A prefix of a record, which is read again and again."""


class Rules:
    """``mesh`` are the prefixes of nodes' addresses; ``url`` is where nodes find the server."""

    def __init__(self, mesh: Iterable[Prefix], url: str, relays: Iterable[Relay]) -> None:
        self._mesh = (*mesh, RESOLVER)
        guarded = dict.fromkeys(_addresses(_host(url)), "where nodes find the server")
        for relay in relays:
            for address in _addresses(relay.host, relay.ipv4, relay.ipv6):
                guarded.setdefault(address, f"where the relay {relay.name} is")
        held = sorted((address.version, int(address), f"{address}, {what}") for address, what in guarded.items())
        self._places = [(version, number) for version, number, _ in held]
        self._words = [words for _, _, words in held]

    def refusal(self, prefix: Prefix) -> str:
        """Why no route to this prefix is taken; empty where it may be. What an exit node offers always may."""
        if is_default(prefix):
            return ""
        return unroutable(prefix) or self._in_mesh(prefix) or self._covers(prefix)

    def _in_mesh(self, prefix: Prefix) -> str:
        own = next((each for each in self._mesh if overlap(prefix, each)), None)
        return f"{own} belongs to the mesh itself" if own is not None else ""

    def _covers(self, prefix: Prefix) -> str:
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        at = bisect_left(self._places, (prefix.version, first))
        found = at < len(self._places) and self._places[at] <= (prefix.version, last)
        return f"it holds {self._words[at]}" if found else ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _addresses(*texts: str) -> Iterator[Address]:
    """Those of the texts that are addresses; names are left to nodes, which resolve them."""
    for text in texts:
        try:
            yield ip_address(text)
        except ValueError:
            continue
