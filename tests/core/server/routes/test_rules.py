"""What no node may route: the mesh, nobody's addresses, and where the server and relays are."""

import pytest

from ghostwire.model import Relay
from ghostwire.server.routes.rules import Rules
from ghostwire.wire.prefixes import parse_prefix

RELAY = {"region": 900, "region_name": "north"}
RELAYS = (
    Relay(id=1, name="north-1", host="203.0.113.7", **RELAY),
    Relay(id=2, name="north-2", host="relay.example.com", ipv4="198.51.100.9", ipv6="2001:db8:5::9", **RELAY),
    Relay(id=3, name="north-3", host="2001:db8:6::1", ipv4="none", **RELAY),
)
MESH = tuple(map(parse_prefix, ("100.64.0.0/16", "fd12:3456:789a::/48")))
RULES = Rules(MESH, "https://192.0.2.10:8080", RELAYS)


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("100.64.5.0/24", "100.64.0.0/16 belongs to the mesh"),
        ("100.64.0.1", "100.64.0.0/16 belongs to the mesh"),
        ("100.64.0.0/10", "100.64.0.0/16 belongs to the mesh"),
        ("100.0.0.0/8", "100.64.0.0/16 belongs to the mesh"),
        ("100.100.100.100/32", "100.100.0.0/16 belongs to the mesh"),
        ("fd12:3456:789a:1::/64", "fd12:3456:789a::/48 belongs to the mesh"),
        ("fd12::/16", "fd12:3456:789a::/48 belongs to the mesh"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::/64", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("128.0.0.0/1", "not routed"),
        ("0.0.0.0/1", "not routed"),
        ("192.0.0.0/3", "for exit nodes alone"),
        ("64.0.0.0/3", "for exit nodes alone"),
        ("128.0.0.0/2", "not routed"),
        ("fd00::/8", "for exit nodes alone"),
        ("2000::/3", "for exit nodes alone"),
        ("2000::/15", "for exit nodes alone"),
        ("::/96", "not routed"),
        ("2600::/12", "for exit nodes alone"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::ffff:10.0.0.0/104", "IPv4-mapped"),
        ("203.0.113.0/24", "203.0.113.7, where the relay north-1 is"),
        ("198.51.100.9/32", "198.51.100.9, where the relay north-2 is"),
        ("2001:db8:5::/64", "where the relay north-2 is"),
        ("2001:db8:6::/48", "where the relay north-3 is"),
        ("192.0.2.0/24", "192.0.2.10, where nodes find the server"),
    ],
)
def test_what_the_mesh_needs_is_refused_with_the_reason(prefix, words):
    assert words in RULES.refusal(parse_prefix(prefix))


@pytest.mark.parametrize(
    "prefix",
    [
        "10.0.0.0/8",
        "192.168.1.0/24",
        "100.65.0.0/16",
        "198.51.100.0/29",
        "192.0.2.128/25",
        "fd13::/48",
        "2000::/16",
        "8.0.0.0/8",
    ],
)
def test_all_else_may_be_routed(prefix):
    assert RULES.refusal(parse_prefix(prefix)) == ""


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "::/0"])
def test_an_exit_node_may_offer_everything(prefix):
    assert RULES.refusal(parse_prefix(prefix)) == ""
