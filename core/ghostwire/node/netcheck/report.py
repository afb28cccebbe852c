"""What one look at the network found."""

from __future__ import annotations

from typing import Literal

import msgspec

from ghostwire.engine import MILLISECOND
from ghostwire.node.portmap.report import PortMapProtocols


class RegionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A region's round trips in milliseconds; None where nothing answered, or was not asked that way.

    ``trouble`` says in a line why it is not reached over HTTPS, where it was asked so in vain.
    """

    region: int
    name: str
    latency_ms: float | None
    ipv4_ms: float | None = None
    ipv6_ms: float | None = None
    https_ms: float | None = None
    trouble: str = ""


Translation = Literal["", "none", "endpoint-independent", "destination-dependent"]
"""How the IPv4 addresses of this node are translated, in the words of RFC 4787; empty: not known."""


class NetcheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """``at`` is in Unix seconds; a report that is not ``full`` asked only the fastest regions and the home.

    ``udp``, ``ipv4`` and ``ipv6`` say whether STUN gets through, at all and over each IP version; None where no relay
    can be asked so, or none answers in any way. ``mapped_ipv4`` and ``mapped_ipv6`` are this node's endpoints as relays
    see them (empty: not known); ``mapping_varies`` says that the first differs by whom is sent to, None where too few
    relays answered to tell; ``mapping`` is what kind of address translation that is. ``home`` is a region's number,
    and ``reason`` why it is the home. ``port_mapping`` are the protocols that the router speaks, and ``port_mapped`` is
    the endpoint that it gave this node (empty: none). ``captive_portal`` says that something in between answers web
    requests in relays' place; None where that was not tried, or nothing answers.
    """

    at: int
    full: bool
    udp: bool | None
    ipv4: bool | None
    ipv6: bool | None
    mapped_ipv4: str = ""
    mapped_ipv6: str = ""
    mapping_varies: bool | None = None
    mapping: Translation = ""
    regions: tuple[RegionReport, ...] = ()
    home: int | None = None
    reason: str = ""
    port_mapping: PortMapProtocols = PortMapProtocols()
    port_mapped: str = ""
    captive_portal: bool | None = None


def milliseconds(nanoseconds: int | None) -> float | None:
    """For people: two decimals."""
    return None if nanoseconds is None else round(nanoseconds / MILLISECOND, 2)
