"""Which peer an address belongs to: the longest allowed prefix, both for leaving and for arriving packets."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from ghostwire.capabilities.tunnel import Prefix

T = TypeVar("T")

CACHED: Final = 8_192


class AllowedIps(Generic[T]):
    """Prefixes, each of exactly one owner.

    Addresses are ints for IPv4 and 16 bytes for IPv6: what a packet's header gives most cheaply.
    """

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, dict[int, T]]] = {4: {}, 6: {}}
        self._cache: dict[int | bytes, T | None] = {}

    def insert(self, prefix: Prefix, owner: T) -> None:
        """Give the prefix to this owner, whoever had it."""
        self._cache.clear()
        self._table(prefix)[_bits(prefix)] = owner

    def remove(self, prefix: Prefix, owner: T) -> None:
        """Take the prefix from this owner; harmless where another one has it."""
        self._cache.clear()
        tables, table = self._tables[prefix.version], self._table(prefix)
        if table.get(_bits(prefix)) is owner:
            del table[_bits(prefix)]
        if not table:
            del tables[prefix.prefixlen]

    def _table(self, prefix: Prefix) -> dict[int, T]:
        tables = self._tables[prefix.version]
        if prefix.prefixlen not in tables:
            tables[prefix.prefixlen] = {}
            self._tables[prefix.version] = dict(sorted(tables.items(), reverse=True))
        return self._tables[prefix.version][prefix.prefixlen]

    def lookup(self, address: int | bytes) -> T | None:
        """The owner of the longest prefix that holds the address."""
        try:
            return self._cache[address]
        except KeyError:
            return self._search(address)

    def length(self, address: int | bytes) -> int:
        """The length of the longest prefix that holds the address; -1 where there is none."""
        whole, width = (address, 32) if isinstance(address, int) else (int.from_bytes(address, "big"), 128)
        tables = self._tables[4 if width == 32 else 6]
        return next((length for length, table in tables.items() if whole >> (width - length) in table), -1)

    def _search(self, address: int | bytes) -> T | None:
        if isinstance(address, int):
            owner = _longest(self._tables[4], address, 32)
        else:
            owner = _longest(self._tables[6], int.from_bytes(address, "big"), 128)
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[address] = owner
        return owner


def _bits(prefix: Prefix) -> int:
    return int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)


def _longest(tables: dict[int, dict[int, T]], address: int, width: int) -> T | None:
    for length, table in tables.items():
        owner = table.get(address >> (width - length))
        if owner is not None:
            return owner
    return None
