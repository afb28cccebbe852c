"""Ports and protocols as policies write them."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from ghostwire_policy_acl.wording import Unreadable, shown

Ports: TypeAlias = "tuple[tuple[int, int], ...]"

PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "ipv4": 4,
    "ip-in-ip": 4,
    "tcp": 6,
    "egp": 8,
    "igp": 9,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "sctp": 132,
    "fc": 133,
}
"""The names that the field has for IP protocols (numbers as IANA assigns them)."""
USUAL = (1, 6, 17, 58)
"""What a rule lets in that names no protocol: ICMP, TCP, UDP and ICMPv6."""
WITH_PORTS = frozenset({6, 17, 132})


@lru_cache(maxsize=4096)
def parse_ports(text: str) -> Ports:
    """``*``, or ports and ranges between commas; ``*`` gives no pair, which means any."""
    if text == "*":
        return ()
    return tuple(_range(part, text) for part in text.split(","))


def _range(part: str, text: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    low = _port(first, text)
    high = _port(last, text) if dash else low
    if not dash and low == 0:
        raise Unreadable(f"{shown(text)}: ports begin with 1; `*` means all")
    if low > high:
        raise Unreadable(f"{shown(text)}: the range {shown(part)} ends before it begins")
    return low, high


def _port(text: str, all_: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise Unreadable(f"{shown(all_)} are no ports: write `*`, or numbers up to 65535 and ranges, as in `22,80-443`")
    return int(text)


def parse_protocol(text: str) -> int:
    """A protocol's name, or its number."""
    number = PROTOCOLS.get(text.lower())
    if number is not None:
        return number
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255 and not text.startswith("0"):
        return int(text)
    names = ", ".join(PROTOCOLS)
    raise Unreadable(f"{shown(text)} is no protocol: write its number, from 1 to 255, or one of {names}")


def check_ports(protocol: int, ports: Ports) -> None:
    """Unreadable where this protocol has no ports, but some are named."""
    if ports and protocol not in WITH_PORTS:
        raise Unreadable(f"protocol {protocol} has no ports (tcp, udp and sctp have): write `*`")


@lru_cache(maxsize=4096)
def parse_service(text: str) -> tuple[tuple[int, ...], Ports]:
    """What a grant's ``ip`` names: ``*``, ``PORTS``, or ``PROTOCOL:PORTS``; gives protocols and ports."""
    protocol, colon, ports = text.partition(":")
    if not colon:
        return USUAL, parse_ports(text)
    if ":" in ports:
        raise Unreadable(f"{shown(text)} has more than one colon: write PROTOCOL:PORTS, as in `tcp:443`")
    number, found = parse_protocol(protocol), parse_ports(ports)
    check_ports(number, found)
    return (number,), found
