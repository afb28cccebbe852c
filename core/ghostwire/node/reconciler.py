"""From the network map to what the tunnel and the operating system should have; what is equal is touched no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from ghostwire import NetworkConfig, TunnelPeer
from ghostwire.capabilities.tunnel import Prefix
from ghostwire.model import MapChange, MapNode

SHARED = IPv4Network("100.64.0.0/10")
"""RFC 6598's prefix, where meshes have their IPv4 addresses."""
SITE = 48
"""The length of the IPv6 prefix that belongs to one mesh."""


class Peers:
    """The tunnel peers that a map asks for; an unchanged one keeps its record."""

    def __init__(self) -> None:
        self._made: dict[int, TunnelPeer] = {}
        self.unusable = 0

    def update(self, change: MapChange, own: int) -> tuple[bool, Collection[int]]:
        """Follow the map: whether any peer came or changed, and those that are no more.

        A node with malformed addresses is left out and counted.
        """
        came = False
        gone = self._gone(change)
        for node in change.nodes:
            if node.id == own:
                continue
            peer = tunnel_peer(node)
            if peer is None:
                self.unusable += 1
                gone |= {node.id} & self._made.keys()
            elif peer != self._made.get(node.id):
                self._made[node.id] = peer
                came = True
        for id_ in gone:
            del self._made[id_]
        return came, gone

    def all(self) -> Collection[TunnelPeer]:
        """Every peer."""
        return self._made.values()

    def _gone(self, change: MapChange) -> set[int]:
        if change.full:
            return self._made.keys() - {node.id for node in change.nodes}
        return self._made.keys() & set(change.removed_nodes)


def prefixes(node: MapNode) -> tuple[Prefix, ...] | None:
    """A node's addresses as prefixes of one address each; None where one is malformed."""
    try:
        return tuple(ip_network(address) for address in node.addresses)
    except ValueError:
        return None


def tunnel_peer(node: MapNode) -> TunnelPeer | None:
    """The tunnel's peer for a node of the map; None where its addresses are malformed."""
    allowed = prefixes(node)
    return TunnelPeer(node.id, node.node_key, allowed) if allowed is not None else None


def mesh_prefixes(own: MapNode, peers: Iterable[TunnelPeer] = ()) -> tuple[Prefix, ...]:
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
            found.update(dict.fromkeys(each for peer in peers for each in peer.allowed_ips if each.version == 4))
    return tuple(found)


def network_config(own: MapNode, peers: Iterable[TunnelPeer], interface: str, mtu: int) -> NetworkConfig:
    """What the operating system should have."""
    addresses = tuple(str(prefix) for prefix in prefixes(own) or ())
    return NetworkConfig(interface, mtu, addresses, tuple(str(each) for each in mesh_prefixes(own, peers)))
