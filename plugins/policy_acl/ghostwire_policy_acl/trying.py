"""Runs a policy's own tests in a mesh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from ghostwire import Bearer, PolicyRule
from ghostwire.capabilities.policy import EVERYONE, Prefix
from ghostwire.errors import Finding
from ghostwire_policy_acl.checks import Check, Target, failure
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.matching import Directory, Matcher
from ghostwire_policy_acl.names import Alias, Kind
from ghostwire_policy_acl.wording import shown

MAX_TRIED = 10_000_000
"""Rules times destinations of tests."""


class Endpoint(NamedTuple):
    """One end of a connection that is tried: a node, or addresses that need not be a node's."""

    networks: tuple[Prefix, ...]
    selectors: frozenset[str]
    owner: object | None
    """Whose untagged node it is."""


class Trial:
    """One run of all tests."""

    def __init__(self, policy: AclPolicy, directory: Directory, nodes: Sequence[Bearer]) -> None:
        self._policy, self._directory = policy, directory
        self._found: dict[Alias, list[Endpoint]] = {}
        self._nodes = [(node, _endpoint(policy, node)) for node in nodes]
        routes = {route for node in nodes for route in node.routes if route.prefixlen}
        self._routes = tuple(routes)

    def findings(self) -> Iterator[Finding]:
        """What fails, in the order of the text."""
        checks, rules = self._policy.checks, self._policy.rules
        if len(rules) * sum(len(check.targets) for check in checks) > MAX_TRIED:
            text = f"rules times destinations of tests are more than {MAX_TRIED}: none was tried; test less"
            yield Finding(checks[0].line, checks[0].column, text)
            return
        for check in checks:
            yield from self._check(check)

    def _check(self, check: Check) -> Iterator[Finding]:
        sources = self._ends(check.source)
        if not sources:
            yield Finding(check.line, check.column, f"test failed: {shown(check.source.text)} has no node")
            return
        for target in check.targets:
            ends = self._ends(target.alias)
            if not ends:
                text = f"test failed: {shown(target.text)} has no node"
                yield Finding(target.line, target.column, text)
                continue
            rules = [rule for rule in self._policy.rules if self._may_apply(rule, check, target, ends)]
            reached = (self._reaches(source, ends, rules) for source in sources)
            if not all(reached) if target.accept else any(reached):
                yield failure(target, check.source.text, not target.accept)

    def _ends(self, alias: Alias) -> list[Endpoint]:
        if alias not in self._found:
            self._found[alias] = self._find(alias)
        return self._found[alias]

    def _find(self, alias: Alias) -> list[Endpoint]:
        networks = tuple(self._directory.prefixes(alias))
        if networks:
            return [self._literal(network) for network in networks]
        if alias.kind in (Kind.HOST, Kind.IPSET):
            return []
        matcher = Matcher([alias], self._directory)
        return [end for node, end in self._nodes if matcher.identity(node)]

    def _literal(self, network: Prefix) -> Endpoint:
        inside = [end for _, end in self._nodes if any(_overlap(network, own) for own in end.networks)]
        selectors = frozenset().union(*(end.selectors for end in inside))
        return Endpoint((network,), selectors, inside[0].owner if len(inside) == 1 else None)

    def _may_apply(self, rule: PolicyRule, check: Check, target: Target, ends: Sequence[Endpoint]) -> bool:
        if rule.protocols and not set(rule.protocols) & set(check.protocols):
            return False
        if rule.ports and not any(low <= target.port <= high for low, high in rule.ports):
            return False
        return rule.own or any(_is_destination(rule, end) for end in ends)

    def _reaches(self, source: Endpoint, ends: Sequence[Endpoint], rules: Sequence[PolicyRule]) -> bool:
        for rule in rules:
            if not self._is_source(rule, source):
                continue
            if not rule.own:
                return True
            if source.owner is not None and any(end.owner == source.owner for end in ends):
                return True
        return False

    def _is_source(self, rule: PolicyRule, source: Endpoint) -> bool:
        if not source.selectors.isdisjoint(rule.sources):
            return True
        if rule.own:
            return False
        if EVERYONE in rule.sources and _meet(source.networks, self._routes):
            return True
        return _meet(source.networks, _networks(rule.source_prefixes))


def _endpoint(policy: AclPolicy, node: Bearer) -> Endpoint:
    networks = tuple(ip_network(address) for address in node.addresses)
    return Endpoint(networks, frozenset(policy.selectors(node)), None if node.tags else node.owner)


def _is_destination(rule: PolicyRule, end: Endpoint) -> bool:
    return not end.selectors.isdisjoint(rule.destinations) or _meet(end.networks, _networks(rule.destination_prefixes))


def _meet(some: Sequence[Prefix], others: Sequence[Prefix]) -> bool:
    return any(_overlap(one, other) for one in some for other in others)


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


@lru_cache(maxsize=8192)
def _networks(prefixes: tuple[str, ...]) -> tuple[Prefix, ...]:
    return tuple(ip_network(prefix) for prefix in prefixes)
