"""Which endpoints may be tried."""

from ipaddress import ip_network
from typing import Any

import pytest

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
    candidates = Candidates([kit.Transport()], NetworkMap())
    candidates.avoid([ip_network("100.64.0.0/10"), ip_network("fd00:1:2::/48")])
    assert candidates.paths(2, udp(text)) == ()
    assert candidates.refused == 1


@pytest.mark.parametrize(
    "text", ["192.0.2.1:41641", "10.1.2.3:1", "[2001:db8::1]:9", "[fd00:9:9::1]:9", "region 7", "a.example:443"]
)
def test_other_endpoints_are_tried(kit: Any, text: str) -> None:
    candidates = Candidates([kit.Transport()], NetworkMap())
    candidates.avoid([ip_network("100.64.0.0/10"), ip_network("fd00:1:2::/48")])
    assert [path.endpoint for path in candidates.paths(2, udp(text))] == [text]


def test_the_last_good_path_comes_first_then_rank_then_the_peers_order(kit: Any) -> None:
    candidates = Candidates([kit.Transport("udp"), kit.Transport("relay")], NetworkMap())
    found = candidates.paths(2, [Endpoint("relay", "r"), *udp("192.0.2.2:1", "192.0.2.1:1")], kit.Path("192.0.2.1:1"))
    assert [path.endpoint for path in found] == ["192.0.2.1:1", "192.0.2.2:1", "r"]


def test_endpoints_of_a_transport_that_is_not_there_are_left_out(kit: Any) -> None:
    assert Candidates([kit.Transport("udp")], NetworkMap()).paths(2, [Endpoint("pigeon", "loft 3")]) == ()


def test_a_peer_with_many_endpoints_gets_sixteen_candidates(kit: Any) -> None:
    texts = [f"192.0.2.{n}:41641" for n in range(1, 60)]
    assert len(Candidates([kit.Transport()], NetworkMap()).paths(2, udp(*texts, *texts))) == MAX_CANDIDATES == 16


def test_an_address_of_a_peers_own_is_refused_where_the_mesh_has_no_common_prefix(kit: Any) -> None:
    candidates = Candidates([kit.Transport()], NetworkMap())
    candidates.avoid([ip_network("10.77.0.2"), ip_network("10.77.0.3"), ip_network("fd00:1:2::/48")])
    assert [path.endpoint for path in candidates.paths(2, udp("10.77.0.3:1", "10.77.0.4:1"))] == ["10.77.0.4:1"]
    assert candidates.refused == 1
