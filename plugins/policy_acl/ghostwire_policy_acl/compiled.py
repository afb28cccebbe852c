"""A policy that was read: who carries which selectors of its rules, and what else it says of nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ghostwire import Bearer, CompiledPolicy, Person, PolicyRule
from ghostwire.capabilities.policy import EVERYONE, Prefix
from ghostwire.errors import Finding
from ghostwire_policy_acl import names
from ghostwire_policy_acl.checks import Check
from ghostwire_policy_acl.matching import Directory, Matcher
from ghostwire_policy_acl.rules import composite


class Approvers(NamedTuple):
    """Whose routes within ``prefix`` need no approval; None: whose exit routes do not."""

    prefix: Prefix | None
    who: Matcher


class Parts(NamedTuple):
    """What the engine read out of a text; ``via`` are (prefix or autogroup:internet, tag)."""

    rules: Sequence[PolicyRule]
    matcher: Matcher
    via: Sequence[tuple[str, str]]
    approvers: Sequence[Approvers]
    owners: Mapping[str, Matcher]
    attributes: Sequence[tuple[Matcher, Sequence[str]]]
    checks: Sequence[Check]
    directory: Directory
    warnings: Sequence[Finding]


class AclPolicy(CompiledPolicy):
    """See `CompiledPolicy`; ``checks`` are the tests that the text contains."""

    def __init__(self, parts: Parts) -> None:
        self.rules, self.warnings, self.checks = parts.rules, parts.warnings, parts.checks
        self.directory, self.matcher, self._parts = parts.directory, parts.matcher, parts
        self._used = frozenset(_named(parts.rules))
        self._via: dict[str, list[str]] = {}
        for prefix, tag in parts.via:
            self._via.setdefault(prefix, []).append(tag)

    def selectors(self, node: Bearer) -> Sequence[str]:
        """By what it is, by its addresses, and by what its routes lead to."""
        found = [EVERYONE, *self.matcher.identity(node)]
        found += self.matcher.addresses(node)
        for route in node.routes:
            found += self._led_to(node, route)
        return self._those_used(found)

    def route_selectors(self, node: Bearer, route: Prefix) -> Sequence[str]:
        """Everyone, as ``*`` includes hosts behind routes, and the prefixes that the route overlaps."""
        return self._those_used([EVERYONE, *self._led_to(node, route)])

    def approves(self, node: Bearer, route: Prefix) -> bool:
        """By autoApprovers: ``exitNode`` for default routes, ``routes`` for those within one of its prefixes."""
        return any(_covers(each.prefix, route) and each.who.means(node) for each in self._parts.approvers)

    def may_tag(self, user: Person, tag: str) -> bool:
        """By tagOwners."""
        owners = self._parts.owners.get(tag)
        if owners is None:
            return False
        return bool(owners.identity(Bearer(addresses=(), owner=user)))

    def attributes(self, node: Bearer) -> Sequence[str]:
        """By nodeAttrs."""
        found = (name for who, granted in self._parts.attributes if who.means(node) for name in granted)
        return tuple(dict.fromkeys(found))

    def _those_used(self, found: Sequence[str]) -> Sequence[str]:
        used = self._used
        return tuple(text for text in dict.fromkeys(found) if text in used)

    def _led_to(self, node: Bearer, route: Prefix) -> list[str]:
        found = list(self.matcher.prefixes.of_route(route))
        if route.prefixlen == 0:
            found.append(names.INTERNET)
        tags = frozenset(node.tags)
        through = [composite(prefix, tag) for prefix in found for tag in self._via.get(prefix, ()) if tag in tags]
        return found + through


def _named(rules: Sequence[PolicyRule]) -> Iterator[str]:
    """The selectors that rules name."""
    yield EVERYONE
    for rule in rules:
        for each in (rule.sources, rule.destinations, rule.source_holders, rule.destination_holders):
            yield from each


def _covers(prefix: Prefix | None, route: Prefix) -> bool:
    if prefix is None or route.prefixlen == 0:
        return prefix is None and route.prefixlen == 0
    return prefix.version == route.version and prefix.supernet_of(route)  # type: ignore[arg-type]
