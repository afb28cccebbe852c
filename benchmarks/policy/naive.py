"""The same policy the plain way: what a rule names becomes addresses, and every node gets filters of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ghostwire.capabilities.policy import Bearer, CompiledPolicy, Person

Filter = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]
"""Addresses that may come in, and the ports to which they may."""


class Naive:
    """A mesh whose nodes are compiled one by one. Each rule's sources are looked up once for all nodes."""

    def __init__(self, policy: CompiledPolicy, bearers: Sequence[Bearer]) -> None:
        self._rules = [
            (rule, frozenset(rule.destinations + rule.destination_holders), rule.sources + rule.source_holders)
            for rule in policy.rules
        ]
        self._policy = policy
        self._parties: list[tuple[Bearer, frozenset[str]]] = []
        self._carriers: defaultdict[str, list[str]] = defaultdict(list)
        self._owned: defaultdict[tuple[str, Person], list[str]] = defaultdict(list)
        for bearer in bearers:
            self._enter(bearer)

    def join(self, bearer: Bearer) -> int:
        """One node more, then all filters anew; how many."""
        self._enter(bearer)
        return self.compile()

    def compile(self) -> int:
        """The filters of all nodes; how many."""
        sources = [tuple(sorted(self._addresses(self._carriers, names))) for _, _, names in self._rules]
        return sum(len(list(self._filters(*party, sources))) for party in self._parties)

    def _enter(self, bearer: Bearer) -> None:
        selectors, addresses = frozenset(self._policy.selectors(bearer)), list(map(str, bearer.addresses))
        self._parties.append((bearer, selectors))
        for selector in selectors:
            self._carriers[selector] += addresses
            if not bearer.tags:
                self._owned[selector, bearer.owner] += addresses

    def _filters(self, node: Bearer, selectors: frozenset[str], sources: Sequence[tuple[str, ...]]) -> Iterator[Filter]:
        for (rule, destinations, names), addresses in zip(self._rules, sources, strict=True):
            if not rule.own:
                if not selectors.isdisjoint(destinations):
                    yield addresses, rule.ports
            elif not node.tags:
                yield tuple(sorted(self._addresses(self._owned, ((name, node.owner) for name in names)))), rule.ports

    @staticmethod
    def _addresses(table: defaultdict[Any, list[str]], names: Iterable[Any]) -> Iterator[str]:
        return (address for name in names for address in table.get(name, ()))
