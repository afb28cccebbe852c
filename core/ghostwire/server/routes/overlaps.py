"""Approved prefixes of all nodes, by what they overlap."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from functools import lru_cache
from typing import NamedTuple

from ghostwire.model import Route
from ghostwire.server.routes.rules import known_prefix
from ghostwire.wire.prefixes import Prefix, is_default

_Key = tuple[int, int, int]  # IP version, first address, length: in this order, what lies in a prefix follows it


class Rival(NamedTuple):
    """Another node's approved route that overlaps a prefix without being the same; ``wider`` than that, or in it."""

    prefix: Prefix
    node: int
    wider: bool


class Overlaps:
    """Who routes what. Exit nodes' routes are not among it: everything overlaps them, and means no harm by it."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._held: dict[_Key, dict[int, Prefix]] = {}
        self._lengths: Counter[tuple[int, int]] = Counter()
        self._order: list[_Key] = []
        for route in routes:
            key, prefix = _known(route.prefix)
            self._hold(key, prefix, route.node)
        self._order = sorted(self._held)

    def add(self, prefix: Prefix, node: int) -> None:
        """The node routes it."""
        key = _key(prefix)
        if self._hold(key, prefix, node):
            insort(self._order, key)

    def discard(self, prefix: Prefix, node: int) -> None:
        """The node no longer does; harmless where it did not."""
        key = _key(prefix)
        holders = self._held.get(key, {})
        if holders.pop(node, None) is not None and not holders:
            del self._held[key]
            self._lengths[prefix.version, prefix.prefixlen] -= 1
            del self._order[bisect_left(self._order, key)]

    def routers(self, prefix: Prefix) -> Set[int]:
        """The nodes that route exactly this prefix."""
        return self._held.get(_key(prefix), {}).keys()

    def rivals(self, prefix: Prefix, node: int) -> Iterator[Rival]:
        """Other nodes' routes that overlap it, wider ones first; none of an exit node's."""
        if is_default(prefix):
            return
        for key in (*self._around(prefix), *self._within(prefix)):
            for other, held in self._held[key].items():
                if other != node:
                    yield Rival(held, other, held.prefixlen < prefix.prefixlen)

    def _hold(self, key: _Key, prefix: Prefix, node: int) -> bool:
        """Whether nobody held the prefix before."""
        version, _, length = key
        if not length:
            return False
        holders = self._held.setdefault(key, {})
        first = not holders
        holders[node] = prefix
        if first:
            self._lengths[version, length] += 1
        return first

    def _around(self, prefix: Prefix) -> Iterator[_Key]:
        version, first, bits = prefix.version, int(prefix.network_address), prefix.max_prefixlen
        for length in range(1, prefix.prefixlen):
            if self._lengths[version, length]:
                key = version, first >> (bits - length) << (bits - length), length
                if key in self._held:
                    yield key

    def _within(self, prefix: Prefix) -> Iterator[_Key]:
        version, first, last = prefix.version, int(prefix.network_address), int(prefix.broadcast_address)
        at = bisect_left(self._order, (version, first, prefix.prefixlen + 1))
        while at < len(self._order) and self._order[at][:2] <= (version, last):
            yield self._order[at]
            at += 1


def _key(prefix: Prefix) -> _Key:
    return prefix.version, int(prefix.network_address), prefix.prefixlen


@lru_cache(1 << 16)
def _known(text: str) -> tuple[_Key, Prefix]:
    """A record's prefix, with its key."""
    prefix = known_prefix(text)
    return _key(prefix), prefix
