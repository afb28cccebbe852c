"""From the map to tunnel peers and network configuration."""

from ipaddress import ip_network
from typing import Any

from ghostwire import NetworkConfig, TunnelPeer
from ghostwire.model import Cursor, MapChange
from ghostwire.node.reconciler import Peers, mesh_prefixes, network_config


def whole(*nodes: Any) -> MapChange:
    return MapChange(cursor=Cursor(1, b"m"), full=True, nodes=nodes)


def delta(*nodes: Any, removed: tuple[int, ...] = ()) -> MapChange:
    return MapChange(cursor=Cursor(2, b"m"), nodes=nodes, removed_nodes=removed)


def test_every_node_but_this_one_becomes_a_peer_with_its_addresses(kit: Any) -> None:
    peers = Peers()
    assert peers.update(whole(kit.map_node(1), kit.map_node(2)), 1) == (True, set())
    allowed = (ip_network("100.64.0.2/32"), ip_network("fd00:1:2::6440:2/128"))
    assert list(peers.all()) == [TunnelPeer(2, kit.map_node(2).node_key, allowed)]


def test_an_unchanged_map_changes_nothing_though_it_was_sent_anew(kit: Any) -> None:
    peers = Peers()
    peers.update(whole(kit.map_node(1), kit.map_node(2)), 1)
    before = list(peers.all())
    assert peers.update(whole(kit.map_node(1), kit.map_node(2)), 1) == (False, set())
    assert next(iter(peers.all())) is before[0]


def test_what_is_nothing_to_a_tunnel_changes_no_peer(kit: Any) -> None:
    peers = Peers()
    peers.update(whole(kit.map_node(2)), 1)
    assert peers.update(delta(kit.map_node(2, name="renamed", home=5)), 1) == (False, set())


def test_a_peer_that_comes_goes_or_changes_is_a_change(kit: Any) -> None:
    peers = Peers()
    peers.update(whole(kit.map_node(2)), 1)
    assert peers.update(delta(kit.map_node(3)), 1) == (True, set())
    assert peers.update(delta(removed=(2, 77)), 1) == (False, {2})
    assert peers.update(delta(kit.map_node(3, addresses=("100.64.0.9",))), 1) == (True, set())
    assert [peer.allowed_ips for peer in peers.all()] == [(ip_network("100.64.0.9/32"),)]
    assert peers.update(whole(kit.map_node(4)), 1) == (True, {3})


def test_a_peer_with_malformed_addresses_costs_only_itself(kit: Any) -> None:
    peers = Peers()
    peers.update(whole(kit.map_node(2, addresses=("100.64.0.2.2",)), kit.map_node(3)), 1)
    assert [peer.id for peer in peers.all()] == [3]
    assert peers.unusable == 1
    assert peers.update(delta(kit.map_node(3, addresses=("nonsense",))), 1) == (False, {3})
    assert peers.unusable == 2


def test_one_route_of_each_family_serves_the_whole_mesh(kit: Any) -> None:
    nodes, peers = [kit.map_node(id_) for id_ in range(1, 200)], Peers()
    peers.update(whole(*nodes), 1)
    mesh = mesh_prefixes(nodes[0], peers.addresses())
    assert network_config(nodes[0], mesh, "gw0", 1280) == NetworkConfig(
        "gw0", 1280, ("100.64.0.1/32", "fd00:1:2::6440:1/128"), ("100.64.0.0/10", "fd00:1:2::/48")
    )


def test_a_mesh_with_addresses_of_its_own_gets_a_route_for_each_peer(kit: Any) -> None:
    own, other = kit.map_node(1, addresses=("10.77.0.1",)), kit.map_node(2, addresses=("10.77.0.2", "fd00::2"))
    peers = Peers()
    peers.update(whole(own, other), 1)
    assert mesh_prefixes(own, peers.addresses()) == (ip_network("10.77.0.2/32"),)
