"""A policy's rules, compiled: which label leads to which, which rules and sets whoever carries a label is told of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from ghostwire.capabilities.policy import EVERYONE, PolicyRule
from ghostwire.model import pack
from ghostwire.server.policy.labels import Labels, bits, rule_id, wire_rule

_Masks = Mapping[int, int]
"""By a label's bit, a mask of labels."""


class Rulebook:
    """Masks are of labels; ``rules`` by id, as they go on the wire."""

    def __init__(self, rules: Iterable[PolicyRule], labels: Labels) -> None:
        self.labels = labels
        self.used = self.everyone = labels.add((EVERYONE,))
        self.targets = self.own = self.own_sets = 0
        """Labels that are destinations; of rules with `own`: sources, and those that name a set."""
        self.rules: dict[int, msgspec.Raw] = {}
        self.own_rules: frozenset[int] = frozenset()
        self._out: defaultdict[int, int] = defaultdict(int)
        self._into: defaultdict[int, int] = defaultdict(int)
        self._named: defaultdict[int, int] = defaultdict(int)
        self._naming: defaultdict[int, int] = defaultdict(int)
        self._rules_to: defaultdict[int, set[int]] = defaultdict(set)
        for rule in rules:
            self.add(rule)

    def out(self, mask: int) -> int:
        """Labels to which rules lead from these."""
        return _union(self._out, mask)

    def into(self, mask: int) -> int:
        """Labels from which rules lead to these."""
        return _union(self._into, mask)

    def named(self, mask: int) -> int:
        """Labels whose sets the rules name that lead to these."""
        return _union(self._named, mask)

    def naming(self, mask: int) -> int:
        """Labels to which rules lead that name these labels' sets."""
        return _union(self._naming, mask)

    def rules_to(self, mask: int) -> frozenset[int]:
        """The ids of the rules that lead to these labels."""
        held = self._rules_to
        return frozenset().union(*(held[bit] for bit in bits(mask) if bit in held))

    def differs(self, other: Rulebook, bit: int) -> bool:
        """Whether that label's rules or neighbours are others here than there, where the same bits stand for them."""
        tables = ((self._out, other._out), (self._into, other._into), (self._rules_to, other._rules_to))
        return any(mine.get(bit) != theirs.get(bit) for mine, theirs in tables)

    def differs_for_own(self, other: Rulebook) -> bool:
        """Whether rules with `own` are others here than there."""
        return self.own_rules != other.own_rules

    def add(self, rule: PolicyRule) -> None:
        """One more; before anything is asked."""
        id_ = rule_id(rule)
        if id_ in self.rules:
            return
        self.rules[id_] = msgspec.Raw(pack(wire_rule(rule)))
        sets, sources = self.labels.add(rule.sources), self.labels.add(rule.sources + rule.source_holders)
        self.used |= sources
        if rule.own:
            self.own_rules |= {id_}
            self.own, self.own_sets = self.own | sources, self.own_sets | sets
            return
        self.targets |= self.labels.add(rule.destinations)
        destinations = self.labels.add(rule.destinations + rule.destination_holders)
        self.used |= destinations
        for bit in self.labels.places(rule.sources + rule.source_holders):
            self._out[bit] |= destinations
        for bit in self.labels.places(rule.sources):
            self._naming[bit] |= destinations
        for bit in self.labels.places(rule.destinations + rule.destination_holders):
            self._into[bit] |= sources
            self._named[bit] |= sets
            self._rules_to[bit].add(id_)


def _union(table: _Masks, mask: int) -> int:
    found = 0
    for bit in bits(mask):
        found |= table.get(bit, 0)
    return found
