"""The map's rules, compiled for one node: which of them apply to packets of which peer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from ghostwire.model import MapNode, NetworkMap, Rule
from ghostwire.node.packet import Packet


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What a node lets in: for its own addresses (raw bytes), by peer, the rules that apply. All else is denied."""

    addresses: frozenset[bytes]
    by_peer: Mapping[int, tuple[Rule, ...]]

    def allows(self, peer: int, packet: Packet) -> bool:
        """Whether a rule lets this packet of that peer in."""
        return any(_matches(rule, packet) for rule in self.by_peer.get(peer, ()))


class _Labels:
    """Who carries which label: by the map's sets, and by a node's own labels where the map holds no set."""

    def __init__(self, network: NetworkMap) -> None:
        self.everyone = frozenset(held.id for held in network.sets.values() if held.everyone)
        self._nodes = {held.id: frozenset(held.nodes) for held in network.sets.values()}

    def carries(self, node: MapNode, labels: Iterable[int]) -> bool:
        """Whether the node carries one of the labels."""
        return any(self._carries(node, label) for label in labels)

    def _carries(self, node: MapNode, label: int) -> bool:
        nodes = self._nodes.get(label)
        return label in node.labels if nodes is None else label in self.everyone or node.id in nodes


def compile_rules(network: NetworkMap, own: MapNode) -> Ruleset | None:
    """The rules that let peers in; None (admit everything) where one rule lets everyone do everything."""
    labels = _Labels(network)
    mine = [rule for rule in network.rules.values() if labels.carries(own, rule.destinations)]
    if any(not rule.protocols and not rule.ports and labels.everyone.intersection(rule.sources) for rule in mine):
        return None
    by_peer = {
        peer.id: tuple(rule for rule in mine if labels.carries(peer, rule.sources)) for peer in network.nodes.values()
    }
    return Ruleset(frozenset(ip_address(text).packed for text in own.addresses), by_peer)


def _matches(rule: Rule, packet: Packet) -> bool:
    if rule.protocols and packet.protocol not in rule.protocols:
        return False
    if not rule.ports:
        return True
    return not packet.echo and packet.port is not None and any(low <= packet.port <= high for low, high in rule.ports)
