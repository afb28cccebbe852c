"""The plain evaluation of a policy, by which all else is judged."""

from ipaddress import ip_address, ip_network

import pytest

from ghostwire.capabilities.policy import Bearer, Person
from ghostwire.server.policy.open import AllowAll, DenyAll
from ghostwire.server.policy.verdict import Flow, admitting, leads, party, sees, sees_route

ADA, BOB = Person("ada"), Person("bob")
TCP, UDP, ICMP, ICMP6, ESP = 6, 17, 1, 58, 50


def bearer(number, owner=ADA, *tags, routes=()):
    addresses = (ip_address(f"100.64.0.{number}"), ip_address(f"fd00::{number:x}"))
    return Bearer(addresses, owner, tags, tuple(map(ip_network, routes)))


LAPTOP, PHONE, DESK = bearer(2), bearer(3), bearer(4, BOB)
WEB = bearer(5, ADA, "tag:web")
GATE = bearer(6, BOB, routes=("10.1.0.0/16", "0.0.0.0/0", "::/0"))


def admits(words, text, sender, receiver, flow):
    """The lines of the rules that admit a flow; ``flow`` as (protocol, port, source, destination)."""
    policy = words().compile(text)
    protocol, port, *ends = flow
    ends = [ip_address(end) if end else None for end in (*ends, None, None)[:2]]
    parties = party(policy, sender), party(policy, receiver)
    return [rule.line for rule in admitting(policy, *parties, Flow(protocol, port, *ends))]


@pytest.mark.parametrize(
    ("flow", "lines"),
    [
        ((TCP, 22), [1]),
        ((TCP, 23), []),
        ((TCP, 8000), [2]),
        ((TCP, 8999), [2]),
        ((TCP, 9000), []),
        ((UDP, 22), []),
        ((UDP, 53), [3]),
        ((ICMP, 0), [3, 4]),
        ((ICMP6, 0), [3, 4]),
        ((ESP, 0), []),
    ],
    ids=str,
)
def test_a_flow_is_let_in_by_protocol_and_port_and_icmp_by_protocol_alone(words, flow, lines):
    text = "ada > bob tcp 22\nada > bob tcp 8000-8999\nada > bob any 53\nada > bob icmp 7"
    assert admits(words, text, LAPTOP, DESK, flow) == lines


@pytest.mark.parametrize(
    ("sender", "receiver", "admitted"),
    [(LAPTOP, DESK, True), (PHONE, DESK, True), (WEB, DESK, False), (DESK, LAPTOP, False), (LAPTOP, PHONE, False)],
    ids=["to bob", "of all her nodes", "not of a tagged one", "not back", "not among themselves"],
)
def test_a_rule_leads_from_bearers_of_its_sources_to_bearers_of_its_destinations(words, sender, receiver, admitted):
    assert bool(admits(words, "ada > bob", sender, receiver, (TCP, 22))) == admitted


@pytest.mark.parametrize(
    ("sender", "receiver", "admitted"),
    [(LAPTOP, PHONE, True), (LAPTOP, DESK, False), (LAPTOP, WEB, False), (WEB, LAPTOP, False), (DESK, GATE, True)],
    ids=["hers", "another's", "to a tagged one", "from a tagged one", "his"],
)
def test_own_rules_lead_among_one_users_untagged_nodes(words, sender, receiver, admitted):
    assert bool(admits(words, "* > own", sender, receiver, (TCP, 22))) == admitted


def test_own_rules_are_for_whom_they_name_and_lead_to_no_host_behind(words):
    assert admits(words, "ada > own", DESK, GATE, (TCP, 22)) == []
    assert admits(words, "bob > own", DESK, GATE, (TCP, 22)) == [1]
    assert admits(words, "bob > own", DESK, GATE, (TCP, 22, None, "10.1.2.3")) == []
    assert admits(words, "bob > own", GATE, DESK, (TCP, 22, "10.1.2.3")) == []


@pytest.mark.parametrize(
    ("source", "admitted"), [("100.64.0.6", True), ("10.1.2.3", True), ("8.8.8.8", False)], ids=str
)
def test_everyone_is_the_mesh_and_what_is_behind_routes_but_not_the_internet(words, source, admitted):
    assert bool(admits(words, "* > ada", GATE, LAPTOP, (TCP, 22, source))) == admitted


def test_a_host_behind_a_node_is_not_the_node(words):
    assert admits(words, "bob > ada", GATE, LAPTOP, (TCP, 22, "10.1.2.3")) == []
    assert admits(words, "ada > bob", LAPTOP, GATE, (TCP, 22, None, "10.1.2.3")) == []


def test_source_prefixes_match_whoever_has_the_address(words):
    text = "10.1.0.0/16,100.64.0.4/32 > ada"
    assert admits(words, text, GATE, LAPTOP, (TCP, 22, "10.1.2.3")) == [1]
    assert admits(words, text, GATE, LAPTOP, (TCP, 22, "10.2.2.3")) == []
    assert admits(words, text, GATE, LAPTOP, (TCP, 22, "100.64.0.6")) == []
    assert admits(words, text, DESK, LAPTOP, (TCP, 22, "100.64.0.4")) == [1]
    assert admits(words, text, DESK, LAPTOP, (TCP, 22, "fd00::4")) == []


def test_destination_prefixes_match_at_those_who_hold_them(words):
    text = "ada > 10.1.0.0/16 tcp 22"
    assert admits(words, text, LAPTOP, GATE, (TCP, 22, None, "10.1.2.3")) == [1]
    assert admits(words, text, LAPTOP, GATE, (TCP, 22, None, "10.2.2.3")) == []
    assert admits(words, text, LAPTOP, GATE, (TCP, 22, None, "100.64.0.6")) == []
    assert admits(words, text, LAPTOP, PHONE, (TCP, 22, None, "10.1.2.3")) == []


def test_everyone_as_a_destination_is_also_what_lies_behind(words):
    assert admits(words, "ada > *", LAPTOP, GATE, (TCP, 22, None, "8.8.8.8")) == [1]


def test_core_s_own_policies_admit_all_or_nothing():
    for policy, many in ((AllowAll(), 1), (DenyAll(), 0)):
        one, other = party(policy, LAPTOP), party(policy, GATE)
        flow = Flow(TCP, 22, LAPTOP.addresses[0], ip_address("10.1.2.3"))
        assert len(list(admitting(policy, one, other, flow))) == many
        assert sees(policy, one, other) == bool(many)


def test_nodes_see_each_other_where_a_rule_leads_either_way(words):
    policy = words().compile("ada > bob tcp 22\n* > own")
    laptop, phone, desk, web = (party(policy, each) for each in (LAPTOP, PHONE, DESK, WEB))
    assert leads(policy.rules[0], laptop, desk)
    assert not leads(policy.rules[0], desk, laptop)
    assert sees(policy, laptop, desk)
    assert sees(policy, desk, laptop)
    assert sees(policy, laptop, phone)
    assert not sees(policy, desk, web)
    assert not sees(policy, web, laptop)
    assert sees(policy, web, web)


def test_who_holds_a_prefix_is_seen_for_its_sake(words):
    policy = words().compile("ada > 10.1.0.0/16")
    assert sees(policy, party(policy, LAPTOP), party(policy, GATE))
    assert not sees(policy, party(policy, LAPTOP), party(policy, DESK))


@pytest.mark.parametrize(
    ("text", "viewer", "seen"),
    [
        ("ada > 10.1.0.0/16", LAPTOP, {"10.1.0.0/16", "0.0.0.0/0"}),
        ("ada > 10.1.0.0/16", DESK, set()),
        ("10.1.0.0/16 > ada", LAPTOP, {"10.1.0.0/16"}),
        ("ada > *", LAPTOP, {"10.1.0.0/16", "0.0.0.0/0", "::/0"}),
        ("* > ada", LAPTOP, {"10.1.0.0/16"}),
        ("ada > bob", LAPTOP, set()),
        ("ada > bob", GATE, {"10.1.0.0/16", "0.0.0.0/0", "::/0"}),
    ],
    ids=["led there", "not led", "led from there", "all, out", "all, in", "only the router", "itself"],
)
def test_a_route_is_seen_by_who_is_led_to_it_and_default_routes_only_outwards(words, text, viewer, seen):
    policy = words().compile(text)
    one, gate = party(policy, viewer), party(policy, GATE)
    assert {str(route) for route in GATE.routes if sees_route(policy, one, gate, route)} == seen
