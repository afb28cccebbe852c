"""Labels: what selectors and rules are called on the wire, and the bits that stand for them inside the server.

On the wire a label or rule is the first 6 bytes of the BLAKE2s of its text or content: the same one everywhere and
ever, with nothing to store. Inside, a set of labels is an integer with one bit for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2s
from itertools import compress, count
from typing import TypeVar

import msgspec

from ghostwire.capabilities.policy import PolicyRule
from ghostwire.errors import Finding, PolicyError
from ghostwire.model import Rule, pack

ID_BYTES = 6
MAX_LABELS = 32_768
"""Selectors of one policy: what leads where is kept in bits, each with each."""
T = TypeVar("T")

_ONES = bytes.maketrans(b"01", b"\0\1")


def label_id(selector: str) -> int:
    """The wire's id of a selector's label and set; positive."""
    return _digest(selector.encode())


def rule_id(rule: PolicyRule) -> int:
    """The wire's id of a rule: of its content, wherever it stands in the text; positive."""
    holders = sorted(set(rule.source_holders)), sorted(set(rule.destination_holders))
    return _digest(pack((_content(rule, 0), *holders)))


def wire_rule(rule: PolicyRule) -> Rule:
    """A rule as nodes are told it."""
    return _content(rule, rule_id(rule))


def check(rules: Sequence[PolicyRule]) -> None:
    """PolicyError where two selectors or two rules would have one id, and for more selectors than may be."""
    findings: list[Finding] = []
    selectors: dict[int, str] = {}
    contents: dict[int, Rule] = {}
    for rule in rules:
        for selector in (*rule.sources, *rule.destinations, *rule.source_holders, *rule.destination_holders):
            other = selectors.setdefault(label_id(selector), selector)
            if other != selector:
                message = f"{selector!r} and {other!r} have the same label by chance; write one of them otherwise"
                findings.append(Finding(rule.line, rule.column, message))
        wire = wire_rule(rule)
        if msgspec.structs.replace(contents.setdefault(wire.id, wire), id=0) != msgspec.structs.replace(wire, id=0):
            message = "this rule has the same id as another by chance; write its ports otherwise"
            findings.append(Finding(rule.line, rule.column, message))
        if len(selectors) > MAX_LABELS:
            message = f"up to here, rules name more than {MAX_LABELS} users, groups, tags, hosts and prefixes"
            findings.append(Finding(rule.line, rule.column, message))
            break
    if findings:
        raise PolicyError(findings)


def bits(mask: int) -> Iterator[int]:
    """The places of a mask's set bits, the lowest first."""
    return compress(count(), _flags(mask))


def chosen(items: Sequence[T], mask: int) -> Iterator[T]:
    """The items at the places of a mask's set bits."""
    return compress(items, _flags(mask))


class Labels:
    """Which bit stands for which selector; known ones keep theirs."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._ids: list[int] = []

    def places(self, selectors: Iterable[str]) -> set[int]:
        """The bits of these, which are known."""
        return {self._bits[selector] for selector in selectors}

    def add(self, selectors: Iterable[str]) -> int:
        """The mask of these, new ones among them."""
        mask = 0
        for selector in selectors:
            bit = self._bits.get(selector)
            mask |= 1 << (self._new(selector) if bit is None else bit)
        return mask

    def mask(self, selectors: Iterable[str]) -> int:
        """The mask of those of these that are known."""
        mask = 0
        known = self._bits
        for selector in selectors:
            bit = known.get(selector)
            if bit is not None:
                mask |= 1 << bit
        return mask

    def id(self, bit: int) -> int:
        """The wire's id of that bit's label."""
        return self._ids[bit]

    def ids(self, mask: int) -> tuple[int, ...]:
        """The wire's ids of a mask's labels, ascending."""
        return tuple(sorted(chosen(self._ids, mask)))

    def wasted(self, used: int) -> int:
        """How many are known outside ``used``."""
        return len(self._bits) - used.bit_count()

    def _new(self, selector: str) -> int:
        bit = self._bits[selector] = len(self._ids)
        self._ids.append(label_id(selector))
        return bit


def _content(rule: PolicyRule, id_: int) -> Rule:
    """What one rule says however it is written: each list is sorted, without doubles."""
    return Rule(
        id=id_,
        sources=tuple(sorted({label_id(selector) for selector in rule.sources})),
        destinations=() if rule.own else tuple(sorted({label_id(selector) for selector in rule.destinations})),
        source_prefixes=tuple(sorted(set(rule.source_prefixes))),
        destination_prefixes=() if rule.own else tuple(sorted(set(rule.destination_prefixes))),
        own=rule.own,
        protocols=tuple(sorted(set(rule.protocols))),
        ports=tuple(sorted(set(rule.ports))),
    )


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2s(data).digest()[:ID_BYTES]) or 1


def _flags(mask: int) -> bytes:
    """A byte for each bit, the lowest first: 1 where it is set."""
    return bin(mask)[:1:-1].encode().translate(_ONES)
