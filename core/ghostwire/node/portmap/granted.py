"""What a router granted, for how long, and whether it has forgotten it since."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from ghostwire.engine import SECOND
from ghostwire.wire.endpoint import format_endpoint

LIFETIME = 7200 * SECOND
"""How long mappings are asked for."""
SHORTEST, LONGEST = 20 * SECOND, 24 * 3600 * SECOND
"""What a router may grant; it is renewed at half of that, which no router's answer makes a flood of."""
HORIZON = 4 * SECOND
"""A renewal that failed is tried again when half of what is left has passed, until so little is left."""
SLACK = 2
"""Seconds by which a router's count of its seconds may be behind ours."""

_INSIDE = tuple(map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "192.0.0.0/24")))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A UDP mapping to ``port`` of this machine, for ``lifetime`` nanoseconds, at that outside port if it is free."""

    port: int
    outside: int
    lifetime: int = LIFETIME


@dataclass(frozen=True, slots=True)
class Granted:
    """An outside address and port that lead here for ``lifetime`` nanoseconds.

    ``epoch`` is the router's count of seconds, None in protocols without one.
    """

    address: str
    port: int
    lifetime: int
    epoch: int | None = None

    @property
    def endpoint(self) -> str:
        """``address:port``."""
        return format_endpoint(self.address, self.port)


class Lease:
    """A mapping held since ``now``: when it is renewed, when it has ended."""

    def __init__(self, granted: Granted, now: int) -> None:
        self.granted = granted
        self.since = now
        self.ends = now + min(max(granted.lifetime, SHORTEST), LONGEST)
        self.due = now + (self.ends - now) // 2

    def put_off(self, now: int) -> None:
        """The router did not answer: try again when half of what is left has passed."""
        left = self.ends - now
        self.due = now + left // 2 if left > 2 * HORIZON else self.ends

    def forgotten(self, epoch: int, now: int) -> bool:
        """Whether the router counts anew, so that it has lost what it granted (RFC 6886 §3.6)."""
        if self.granted.epoch is None:
            return False
        return epoch + SLACK < self.granted.epoch + (now - self.since) // SECOND * 7 // 8


def outside_address(text: str) -> str:
    """The address if others can reach it; empty where it is none, or one of another network's inside."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return ""
    apart = address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast
    reserved = address.is_reserved or any(address in network for network in _INSIDE)
    return "" if apart or reserved else str(address)
