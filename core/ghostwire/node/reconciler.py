"""From the network map to what the tunnel and the operating system should have; what is equal is touched no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Protocol

from ghostwire import NetworkConfig, TunnelPeer
from ghostwire.capabilities.tunnel import Prefix
from ghostwire.model import MapChange, MapNode

SHARED = IPv4Network("100.64.0.0/10")
"""RFC 6598's prefix, where meshes have their IPv4 addresses."""
SITE = 48
"""The length of the IPv6 prefix that belongs to one mesh."""


class Routes(Protocol):
    """Which prefixes beyond the mesh go through a peer (see `ghostwire.node.routing`)."""

    def allowed(self, peer: int) -> tuple[Prefix, ...]:
        """Those that go through it."""

    def accepts(self, peer: int) -> tuple[Prefix, ...]:
        """Those from which its packets are taken, too."""


class Peers:
    """The tunnel peers that a map asks for; an unchanged one keeps its record."""

    def __init__(self, routes: Routes | None = None) -> None:
        self._routes = routes
        self._made: dict[int, TunnelPeer] = {}
        self._addresses: dict[int, tuple[Prefix, ...]] = {}
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
            addresses = prefixes(node)
            if addresses is None:
                self.unusable += 1
                gone |= {node.id} & self._made.keys()
                continue
            self._addresses[node.id] = addresses
            came |= self._make(node)
        for id_ in gone:
            del self._made[id_], self._addresses[id_]
        return came, gone

    def reroute(self, peers: Iterable[int], nodes: Mapping[int, MapNode]) -> bool:
        """Other prefixes go through these peers; whether that changed any."""
        changed = [self._make(nodes[id_]) for id_ in peers if id_ in self._made and id_ in nodes]
        return any(changed)

    def all(self) -> Collection[TunnelPeer]:
        """Every peer."""
        return self._made.values()

    def addresses(self) -> Iterable[Prefix]:
        """The addresses of all, one by one."""
        return (prefix for each in self._addresses.values() for prefix in each)

    def _make(self, node: MapNode) -> bool:
        """Whether the peer is another now."""
        own, routes = self._addresses[node.id], self._routes
        allowed, accepts = ((), ()) if routes is None else (routes.allowed(node.id), routes.accepts(node.id))
        peer = TunnelPeer(node.id, node.node_key, own + allowed, accepts=accepts)
        if peer == self._made.get(node.id):
            return False
        self._made[node.id] = peer
        return True

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


def mesh_prefixes(own: MapNode, addresses: Iterable[Prefix] = ()) -> tuple[Prefix, ...]:
    """The prefixes that lead into the mesh.

    The own address's mesh prefix stands for all peers of its family, so that a peer who comes costs no route; where
    the operator chose other IPv4 addresses, whose prefix a node is not told, each of the peers' ``addresses`` does.
    """
    found: dict[Prefix, None] = {}
    for prefix in prefixes(own) or ():
        if isinstance(prefix, IPv6Network):
            found[prefix.supernet(new_prefix=SITE)] = None
        elif prefix.subnet_of(SHARED):
            found[SHARED] = None
        else:
            found.update(dict.fromkeys(each for each in addresses if each.version == 4))
    return tuple(found)


def network_config(own: MapNode, mesh: Iterable[Prefix], interface: str, mtu: int) -> NetworkConfig:
    """What the operating system should have for the mesh itself."""
    addresses = tuple(str(prefix) for prefix in prefixes(own) or ())
    return NetworkConfig(interface, mtu, addresses, tuple(map(str, mesh)))
