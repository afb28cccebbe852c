"""Which endpoints may be tried."""

from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from ghostwire.keys import DiscoKey
from ghostwire.model import Endpoint, NetworkMap
from ghostwire.node.candidates import MAX_CANDIDATES, Candidates


def udp(*texts: str) -> list[Endpoint]:
    return [Endpoint("udp", text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:41641",
        "127.9.9.9:41641",
        "[::1]:41641",
        "[::ffff:127.0.0.1]:41641",
        "0.0.0.0:41641",
        "[::]:41641",
        "224.0.0.1:41641",
        "[ff02::1]:41641",
        "255.255.255.255:41641",
        "240.0.0.1:41641",
        "169.254.1.1:41641",
        "[fe80::1]:41641",
        "100.64.0.7:41641",
        "[fd00:1:2::6440:7]:41641",
        "[::ffff:100.64.0.7]:41641",
        "nonsense",
        "x" * 300,
    ],
)
def test_endpoints_that_no_peer_can_live_at_are_refused(kit: Any, text: str) -> None:
    candidates = Candidates([kit.Transport()], NetworkMap(), "udp")
    candidates.avoid([ip_network("100.64.0.0/10"), ip_network("fd00:1:2::/48")])
    assert candidates.paths(udp(text)) == ()
    assert candidates.refused == 1


@pytest.mark.parametrize(
    "text", ["192.0.2.1:41641", "10.1.2.3:1", "[2001:db8::1]:9", "[fd00:9:9::1]:9", "region 7", "a.example:443"]
)
def test_other_endpoints_are_tried(kit: Any, text: str) -> None:
    candidates = Candidates([kit.Transport()], NetworkMap(), "udp")
    candidates.avoid([ip_network("100.64.0.0/10"), ip_network("fd00:1:2::/48")])
    assert [path.endpoint for path in candidates.paths(udp(text))] == [text]


def test_they_come_in_the_peers_order_once_each_and_transports_have_ranks(kit: Any) -> None:
    candidates = Candidates([kit.Transport("udp"), kit.Transport("quic")], NetworkMap(), "udp")
    found = candidates.paths([Endpoint("quic", "r"), *udp("192.0.2.2:1", "192.0.2.1:1", "192.0.2.2:1")])
    assert [path.endpoint for path in found] == ["r", "192.0.2.2:1", "192.0.2.1:1"]
    assert [candidates.rank(path.transport) for path in found] == [1, 0, 0]


def test_bare_addresses_go_over_the_transport_that_sends_to_them(kit: Any) -> None:
    candidates = Candidates([kit.Transport("udp"), kit.Transport("quic")], NetworkMap(), "udp")
    (path,) = candidates.bare(("192.0.2.2:1", "127.0.0.1:1"))
    assert (path.transport, path.endpoint) == ("udp", "192.0.2.2:1")


def test_a_peer_without_a_disco_key_is_plain_wireguard(kit: Any) -> None:
    network = NetworkMap()
    network.nodes[2] = kit.map_node(2)
    network.nodes[3] = msgspec.structs.replace(kit.map_node(3), disco_key=DiscoKey(bytes(32)))
    candidates = Candidates([kit.Transport()], network, "udp")
    assert [candidates.plain(peer) for peer in (2, 3)] == [False, True]


def test_endpoints_of_a_transport_that_is_not_there_are_left_out(kit: Any) -> None:
    assert Candidates([kit.Transport("udp")], NetworkMap(), "udp").paths([Endpoint("pigeon", "loft 3")]) == ()


def test_a_peer_with_many_endpoints_gets_thirty_two_candidates(kit: Any) -> None:
    texts = [f"192.0.2.{n}:41641" for n in range(1, 60)]
    assert len(Candidates([kit.Transport()], NetworkMap(), "udp").paths(udp(*texts, *texts))) == MAX_CANDIDATES == 32


def test_an_address_of_a_peers_own_is_refused_where_the_mesh_has_no_common_prefix(kit: Any) -> None:
    candidates = Candidates([kit.Transport()], NetworkMap(), "udp")
    candidates.avoid([ip_network("10.77.0.2"), ip_network("10.77.0.3"), ip_network("fd00:1:2::/48")])
    assert [path.endpoint for path in candidates.paths(udp("10.77.0.3:1", "10.77.0.4:1"))] == ["10.77.0.4:1"]
    assert candidates.refused == 1
