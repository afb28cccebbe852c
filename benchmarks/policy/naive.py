"""The same policy the plain way: for each node every rule is read, and its sources become addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ghostwire.capabilities.policy import Bearer, CompiledPolicy

Filter = tuple[tuple[str, ...], tuple[tuple[int, int], ...]]
"""Addresses that may come in, and the ports to which they may."""


class Naive:
    """A mesh whose nodes are compiled one by one."""

    def __init__(self, policy: CompiledPolicy, bearers: Sequence[Bearer]) -> None:
        self._policy = policy
        self._parties = [(bearer, frozenset(policy.selectors(bearer))) for bearer in bearers]
        self._carriers: defaultdict[str, list[Bearer]] = defaultdict(list)
        for bearer, selectors in self._parties:
            for selector in selectors:
                self._carriers[selector].append(bearer)

    def compile(self, numbers: Iterable[int]) -> list[list[Filter]]:
        """The filters of these nodes."""
        return [list(self._filters(*self._parties[number])) for number in numbers]

    def _filters(self, node: Bearer, selectors: frozenset[str]) -> Iterable[Filter]:
        for rule in self._policy.rules:
            if rule.own:
                if not node.tags:
                    yield self._addresses(rule.sources, node), rule.ports
            elif not selectors.isdisjoint(rule.destinations + rule.destination_holders):
                yield self._addresses(rule.sources + rule.source_holders, None), rule.ports

    def _addresses(self, sources: Iterable[str], owner: Bearer | None) -> tuple[str, ...]:
        found = [
            str(address)
            for source in sources
            for bearer in self._carriers.get(source, ())
            if owner is None or (bearer.owner == owner.owner and not bearer.tags)
            for address in bearer.addresses
        ]
        return tuple(sorted(found))
