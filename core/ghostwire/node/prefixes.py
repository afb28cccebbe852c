"""Sets of prefixes that are asked, packet by packet, whether an address lies in them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from ipaddress import collapse_addresses
from typing import Any, Final

from ghostwire.wire.prefixes import Prefix, parse_prefix


class Prefixes:
    """An immutable set of prefixes of both families; addresses are raw bytes. Equal where the prefixes are the same."""

    __slots__ = ("_by_length", "_held")

    def __init__(self, prefixes: Iterable[Prefix] = ()) -> None:
        self._held = frozenset(prefixes)
        self._by_length: dict[tuple[int, int], set[int]] = {}
        for prefix in self._held:
            width, room = prefix.max_prefixlen, prefix.max_prefixlen - prefix.prefixlen
            self._by_length.setdefault((width, room), set()).add(int(prefix.network_address) >> room)

    def __contains__(self, address: bytes) -> bool:
        return self._holds(int.from_bytes(address), len(address) * 8, 0)

    def covers(self, prefix: Prefix) -> bool:
        """Whether one of them holds all of that prefix."""
        width = prefix.max_prefixlen
        return self._holds(int(prefix.network_address), width, width - prefix.prefixlen)

    def _holds(self, value: int, width: int, room: int) -> bool:
        for (each, spare), held in self._by_length.items():
            if each == width and spare >= room and value >> spare in held:
                return True
        return False

    def __and__(self, other: Prefixes) -> Prefixes:
        """What lies in both."""
        both = [each for each in self if other.covers(each)] + [each for each in other if self.covers(each)]
        return Prefixes(both)

    def __or__(self, other: Prefixes) -> Prefixes:
        return Prefixes(self._held | other._held) if self and other else self or other

    def __iter__(self) -> Iterator[Prefix]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prefixes) and self._held == other._held

    def __hash__(self) -> int:
        return hash(self._held)

    def texts(self) -> tuple[str, ...]:
        """As few prefixes as say the same, in order: IPv4 first."""
        by_family: dict[int, list[Any]] = {4: [], 6: []}
        for each in self._held:
            by_family[each.version].append(each)
        return tuple(str(each) for held in by_family.values() for each in collapse_addresses(held))


NONE: Final = Prefixes()


def read(texts: Iterable[str]) -> Prefixes:
    """Prefixes or single addresses as text; what is malformed holds no address."""
    prefixes = tuple(prefix for text in texts if (prefix := _parse(text)) is not None)
    return Prefixes(prefixes) if prefixes else NONE


@functools.lru_cache(32_768)
def _parse(text: str) -> Prefix | None:
    try:
        return parse_prefix(text)
    except ValueError:
        return None
