"""What a policy says of one pair of nodes, evaluated rule by rule as its words stand: no labels, no caches.

It is what `explain` asks, and the oracle by which tests judge the compiled structures and the node's filter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from ghostwire.capabilities.policy import EVERYONE, Address, Bearer, CompiledPolicy, PolicyRule, Prefix

ICMP = frozenset({1, 58})
"""ICMP and ICMPv6, which have no ports."""


class Flow(NamedTuple):
    """What a packet is judged by. An address of None is the bearer's own, whichever; a protocol without ports has 0."""

    protocol: int
    port: int = 0
    source: Address | None = None
    destination: Address | None = None


class Party(NamedTuple):
    """A bearer with the selectors that pick it."""

    bearer: Bearer
    selectors: frozenset[str]


def party(policy: CompiledPolicy, bearer: Bearer) -> Party:
    """A bearer as this policy knows it."""
    return Party(bearer, frozenset(policy.selectors(bearer)))


class Fit(NamedTuple):
    """Which of a rule's four conditions a flow meets."""

    source: bool
    destination: bool
    protocol: bool
    port: bool


def fit(rule: PolicyRule, sender: Party, receiver: Party, flow: Flow) -> Fit:
    """How a rule takes a flow that ``sender`` passes on and that arrives at ``receiver``."""
    return Fit(
        source=_source(rule, sender, flow.source),
        destination=_destination(rule, sender, receiver, flow.destination),
        protocol=not rule.protocols or flow.protocol in rule.protocols,
        port=not rule.ports or flow.protocol in ICMP or any(low <= flow.port <= high for low, high in rule.ports),
    )


def admitting(policy: CompiledPolicy, sender: Party, receiver: Party, flow: Flow) -> Iterator[PolicyRule]:
    """The rules that let the flow in, in the order of the text; none: it is not let in."""
    return (rule for rule in policy.rules if all(fit(rule, sender, receiver, flow)))


def sees(policy: CompiledPolicy, viewer: Party, other: Party) -> bool:
    """Whether ``viewer`` is told of ``other``: a rule leads from one to the other, or it is itself."""
    return viewer == other or any(leads(r, viewer, other) or leads(r, other, viewer) for r in policy.rules)


def leads(rule: PolicyRule, sender: Party, receiver: Party) -> bool:
    """Whether a rule leads from one node to the other, whatever the traffic."""
    if not _carries(sender, rule.sources + rule.source_holders):
        return False
    return one_owner(sender, receiver) if rule.own else _told(rule, receiver)


def sees_route(policy: CompiledPolicy, viewer: Party, router: Party, route: Prefix) -> bool:
    """Whether ``viewer`` is told of this route: its router is; else where a rule leads to or from hosts behind it, and
    for a default route where one leads to them."""
    if viewer == router:
        return True
    behind = Party(router.bearer, frozenset(policy.route_selectors(router.bearer, route)))
    rules = [rule for rule in policy.rules if not rule.own]
    if any(leads(rule, viewer, behind) for rule in rules):
        return True
    return route.prefixlen > 0 and any(leads(rule, behind, viewer) for rule in rules)


def one_owner(one: Party, other: Party) -> bool:
    """Whether both are untagged nodes of one user."""
    return not one.bearer.tags and not other.bearer.tags and one.bearer.owner == other.bearer.owner


def _carries(party: Party, selectors: Collection[str]) -> bool:
    return not party.selectors.isdisjoint(selectors)


def _told(rule: PolicyRule, receiver: Party) -> bool:
    return _carries(receiver, rule.destinations + rule.destination_holders)


def _source(rule: PolicyRule, sender: Party, address: Address | None) -> bool:
    """Own addresses of a bearer of a source; for ``*`` hosts behind its routes, too, default routes excepted; and
    whoever has an address within ``source_prefixes``. With ``own`` no host behind it."""
    own = address is None or address in sender.bearer.addresses
    if own:
        return _carries(sender, rule.sources) or _within(address, rule.source_prefixes)
    behind = any(route.prefixlen and _contains(route, address) for route in sender.bearer.routes)
    return not rule.own and ((EVERYONE in rule.sources and behind) or _within(address, rule.source_prefixes))


def _destination(rule: PolicyRule, sender: Party, receiver: Party, address: Address | None) -> bool:
    """Own addresses of a bearer of a destination; and, at whoever is told of the rule, ``destination_prefixes``."""
    own = address is None or address in receiver.bearer.addresses
    if rule.own:
        return own and one_owner(sender, receiver)
    if own and _carries(receiver, rule.destinations):
        return True
    return _told(rule, receiver) and _within(address, rule.destination_prefixes)


def _within(address: Address | None, prefixes: Collection[str]) -> bool:
    return any(_contains(_network(prefix), address) for prefix in prefixes)


@lru_cache(maxsize=4096)
def _network(text: str) -> Prefix:
    return ip_network(text)


def _contains(prefix: Prefix, address: Address | None) -> bool:
    return address is not None and address.version == prefix.version and address in prefix
