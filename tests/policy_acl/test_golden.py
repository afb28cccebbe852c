"""Policies mean what they mean in the field: every golden case gives the same packets for every node."""

import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ghostwire.capabilities.policy import Address, Prefix
from ghostwire.errors import PolicyError
from ghostwire_policy_acl.offline import compile_for

DATA = Path(__file__).parent.parent / "data" / "policy-golden"
ICMP = {1, 58}
RENUMBERED = "policytest-allpass-grants-only-tag-src-ipv6-literal-dst"
"""Its nodes were given other IPv6 addresses after it was recorded, one of which is the literal that the policy names:
by the case nobody has that address, by its topology a node has."""


class Filter(NamedTuple):
    """Packets that a node lets in."""

    protocols: frozenset[int]
    sources: Sequence[Prefix]
    destinations: Sequence[tuple[Prefix, int, int]]

    def admits(self, source: Address, destination: Address, protocol: int, port: int) -> bool:
        return (
            protocol in self.protocols
            and any(_in(source, prefix) for prefix in self.sources)
            and any(
                _in(destination, prefix) and (protocol in ICMP or first <= port <= last)
                for prefix, first, last in self.destinations
            )
        )


@cache
def network(text: str) -> Prefix:
    return ip_network(text)


def _in(address: Address, prefix: Prefix) -> bool:
    return address.version == prefix.version and address in prefix


def cases() -> Iterator[Any]:
    for file in sorted(DATA.glob("*.json.xz")):
        for case in json.loads(lzma.decompress(file.read_bytes())):
            yield pytest.param(case, id=case["id"])


def expected(filters: Sequence[Mapping[str, Any]] | None) -> list[Filter]:
    return [
        Filter(
            frozenset(each["IPProto"] or ()),
            [network(text) for text in each["Srcs"] or ()],
            [(network(to["Net"]), to["Ports"]["First"], to["Ports"]["Last"]) for to in each["Dsts"] or ()],
        )
        for each in filters or ()
    ]


def compiled(filters: Sequence[Mapping[str, Any]]) -> list[Filter]:
    return [
        Filter(
            frozenset(each["proto"]),
            [network(text) for text in each["src"]],
            [(network(to["net"]), *to["ports"]) for to in each["dst"]],
        )
        for each in filters
    ]


def behind(routes: Sequence[str], filters: Sequence[Filter]) -> set[Address]:
    """Addresses behind routes: at their edges, and at the edges of what filters name within them."""
    named = {p for each in filters for p in (*each.sources, *(to for to, _, _ in each.destinations))}
    found: set[Address] = set()
    for route in (network(text) for text in routes):
        if route.prefixlen:
            edges = [edge for p in (route, *named) for edge in (p[0], p[-1])]
            found |= {edge for edge in edges if _in(edge, route)}
    return found


def edges(filters: Sequence[Filter]) -> tuple[set[int], set[int]]:
    """Protocols and ports where the answer may change."""
    protocols = {1, 6, 17, 47, 58, 132}.union(*(each.protocols for each in filters))
    ends = {
        end for each in filters for _, first, last in each.destinations for end in (first - 1, first, last, last + 1)
    }
    return protocols, {end for end in ends if 0 <= end <= 65_535}


@pytest.mark.parametrize("case", list(cases()))
def test_a_policy_means_what_it_means_in_the_field(case: Any) -> None:
    source = case["policy"] if isinstance(case["policy"], str) else json.dumps(case["policy"])
    if not case["accepted"]:
        with pytest.raises(PolicyError) as caught:
            compile_for(source, case["topology"])
        assert all(finding.line and finding.column and finding.message for finding in caught.value.findings)
        return
    given = compile_for(source, case["topology"])
    nodes = case["topology"]["nodes"]
    ours = {name: compiled(given[name]) for name in nodes}
    if case["id"] == RENUMBERED:
        assert ours["beedrill"][0].destinations == [(network(f"{nodes['beedrill']['ipv6']}/128"), 22, 22)]
        return
    theirs = {name: expected(case["expected"].get(name)) for name in nodes}
    assert list(differences(nodes, ours, theirs)) == []


def differences(
    nodes: Mapping[str, Any], ours: Mapping[str, list[Filter]], theirs: Mapping[str, list[Filter]]
) -> Iterator[str]:
    every = [each for filters in (*ours.values(), *theirs.values()) for each in filters]
    own = {name: {ip_address(node["ipv4"]), ip_address(node["ipv6"])} for name, node in nodes.items()}
    hosts = {name: behind(node["approved_routes"], every) for name, node in nodes.items()}
    sources = set[Address]().union(*own.values(), *hosts.values())
    protocols, ports = edges(every)
    for name in nodes:
        for source in sources:
            for to in own[name] | hosts[name]:
                mine, wanted = between(ours[name], source, to), between(theirs[name], source, to)
                for protocol, port in product(protocols, ports) if mine or wanted else ():
                    packet = (source, to, protocol, port)
                    if any(f.admits(*packet) for f in mine) != any(f.admits(*packet) for f in wanted):
                        yield f"{name}: {packet}"


def between(filters: Sequence[Filter], source: Address, destination: Address) -> Sequence[Filter]:
    """Those that name both addresses."""
    return [
        each
        for each in filters
        if any(_in(source, prefix) for prefix in each.sources)
        and any(_in(destination, prefix) for prefix, _, _ in each.destinations)
    ]


def test_there_are_as_many_cases_as_were_given() -> None:
    assert len(list(cases())) == 333
