"""Compiles a policy for a mesh that is only described: what each node would let in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from ghostwire import Bearer, CompiledPolicy, Person, PolicyRule
from ghostwire.capabilities.policy import EVERYONE
from ghostwire.errors import PolicyError, UsageError
from ghostwire.hints import one_line
from ghostwire_policy_acl.engine import AclEngine
from ghostwire_policy_acl.settings import Settings

ANY_PROTOCOL = tuple(range(256))


class User(msgspec.Struct, frozen=True):
    """A user of a topology; without ``issuer`` made on the server."""

    name: str
    email: str = ""
    issuer: str = "local"


class Node(msgspec.Struct, frozen=True):
    """A node of a topology. Of the routes that it offers (``routable_ips``), those that are approved count."""

    ipv4: str = ""
    ipv6: str = ""
    tags: tuple[str, ...] | None = ()
    user: str | None = None
    routable_ips: tuple[str, ...] | None = ()
    approved_routes: tuple[str, ...] | None = ()


class Topology(msgspec.Struct, frozen=True):
    """A mesh, as ``gwctl policy compile --nodes`` reads it."""

    nodes: dict[str, Node]
    users: tuple[User, ...] = ()


def compile_for(policy: str, topology: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What each node of the topology lets in: ``{node: [{"proto", "src": [prefix], "dst": [{"net", "ports"}]}]}``.

    PolicyError where the policy is wrong, or a test of its own fails in this mesh; UsageError for a wrong topology.
    """
    people, nodes = _mesh(topology)
    engine = AclEngine(Settings())
    compiled = engine.compile(policy)
    failures = engine.test(compiled, people, tuple(nodes.values()))
    if failures:
        raise PolicyError(failures)
    return expand(compiled, nodes)


def expand(policy: CompiledPolicy, nodes: Mapping[str, Bearer]) -> dict[str, list[dict[str, Any]]]:
    """The same of a compiled policy, whoever compiled it."""
    expansion = _Expansion(policy, nodes)
    return {name: list(expansion.filters(name)) for name in nodes}


class _Expansion:
    def __init__(self, policy: CompiledPolicy, nodes: Mapping[str, Bearer]) -> None:
        self._nodes, self._rules = nodes, policy.rules
        self._selectors = {name: frozenset(policy.selectors(node)) for name, node in nodes.items()}
        routes = (str(route) for node in nodes.values() for route in node.routes if route.prefixlen)
        self._routes = tuple(dict.fromkeys(routes))

    def filters(self, name: str) -> Iterator[dict[str, Any]]:
        """What this node lets in, rule by rule."""
        for rule in self._rules:
            nets = self._destinations(rule, name)
            sources = self._sources(rule, name) if nets else ()
            if sources:
                ports = rule.ports or ((0, 65_535),)
                yield {
                    "proto": list(rule.protocols or ANY_PROTOCOL),
                    "src": list(sources),
                    "dst": [{"net": net, "ports": list(pair)} for net in nets for pair in ports],
                }

    def _destinations(self, rule: PolicyRule, name: str) -> Sequence[str]:
        node, selectors = self._nodes[name], self._selectors[name]
        if rule.own:
            return () if node.tags else _own(node)
        named = not selectors.isdisjoint(rule.destinations)
        held = named or not selectors.isdisjoint(rule.destination_holders)
        return (*(_own(node) if named else ()), *(rule.destination_prefixes if held else ()))

    def _sources(self, rule: PolicyRule, viewer: str) -> Sequence[str]:
        found: list[str] = []
        for name, node in self._nodes.items():
            if not self._selectors[name].isdisjoint(rule.sources) and (not rule.own or self._same(name, viewer)):
                found += _own(node)
        if EVERYONE in rule.sources and not rule.own:
            found += self._routes
        return tuple(dict.fromkeys((*found, *rule.source_prefixes)))

    def _same(self, name: str, other: str) -> bool:
        return not self._nodes[name].tags and self._nodes[name].owner == self._nodes[other].owner


def _own(node: Bearer) -> Sequence[str]:
    return tuple(f"{address}/{address.max_prefixlen}" for address in node.addresses)


def _mesh(topology: Mapping[str, Any]) -> tuple[Sequence[Person], dict[str, Bearer]]:
    try:
        read = msgspec.convert(topology, Topology)
        people = {user.name: Person(user.name, user.issuer, user.email) for user in read.users}
        return tuple(people.values()), {name: _bearer(node, people) for name, node in read.nodes.items()}
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"the topology is wrong: {one_line(error)}") from None


def _bearer(node: Node, people: Mapping[str, Person]) -> Bearer:
    owner = people.get(node.user, Person(node.user)) if node.user else Person("")
    offered = {ip_network(route) for route in node.routable_ips or ()}
    return Bearer(
        addresses=tuple(ip_address(text) for text in (node.ipv4, node.ipv6) if text),
        owner=owner,
        tags=node.tags or (),
        routes=tuple(route for route in map(ip_network, node.approved_routes or ()) if route in offered),
    )
