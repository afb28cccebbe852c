"""Who carries which selectors, and what a policy says of routes, tags and features."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire import Bearer, Person
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.prefixes import INTERNET, PrefixIndex

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Compile = Callable[..., AclPolicy]
Make = Callable[..., Bearer]

OIDC = "https://login.company.com"


def policy(*sources: str, **sections: Any) -> dict[str, Any]:
    """Whose sources are these."""
    rule = {"action": "accept", "src": list(sources), "dst": ["tag:web:443"]}
    return {"tagOwners": {"tag:web": [], "tag:router": [], "tag:exit": []}, "acls": [rule], **sections}


WORDS = ("alice@company.com", "bob@", "*@company.com", "user:*.dev@company.com", "group:all")
GROUPS = {"group:all": ["carol@company.com", "*.ops@company.com"]}


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (Person("alice", email="alice@company.com"), {"alice@company.com", "*@company.com"}),
        (Person("alice@company.com"), {"alice@company.com"}),
        (Person("alice", email="Alice@Company.COM"), {"alice@company.com", "*@company.com"}),
        (Person("alice", email="alice@company.com.evil.com"), set()),
        (Person("alice", email="alice@evil.company.com"), set()),
        (Person("bob"), {"bob@"}),
        (Person("bob", email="bob@other.com"), {"bob@"}),
        (Person("x.dev@company.com"), set()),
        (Person("x", email="x.dev@company.com"), {"*@company.com", "*.dev@company.com"}),
        (Person("x", email="x.dev@evil@company.com"), {"*@company.com"}),
        (Person("x", email="xdev@company.com"), {"*@company.com"}),
        (Person("x", email="@company.com"), set()),
        (Person("x", email="x.ops@company.com"), {"*@company.com", "group:all"}),
        (Person("x", email="carol@company.com"), {"*@company.com", "group:all"}),
        (Person("", email=""), set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_words_for_users_mean_names_and_verified_addresses(
    who: Person, words: set[str], compile_policy: Compile
) -> None:
    compiled = compile_policy(policy(*WORDS, groups=GROUPS))
    assert set(compiled.selectors(Bearer((), who))) == {"*", *words}


@pytest.mark.parametrize(
    ("issuer", "bound", "wild", "exact"),
    [
        ("local", "", True, True),
        (OIDC, "", False, True),
        (OIDC, OIDC, True, True),
        ("local", OIDC, False, False),
        ("https://evil.com", OIDC, False, False),
    ],
)
def test_an_issuers_word_counts_in_the_domains_that_are_bound_to_it(
    issuer: str, bound: str, wild: bool, exact: bool, compile_policy: Compile, bearer: Make
) -> None:
    compiled = compile_policy(policy("*@company.com", "eve@company.com"), {"Company.com": bound} if bound else {})
    held = compiled.selectors(bearer(user="eve", email="eve@company.com", issuer=issuer))
    assert ("*@company.com" in held, "eve@company.com" in held) == (wild, exact)


def test_a_tagged_node_acts_for_no_user(compile_policy: Compile, bearer: Make) -> None:
    compiled = compile_policy(policy("alice@", "autogroup:member", "autogroup:tagged", "tag:router"))
    assert compiled.selectors(bearer(user="alice")) == ("*", "autogroup:member", "alice@")
    assert compiled.selectors(bearer("::1", "alice", "tag:router", "tag:other")) == (
        "*",
        "autogroup:tagged",
        "tag:router",
    )


def test_prefixes_are_literal_and_held_by_nodes_within_them_and_by_their_routers(
    compile_policy: Compile, bearer: Make
) -> None:
    compiled = compile_policy(policy("lan", "100.64.0.9", hosts={"lan": "10.1.0.0/16"}))
    (rule,) = compiled.rules
    assert rule.sources == ()
    assert rule.source_prefixes == rule.source_holders == ("10.1.0.0/16", "100.64.0.9/32")
    assert compiled.selectors(bearer("100.64.0.9 fd00::9")) == ("*", "100.64.0.9/32")
    for route, held in {"10.1.2.0/24": True, "10.0.0.0/8": True, "10.2.0.0/16": False, "0.0.0.0/0": False}.items():
        router = bearer("100.64.0.1", routes=[route])
        assert ("10.1.0.0/16" in compiled.selectors(router)) is held
        assert ("10.1.0.0/16" in compiled.route_selectors(router, router.routes[0])) is held


def test_a_rule_to_names_and_prefixes_is_two_as_a_prefix_is_no_name(compile_policy: Compile) -> None:
    text = {"acls": [{"action": "accept", "src": ["a@"], "dst": ["b@:22", "10.0.0.0/8:22", "*:80"]}]}
    names, literal, everyone = compile_policy(text).rules
    assert (names.destinations, names.destination_prefixes, names.destination_holders) == (("b@",), (), ())
    assert (literal.destinations, literal.destination_prefixes) == ((), ("10.0.0.0/8",))
    assert literal.destination_holders == ("10.0.0.0/8",)
    assert (everyone.destinations, everyone.destination_prefixes) == (("*",), ("0.0.0.0/0", "::/0"))


def test_the_internet_is_behind_exit_nodes(compile_policy: Compile, bearer: Make) -> None:
    text = {"acls": [{"action": "accept", "src": ["a@"], "dst": ["autogroup:internet:*", "8.8.8.0/24:53"]}]}
    compiled = compile_policy(text)
    everything, dns = compiled.rules
    assert everything.destination_holders == ("autogroup:internet",)
    assert everything.destination_prefixes == tuple(map(str, INTERNET))
    assert dns.destination_holders == ("8.8.8.0/24",)
    exit_node = bearer(routes=["0.0.0.0/0"])
    assert set(compiled.selectors(exit_node)) == {"*", "autogroup:internet", "8.8.8.0/24"}
    assert set(compiled.selectors(bearer(routes=["10.0.0.0/8"]))) == {"*"}


@pytest.mark.parametrize(
    ("address", "there"),
    [("8.8.8.8", True), ("10.1.1.1", False), ("100.64.0.1", False), ("169.254.1.1", False), ("2001:db8::1", True),
     ("fd00::1", False), ("fe80::1", False), ("224.0.0.1", False), ("127.0.0.1", False), ("192.168.1.1", False)],
)  # fmt: skip
def test_the_internet_has_no_private_addresses(address: str, there: bool) -> None:
    host = ip_network(address)
    assert any(each.version == host.version and host.subnet_of(each) for each in INTERNET) is there


def test_via_leads_through_routers_with_a_tag_alone(compile_policy: Compile, bearer: Make) -> None:
    grants = [
        {"src": ["a@"], "dst": ["10.33.0.0/16"], "ip": ["tcp:22"], "via": ["tag:router", "tag:exit"]},
        {"src": ["a@"], "dst": ["autogroup:internet"], "ip": ["*"], "via": ["tag:exit"]},
    ]
    compiled = compile_policy(policy("b@", grants=grants))
    _, lan, internet = compiled.rules
    assert lan.destination_holders == ("10.33.0.0/16 via tag:router", "10.33.0.0/16 via tag:exit")
    assert internet.destination_holders == ("autogroup:internet via tag:exit",)
    router = bearer("::1", "", "tag:router", routes=["10.0.0.0/8", "0.0.0.0/0"])
    assert compiled.selectors(router) == ("*", "10.33.0.0/16 via tag:router")
    assert compiled.route_selectors(router, ip_network("10.0.0.0/8")) == ("*", "10.33.0.0/16 via tag:router")
    assert compiled.selectors(bearer("::1", "", "tag:exit", routes=["::/0"])) == (
        "*",
        "autogroup:internet via tag:exit",
    )
    assert compiled.selectors(bearer("::1", "", "tag:router", routes=["10.34.0.0/16"])) == ("*",)
    assert compiled.selectors(bearer("10.33.0.1", "", "tag:router")) == ("*",)
    assert compiled.selectors(bearer("::1", "", "tag:other", routes=["10.33.0.0/16"])) == ("*",)


def test_own_nodes_are_a_rule_of_their_own(compile_policy: Compile) -> None:
    text = {"acls": [{"action": "accept", "src": ["*"], "dst": ["autogroup:self:22", "b@:22"]}]}
    other, own = compile_policy(text).rules
    assert (own.own, own.sources, own.destinations, own.ports) == (True, ("*",), (), ((22, 22),))
    assert (other.own, other.destinations) == (False, ("b@",))


def test_danger_all_is_every_address_there_is(compile_policy: Compile) -> None:
    (rule,) = compile_policy(policy("autogroup:danger-all")).rules
    assert (rule.sources, rule.source_prefixes, rule.source_holders) == (("*",), ("0.0.0.0/0", "::/0"), ())


def test_a_grants_services_of_one_protocol_are_one_rule(compile_policy: Compile) -> None:
    grants = [{"src": ["a@"], "dst": ["b@"], "ip": ["tcp:22", "tcp:80-90", "udp:53", "icmp:*", "99", "100,200"]}]
    rules = compile_policy({"grants": grants}).rules
    assert [(rule.protocols, rule.ports) for rule in rules] == [
        ((6,), ((22, 22), (80, 90))),
        ((17,), ((53, 53),)),
        ((1,), ()),
        ((1, 6, 17, 58), ((99, 99), (100, 100), (200, 200))),
    ]


def test_all_ports_and_some_are_all(compile_policy: Compile) -> None:
    grants = [{"src": ["a@"], "dst": ["b@"], "ip": ["tcp:22", "tcp:*", "tcp:80"]}]
    (rule,) = compile_policy({"grants": grants}).rules
    assert rule.ports == ()


def test_ip_sets_are_added_to_and_taken_from(compile_policy: Compile) -> None:
    sets = {
        "ipset:a": ["10.0.0.0/8", "remove 10.0.0.0/9", "add host:dns"],
        "ipset:b": ["ipset:a", "fd00::1", "remove 10.192.0.0/10"],
    }
    compiled = compile_policy(policy("ipset:b", ipsets=sets, hosts={"dns": "9.9.9.9"}))
    (rule,) = compiled.rules
    assert rule.source_prefixes == ("9.9.9.9/32", "10.128.0.0/10", "fd00::1/128")


def test_routes_are_approved_by_prefix_and_exit_nodes_by_name(compile_policy: Compile, bearer: Make) -> None:
    approvers = {"routes": {"10.0.0.0/8": ["tag:router", "alice@"], "0.0.0.0/0": ["tag:exit"]}, "exitNode": ["group:g"]}
    compiled = compile_policy(policy("*", autoApprovers=approvers, groups={"group:g": ["bob@"]}))
    within, outside, default = ip_network("10.1.0.0/16"), ip_network("11.0.0.0/8"), ip_network("0.0.0.0/0")
    router, alice, bob = bearer("::1", "", "tag:router"), bearer(user="alice"), bearer(user="bob")
    exit_node = bearer("::1", "", "tag:exit")
    says = [
        [compiled.approves(node, route) for node in (router, alice, bob, exit_node)]
        for route in (within, outside, default)
    ]
    assert says == [[True, True, False, False], [False] * 4, [False, False, True, False]]
    assert not compiled.approves(router, ip_network("fd00::/64"))
    assert not compiled.approves(router, ip_network("8.0.0.0/5"))


def test_tags_are_given_by_their_owners(compile_policy: Compile) -> None:
    owners = {
        "tag:a": ["alice@", "group:g"],
        "tag:b": ["tag:a", "autogroup:admin"],
        "tag:c": ["autogroup:member"],
        "tag:d": [],
    }
    compiled = compile_policy({"acls": [], "tagOwners": owners, "groups": {"group:g": ["*@company.com"]}})
    alice, carol, dave = Person("alice"), Person("c", email="carol@company.com"), Person("dave")
    says = {tag: [compiled.may_tag(who, tag) for who in (alice, carol, dave)] for tag in (*owners, "tag:e")}
    assert says == {
        "tag:a": [True, True, False],
        "tag:b": [False, False, False],
        "tag:c": [True, True, True],
        "tag:d": [False, False, False],
        "tag:e": [False, False, False],
    }


def test_attributes_are_given_to_whom_they_name(compile_policy: Compile, bearer: Make) -> None:
    granted = [{"target": ["tag:web", "10.0.0.0/8"], "attr": ["fast", "loud"]}, {"target": ["*"], "attr": ["fast"]}]
    compiled = compile_policy(policy("*", nodeAttrs=granted))
    assert compiled.attributes(bearer("::1", "", "tag:web")) == ("fast", "loud")
    assert compiled.attributes(bearer("10.0.0.1")) == ("fast", "loud")
    assert compiled.attributes(bearer()) == ("fast",)


prefixes = st.builds(
    lambda number, length: ip_network((number, length), strict=False),
    st.integers(0, 2**32 - 1) | st.integers(10 << 24, (10 << 24) + 64) | st.integers(2**64, 2**128 - 1),
    st.integers(1, 32),
)


@patient
@given(st.lists(prefixes, max_size=20), st.lists(prefixes, max_size=5))
def test_the_index_of_prefixes_finds_what_looking_at_all_would_find(held: Any, asked: Any) -> None:
    index = PrefixIndex(held)
    for each in asked:
        address = each.network_address
        holding = {str(p) for p in held if p.version == address.version and address in p}
        assert set(index.of_address(address)) == holding
        assert len(index.of_address(address)) == len(holding)
        overlapping = {str(p) for p in held if p.version == each.version and p.overlaps(each)}
        assert set(index.of_route(each)) == overlapping == set(index.of_route(each))
