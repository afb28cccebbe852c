"""Prefixes of routes as they travel: read from text, and those that no router can offer."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

Prefix = IPv4Network | IPv6Network

DEFAULTS: Final = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""What an exit node offers, always both."""
MAX_TEXT = 64
WIDEST: Final = {4: 8, 6: 16}
"""The shortest length of a route by IP version. A few wider ones would be all of the internet, which goes through
nobody whom its user did not choose as exit node."""

_NOBODYS: Final = {
    "this host's own": (IPv4Network("0.0.0.0/8"), IPv6Network("::/128")),
    "loopback": (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
    "link-local": (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10")),
    "multicast": (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8")),
    "reserved": (IPv4Network("240.0.0.0/4"),),
    "IPv4-mapped": (IPv6Network("::ffff:0:0/96"),),
}


def parse_prefix(text: str) -> Prefix:
    """A prefix or a single address as text, as ``10.1.0.0/16``; ValueError says what is wrong, and what was meant."""
    address, slash, length = text.partition("/")
    if len(text) > MAX_TEXT or "%" in address or (slash and not length.isdecimal()):
        raise ValueError(f"{text[:MAX_TEXT]!r} is no prefix; write it as 10.1.0.0/16 or fd00:1::/64")
    try:
        whole = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no prefix; write it as 10.1.0.0/16 or fd00:1::/64") from None
    if whole.network_address != ip_address(address):
        raise ValueError(f"{text} has bits set behind its length; {whole} is the prefix that it lies in")
    return whole


def is_default(prefix: Prefix) -> bool:
    """Whether it is an exit node's: all of IPv4, or all of IPv6."""
    return prefix.prefixlen == 0


def overlap(one: Prefix, other: Prefix) -> bool:
    """Whether one lies in the other, or they are the same."""
    return one.version == other.version and one.overlaps(other)


def unroutable(prefix: Prefix) -> str:
    """Why nobody can be a router of this prefix, wherever he is; empty where that is possible."""
    if is_default(prefix):
        return ""
    kind = next((kind for kind, holds in _NOBODYS.items() if any(overlap(prefix, each) for each in holds)), None)
    if kind:
        return f"{kind} addresses are not routed"
    widest = WIDEST[prefix.version]
    return f"it is wider than /{widest}, and so for exit nodes alone" if prefix.prefixlen < widest else ""
