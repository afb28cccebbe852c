"""Allowed IPs against the standard library's idea of networks."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from ghostwire.capabilities.tunnel import Prefix
from ghostwire_transport_wireguard.allowed_ips import CACHED, AllowedIps

addresses = st.one_of(
    st.integers(0, 15).map(lambda low: IPv4Address(0x64400000 + low)),
    st.integers(0, 15).map(lambda low: IPv6Address((0xFD << 120) + low)),
    st.ip_addresses(),
)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    address = draw(addresses)
    length = draw(st.one_of(st.integers(0, address.max_prefixlen), st.integers(-5, 0)))
    return ipaddress.ip_network((address, length if length > 0 else address.max_prefixlen + length), strict=False)


changes = st.lists(st.tuples(st.booleans(), prefixes(), st.sampled_from("pqr")), max_size=30)


def key(address: IPv4Address | IPv6Address) -> int | bytes:
    return int(address) if address.version == 4 else address.packed


def longest(owners: dict[Prefix, str], address: IPv4Address | IPv6Address) -> str | None:
    holding = [prefix for prefix in owners if prefix.version == address.version and address in prefix]
    return owners[max(holding, key=lambda prefix: prefix.prefixlen)] if holding else None


def lengths(owners: dict[Prefix, str], address: IPv4Address | IPv6Address) -> list[int]:
    return [prefix.prefixlen for prefix in owners if prefix.version == address.version and address in prefix]


@given(changes, st.lists(addresses, max_size=20))
def test_the_longest_prefix_decides_and_belongs_to_its_last_claimant(changes, asked) -> None:
    table: AllowedIps[str] = AllowedIps()
    owners: dict[Prefix, str] = {}
    for added, prefix, owner in changes:
        if added:
            table.insert(prefix, owner)
            owners[prefix] = owner
        else:
            table.remove(prefix, owner)
            if owners.get(prefix) == owner:
                del owners[prefix]
        for address in [*asked, prefix.network_address, prefix.broadcast_address]:
            assert table.lookup(key(address)) == longest(owners, address)
            assert table.length(key(address)) == max(lengths(owners, address), default=-1)


def test_remembered_answers_are_bounded() -> None:
    table: AllowedIps[str] = AllowedIps()
    table.insert(ipaddress.ip_network("0.0.0.0/0"), "exit")
    for address in range(3 * CACHED):
        assert table.lookup(address) == "exit"
    assert len(table._cache) <= CACHED
