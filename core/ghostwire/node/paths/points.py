"""Which of two candidates is better: rank first, then latency and kind of address, with hysteresis.

    points   the faster one has its advantage in per cent (none where it is below `NOISE`)
             +50 loopback, +30 link-local, +20 private, +10 IPv6
    better   a lower rank always wins; else more points do, but by at most one they do not

Source: magicsock's betterAddr (protocol facts in https://pkg.go.dev/tailscale.com/wgengine/magicsock).
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Final

from ghostwire.engine import MILLISECOND
from ghostwire.node.paths.candidate import Candidate

NOISE: Final = 2 * MILLISECOND
"""A difference of latencies that says nothing."""
HYSTERESIS: Final = 1
_PRIVATE: Final = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
LOOPBACK, LINK_LOCAL, PRIVATE, IPV6 = 50, 30, 20, 10


def address_points(endpoint: str) -> int:
    """What the kind of an endpoint's address is worth; 0 for one that is no ``address:port``."""
    try:
        address = ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return 0
    points = IPV6 if address.version == 6 else 0
    if address.is_loopback:
        return points + LOOPBACK
    if address.is_link_local:
        return points + LINK_LOCAL
    return points + PRIVATE if any(address in network for network in _PRIVATE) else points


def points(one: Candidate, other: Candidate | None) -> int:
    """What ``one`` is worth beside ``other``."""
    return one.bonus + (_advantage(one.latency, other.latency) if other is not None else 0)


def better(one: Candidate, other: Candidate) -> bool:
    """Whether ``one`` should be used instead of ``other``, which is in use."""
    if one.rank != other.rank:
        return one.rank < other.rank
    return points(one, other) - points(other, one) > HYSTERESIS


def reason(one: Candidate, other: Candidate | None, *, doubted: bool) -> str:
    """Why ``one``, which answers, is used instead of ``other``, in words."""
    if other is None or other is one:
        return "it answers"
    return f"it answers, and {other.path.endpoint} does not" if doubted else f"better than {other.path.endpoint}"


def _advantage(latency: int | None, other: int | None) -> int:
    if latency is None or other is None or other - latency <= NOISE:
        return 0
    return 100 - 100 * latency // other
