"""From the network map to what the tunnel and the operating system should have; what is equal is touched no more."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from ghostwire import NetworkConfig, TunnelPeer
from ghostwire.capabilities.tunnel import Prefix
from ghostwire.model import MapNode, NetworkMap

SHARED = IPv4Network("100.64.0.0/10")
"""RFC 6598's prefix, where meshes have their IPv4 addresses."""
SITE = 48
"""The length of the IPv6 prefix that belongs to one mesh."""


class Peers:
    """The tunnel peers that a map asks for; an unchanged node keeps its record."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[MapNode, TunnelPeer]] = {}
        self.unusable = 0

    def update(self, network: NetworkMap, own: int) -> bool:
        """Follow the map; whether any peer changed. A node with malformed addresses is left out and counted."""
        made = {
            node.id: self._made[node.id] if self._is_made(node) else (node, tunnel_peer(node))
            for node in network.nodes.values()
            if node.id != own and self._usable(node)
        }
        changed = made.keys() != self._made.keys() or any(made[id_] is not self._made[id_] for id_ in made)
        self._made = made
        return changed

    def all(self) -> tuple[TunnelPeer, ...]:
        """Every peer."""
        return tuple(peer for _, peer in self._made.values())

    def _is_made(self, node: MapNode) -> bool:
        held = self._made.get(node.id)
        return held is not None and (held[0] is node or held[0] == node)

    def _usable(self, node: MapNode) -> bool:
        if self._is_made(node) or prefixes(node) is not None:
            return True
        self.unusable += 1
        return False


def prefixes(node: MapNode) -> tuple[Prefix, ...] | None:
    """A node's addresses as prefixes of one address each; None where one is malformed."""
    try:
        return tuple(ip_network(address) for address in node.addresses)
    except ValueError:
        return None


def tunnel_peer(node: MapNode) -> TunnelPeer:
    """The tunnel's peer for a node of the map."""
    return TunnelPeer(node.id, node.node_key, prefixes(node) or ())


def mesh_prefixes(own: MapNode, others: Iterable[MapNode] = ()) -> tuple[Prefix, ...]:
    """The prefixes that lead into the mesh.

    The own address's mesh prefix stands for all peers of its family, so that a peer who comes costs no route; where
    the operator chose other IPv4 addresses, whose prefix a node is not told, each peer has its own.
    """
    found: dict[Prefix, None] = {}
    for prefix in prefixes(own) or ():
        if isinstance(prefix, IPv6Network):
            found[prefix.supernet(new_prefix=SITE)] = None
        elif prefix.subnet_of(SHARED):
            found[SHARED] = None
        else:
            held = (each for node in others for each in prefixes(node) or () if each.version == 4)
            found.update(dict.fromkeys(held))
    return tuple(found)


def network_config(own: MapNode, network: NetworkMap, interface: str, mtu: int) -> NetworkConfig:
    """What the operating system should have."""
    addresses = tuple(str(prefix) for prefix in prefixes(own) or ())
    others = (node for node in network.nodes.values() if node.id != own.id)
    return NetworkConfig(interface, mtu, addresses, tuple(str(each) for each in mesh_prefixes(own, others)))
