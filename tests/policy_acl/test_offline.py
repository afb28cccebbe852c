"""Policies compiled for a mesh that is only described: as core's own evaluation of their rules, pair by pair."""

import json
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire import Bearer, Person
from ghostwire.capabilities.policy import Address
from ghostwire.errors import PolicyError, UsageError
from ghostwire.server.policy.verdict import Flow, admitting, party
from ghostwire_policy_acl.compiled import AclPolicy
from ghostwire_policy_acl.offline import compile_for, expand

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Compile = Callable[..., AclPolicy]

TOPOLOGY = {
    "users": [{"name": "alice", "email": "alice@example.com"}, {"name": "bob", "issuer": "https://other"}],
    "nodes": {
        "laptop": {"ipv4": "100.64.0.1", "ipv6": "fd00::1", "user": "alice"},
        "router": {
            "ipv4": "100.64.0.2",
            "tags": ["tag:router"],
            "routable_ips": ["10.1.0.0/16", "10.2.0.0/16"],
            "approved_routes": ["10.1.0.0/16", "10.3.0.0/16"],
        },
    },
}


def test_the_output_is_what_each_node_lets_in() -> None:
    text = '{"acls": [{"action": "accept", "src": ["alice@"], "proto": "tcp", "dst": ["10.0.0.0/8:22,80-90"]}]}'
    ports = [{"net": "10.0.0.0/8", "ports": [22, 22]}, {"net": "10.0.0.0/8", "ports": [80, 90]}]
    src = ["100.64.0.1/32", "fd00::1/128"]
    assert compile_for(text, TOPOLOGY) == {"laptop": [], "router": [{"proto": [6], "src": src, "dst": ports}]}


def test_everyone_includes_hosts_behind_routes_that_are_offered_and_approved() -> None:
    text = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["alice@:22"]}]}'
    (each,) = compile_for(text, TOPOLOGY)["laptop"]
    assert each["src"] == ["100.64.0.1/32", "fd00::1/128", "100.64.0.2/32", "10.1.0.0/16"]
    assert each["proto"] == [1, 6, 17, 58]


def test_a_wrong_policy_and_tests_that_fail_are_errors() -> None:
    with pytest.raises(PolicyError, match="1:40: each item of src must be a text"):
        compile_for('{"acls": [{"action": "accept", "src": [1]}]}', TOPOLOGY)
    text = {"acls": [], "tagOwners": {"tag:router": []}, "tests": [{"src": "tag:router", "accept": ["alice@:22"]}]}
    with pytest.raises(PolicyError, match="test failed: `alice@:22` is not reached from `tag:router`"):
        compile_for(json.dumps(text), TOPOLOGY)


@pytest.mark.parametrize(
    "topology",
    [{}, {"nodes": []}, {"nodes": {"a": {"ipv4": "x"}}}, {"nodes": {"a": {"tags": "x"}}}, {"nodes": {}, "users": [{}]}],
    ids=["none", "a list", "no address", "no tags", "no name"],
)
def test_a_wrong_topology_is_one_line(topology: Any) -> None:
    with pytest.raises(UsageError, match="the topology is wrong"):
        compile_for("{}", topology)


NAMES = ["*", "a@", "b@", "group:g", "tag:x", "tag:y", "autogroup:member", "autogroup:tagged", "10.1.0.0/16", "lan"]
names = st.sampled_from([*NAMES, "100.64.0.0/29", "fd00::2", "set"]).map(
    lambda name: "ipset:s" if name == "set" else name
)
sources = st.lists(names | st.just("autogroup:danger-all"), min_size=1, max_size=3)
ports = st.sampled_from(["*", "22", "80-90", "22,443"])
targets = names | st.just("autogroup:internet")
acls = st.fixed_dictionaries(
    {"src": sources, "dst": st.lists(st.builds("{}:{}".format, targets, ports), min_size=1, max_size=3)},
    optional={"proto": st.sampled_from(["tcp", "udp"])},
)
own = st.fixed_dictionaries(
    {
        "src": st.lists(st.sampled_from(["*", "a@", "group:g", "autogroup:member"]), min_size=1),
        "dst": st.just(["autogroup:self:22"]),
    }
)
grants = st.fixed_dictionaries(
    {
        "src": sources,
        "dst": st.lists(targets, min_size=1, max_size=3),
        "ip": st.lists(st.sampled_from(["*", "tcp:22", "udp:80-90", "icmp:*"]), min_size=1),
    },
    optional={"via": st.lists(st.sampled_from(["tag:x", "tag:y"]), min_size=1)},
)
policies = st.fixed_dictionaries({"acls": st.lists(acls | own, max_size=4), "grants": st.lists(grants, max_size=3)})
ROUTES = ["10.1.0.0/16", "10.1.2.0/24", "10.0.0.0/8", "192.168.0.0/24", "0.0.0.0/0", "::/0", "fd01::/64"]
DEFINED = {
    "groups": {"group:g": ["a@", "*@c.com"]},
    "tagOwners": {"tag:x": [], "tag:y": []},
    "hosts": {"lan": "192.168.0.0/16"},
    "ipsets": {"ipset:s": ["10.0.0.0/8", "remove 10.1.2.0/24"]},
}


@st.composite
def meshes(draw: st.DrawFn) -> dict[str, Bearer]:
    people = [Person("a"), Person("b", email="b@c.com"), Person("c", "https://other", "c@c.com")]
    return {
        f"n{number}": Bearer(
            addresses=(ip_address(f"100.64.0.{number}"), ip_address(f"fd00::{number}")),
            owner=draw(st.sampled_from(people)),
            tags=tuple(draw(st.lists(st.sampled_from(["tag:x", "tag:y"]), unique=True))),
            routes=tuple(ip_network(each) for each in draw(st.lists(st.sampled_from(ROUTES), unique=True, max_size=2))),
        )
        for number in range(1, draw(st.integers(2, 5)))
    }


HOSTS = [
    ip_address(each)
    for each in ("10.1.0.9", "10.1.2.9", "10.9.0.9", "192.168.0.9", "8.8.8.8", "2001:db8::1", "fd01::9")
]


def admitted(filters: Sequence[Mapping[str, Any]], source: Address, to: Address, protocol: int, port: int) -> bool:
    return any(
        protocol in each["proto"]
        and any(source in ip_network(net) for net in each["src"])
        and any(
            to in ip_network(item["net"]) and (protocol in (1, 58) or item["ports"][0] <= port <= item["ports"][1])
            for item in each["dst"]
        )
        for each in filters
    )


@patient
@given(policies, meshes(), st.data())
def test_a_policy_in_a_mesh_is_what_its_rules_say_of_each_pair(
    compile_policy: Compile, policy: dict[str, Any], mesh: dict[str, Bearer], data: st.DataObject
) -> None:
    rules = [{"action": "accept", **rule} for rule in policy["acls"]]
    compiled = compile_policy(json.dumps({**DEFINED, **policy, "acls": rules}))
    given_ = expand(compiled, mesh)
    parties = {name: party(compiled, bearer) for name, bearer in mesh.items()}
    for _ in range(20):
        sender, receiver = data.draw(st.sampled_from(sorted(mesh))), data.draw(st.sampled_from(sorted(mesh)))
        behind = [host for host in HOSTS if any(r.prefixlen and host in r for r in mesh[sender].routes)]
        source = data.draw(st.sampled_from([*mesh[sender].addresses, *behind]))
        to = data.draw(st.sampled_from([a for a in (*mesh[receiver].addresses, *HOSTS) if a.version == source.version]))
        protocol, port = data.draw(st.sampled_from([(6, 22), (17, 85), (6, 443), (17, 9), (1, 0), (47, 0)]))
        flow = Flow(protocol, port, source, to)
        wanted = any(True for _ in admitting(compiled, parties[sender], parties[receiver], flow))
        assert admitted(given_[receiver], source, to, protocol, port) == wanted, (
            sender,
            receiver,
            flow,
            compiled.rules,
        )
