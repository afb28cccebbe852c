"""The map's rules, compiled for one node: which of them apply to packets of which peer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from ghostwire.model import LabelSet, MapNode, NetworkMap, Rule
from ghostwire.node.packet import Packet


class Labels:
    """Who carries which label, by the map's sets."""

    def __init__(self) -> None:
        self._sets: dict[int, tuple[LabelSet, frozenset[int]]] = {}

    def update(self, sets: Mapping[int, LabelSet]) -> None:
        """Follow the map; only sets that are others than before are read."""
        held = self._sets
        self._sets = {
            id_: held[id_] if id_ in held and held[id_][0] is each else (each, frozenset(each.nodes))
            for id_, each in sets.items()
        }

    def carries(self, node: MapNode, labels: Iterable[int]) -> bool:
        """Whether the node carries one of the labels."""
        return any(self._carries(node, label) for label in labels)

    def are_everyones(self, labels: Iterable[int]) -> bool:
        """Whether every node carries one of the labels."""
        return any(label in self._sets and self._sets[label][0].everyone for label in labels)

    def _carries(self, node: MapNode, label: int) -> bool:
        if label not in self._sets:
            return False
        held, nodes = self._sets[label]
        return held.everyone or node.id in nodes


class Ruleset:
    """What a node lets in at its own addresses (raw bytes): what a rule allows. All else is denied.

    Which rules apply to a peer is found out at its first packet, so that a change of the map costs no look at every
    peer; it is made anew with each change.
    """

    def __init__(self, addresses: frozenset[bytes], rules: Sequence[Rule], labels: Labels, network: NetworkMap) -> None:
        self.addresses = addresses
        self._rules, self._labels, self._network = rules, labels, network
        self._by_peer: dict[int, tuple[Rule, ...]] = {}

    def allows(self, peer: int, packet: Packet) -> bool:
        """Whether a rule lets this packet of that peer in."""
        rules = self._by_peer.get(peer)
        if rules is None:
            rules = self._by_peer[peer] = self._of(peer)
        return any(_matches(rule, packet) for rule in rules)

    def _of(self, peer: int) -> tuple[Rule, ...]:
        node = self._network.nodes.get(peer)
        if node is None:
            return ()
        return tuple(rule for rule in self._rules if self._labels.carries(node, rule.sources))


def compile_rules(network: NetworkMap, own: MapNode, labels: Labels) -> Ruleset | None:
    """The rules that let peers in; None (admit everything) where one rule lets everyone do everything."""
    labels.update(network.sets)
    mine = [rule for rule in network.rules.values() if not network.own_labels.isdisjoint(rule.destinations)]
    if any(not rule.protocols and not rule.ports and labels.are_everyones(rule.sources) for rule in mine):
        return None
    return Ruleset(frozenset(ip_address(text).packed for text in own.addresses), mine, labels, network)


def _matches(rule: Rule, packet: Packet) -> bool:
    if rule.protocols and packet.protocol not in rule.protocols:
        return False
    if not rule.ports:
        return True
    return not packet.echo and packet.port is not None and any(low <= packet.port <= high for low, high in rule.ports)
