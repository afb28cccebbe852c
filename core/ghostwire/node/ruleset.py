"""The map's rules as they concern this node: what may come in from whom, found out per peer when it first sends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ghostwire.model import LabelSet, MapChange, MapNode, NetworkMap, Rule
from ghostwire.node.packet import PORTLESS, Packet
from ghostwire.node.prefixes import NONE, Prefixes, read
from ghostwire.wire.prefixes import is_default

Pairs = Iterable[tuple[int, int]]


class Labels:
    """Who carries which label, by the map's sets; one that changes is not read anew."""

    def __init__(self) -> None:
        self._sets: Mapping[int, LabelSet] = {}
        self._nodes: dict[int, set[int]] = {}

    def follow(self, network: NetworkMap, change: MapChange | None) -> None:
        """The map changed so (None: all of it may be new)."""
        self._sets = network.sets
        if change is None or change.full:
            self._nodes = {}
            return
        for id_ in (*(each.id for each in change.sets), *change.removed_sets):
            self._nodes.pop(id_, None)
        for held in self._nodes.values() if change.removed_nodes else ():
            held.difference_update(change.removed_nodes)
        for each in change.set_changes:
            nodes = self._nodes.get(each.id, set())
            nodes |= set(each.added)
            nodes -= set(each.removed)

    def are_everyones(self, labels: Iterable[int]) -> bool:
        """Whether every node carries one of the labels."""
        return any(label in self._sets and self._sets[label].everyone for label in labels)

    def bearers(self, label: int) -> set[int]:
        """The nodes that a set names."""
        if label not in self._sets:
            return set()
        nodes = self._nodes.get(label)
        if nodes is None:
            nodes = self._nodes[label] = set(self._sets[label].nodes)
        return nodes


@dataclass(frozen=True, slots=True)
class LocalRule:
    """A rule as it concerns this node: the ``destinations`` that it opens here. ``everyone``: one of its source sets
    is everyone's."""

    rule: Rule
    everyone: bool
    source_prefixes: Prefixes
    destinations: Prefixes


@dataclass(frozen=True, slots=True)
class Access:
    """Packets that one peer may send. Empty ``protocols`` and ``ports`` None mean any."""

    sources: Prefixes
    destinations: Prefixes
    protocols: frozenset[int]
    ports: Ports | None

    def holds(self, packet: Packet) -> bool:
        """Whether this is one."""
        if self.protocols and packet.protocol not in self.protocols:
            return False
        if self.ports is not None and packet.protocol not in PORTLESS and packet.port not in self.ports:
            return False
        return packet.source in self.sources and packet.destination in self.destinations


class Ports:
    """Ranges of ports, merged."""

    def __init__(self, ranges: Pairs) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            elif first <= last:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, port: int | None) -> bool:
        at = -1 if port is None else bisect_right(self._firsts, port) - 1
        return at >= 0 and port is not None and port <= self._lasts[at]


class Ruleset:
    """What a rule lets in; all else is denied. `update` follows the map, before which nothing is let in.

    A peer's sources are its own addresses and the hosts behind its routes, but for default ones: what an exit node
    passes on comes from anywhere, and is let in as an answer alone. ``local`` is what packets may be for: this node's
    addresses and its own routes, as the map has them.
    """

    def __init__(self) -> None:
        self.local = self.addresses = NONE
        self.labels = Labels()
        self.rules: Sequence[LocalRule] = ()
        self._network = NetworkMap()
        self._own: MapNode | None = None
        self._spans: dict[int, Prefixes] = {}
        self._routes: dict[int, Prefixes] = {}
        self._by_peer: dict[int, Sequence[Access]] = {}

    def update(self, network: NetworkMap, own: MapNode, change: MapChange | None) -> Iterable[int] | None:
        """Follow the map; the peers to whom it may make a difference, None for all of them."""
        self.labels.follow(network, change)
        if change is None or network is not self._network or _concerns_all(change) or _differs(own, self._own):
            self._network, self._own = network, own
            self._compile(own)
            return None
        changed = {*change.removed_nodes, *(node.id for node in change.nodes)}
        changed.update(id_ for each in change.set_changes for id_ in (*each.added, *each.removed))
        for peer in changed:
            self._by_peer.pop(peer, None)
        return changed

    @property
    def admits_all(self) -> bool:
        """Whether one rule lets everyone do everything at this node's addresses."""
        return any(
            each.everyone
            and not (each.rule.protocols or each.rule.ports or each.rule.own)
            and all(map(each.destinations.covers, self.addresses))
            for each in self.rules
        )

    def knows(self, peer: int) -> bool:
        """Whether the map has this peer."""
        return peer in self._network.nodes

    def allows(self, peer: int, packet: Packet) -> bool:
        """Whether a rule lets this packet of that peer in."""
        accesses = self._by_peer.get(peer)
        if accesses is None:
            accesses = self._by_peer[peer] = self._accesses(peer)
        return any(each.holds(packet) for each in accesses)

    def leads(self, peer: int, address: bytes) -> bool:
        """Whether packets to that address may go by way of the peer: its own, and those its routes lead to."""
        node = self._network.nodes.get(peer)
        return node is not None and (address in read(node.addresses) or address in self._spans.get(peer, NONE))

    def routes(self, router: int) -> Prefixes:
        """A node's routes, but for default ones."""
        return self._routes.get(router, NONE)

    def mates(self, node: MapNode) -> bool:
        """Whether ``own`` rules hold between that node and this one."""
        own = self._own
        return own is not None and node.user == own.user and not node.tags and not own.tags

    def peers(self) -> Iterable[MapNode]:
        """Every node of the map but this one."""
        own = self._own.id if self._own is not None else 0
        return (node for node in self._network.nodes.values() if node.id != own)

    def _compile(self, own: MapNode) -> None:
        network, by_router = self._network, dict[int, list[str]]()
        for route in network.routes.values():
            by_router.setdefault(route.router, []).append(route.prefix)
        spans = self._spans = {router: read(texts) for router, texts in by_router.items()}
        self._routes = {id_: Prefixes(each for each in held if not is_default(each)) for id_, held in spans.items()}
        self.addresses = read(own.addresses)
        self.local = self.addresses | spans.get(own.id, NONE)
        self._by_peer = {}
        rules = (self._localized(rule) for rule in network.rules.values())
        self.rules = [each for each in rules if each.destinations]

    def _localized(self, rule: Rule) -> LocalRule:
        meant = rule.own or not self._network.own_labels.isdisjoint(rule.destinations)
        destinations = self.addresses if meant else NONE
        if rule.destination_prefixes and not rule.own:
            destinations |= self.local & read(rule.destination_prefixes)
        return LocalRule(rule, self.labels.are_everyones(rule.sources), read(rule.source_prefixes), destinations)

    def _accesses(self, peer: int) -> Sequence[Access]:
        node = self._network.nodes.get(peer)
        if node is None or self._own is None or peer == self._own.id:
            return ()
        merged: dict[tuple[Prefixes, Prefixes, frozenset[int]], list[Rule]] = {}
        addresses, routes = read(node.addresses), self.routes(peer)
        for each in self.rules:
            if each.rule.own and not self.mates(node):
                continue
            sources = self._sources(each, peer, addresses, NONE if each.rule.own else routes)
            if sources:
                merged.setdefault((sources, each.destinations, frozenset(each.rule.protocols)), []).append(each.rule)
        return [Access(*clause, _ports(rules)) for clause, rules in merged.items()]

    def _sources(self, each: LocalRule, peer: int, addresses: Prefixes, routes: Prefixes) -> Prefixes:
        """Which of a peer's addresses, and of those behind its routes, a rule means."""
        if each.everyone:
            return addresses | routes
        named = any(peer in self.labels.bearers(label) for label in each.rule.sources)
        sources = addresses if named else NONE
        if each.source_prefixes:
            sources |= each.source_prefixes & (addresses | routes)
        return sources


def _ports(rules: Sequence[Rule]) -> Ports | None:
    """All that they open together."""
    if any(not rule.ports for rule in rules):
        return None
    return Ports(pair for rule in rules for pair in rule.ports)


def _concerns_all(change: MapChange) -> bool:
    rules = change.rules or change.removed_rules or change.sets or change.removed_sets
    routes = change.routes or change.removed_routes
    return bool(change.full or change.own_labels is not None or rules or routes)


def _differs(one: MapNode, other: MapNode | None) -> bool:
    return other is None or (one.addresses, one.tags, one.user) != (other.addresses, other.tags, other.user)
