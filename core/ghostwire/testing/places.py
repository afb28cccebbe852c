"""The places at which nodes are found, from an open address to a carrier's translator, and which pairs can be direct.

    site = Site(network, PLACES["symmetric"], 3)
    site.take(laptop)
    site.take(phone)  # on the same local network

Whether two places can have a direct path is physics: a packet to an address and port that nobody could know, or which
no router lets in, does not arrive.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from ghostwire.testing.nat import Firewall, Nat, NatKind
from ghostwire.testing.network import Host, Network

_FILTERS_PORTS = {NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC}


@dataclass(frozen=True, slots=True)
class Place:
    """How machines there are connected: behind ``nat`` (None: by public addresses), itself behind ``carrier``.

    ``hairpin`` and ``open_input`` are as in `Nat`. Without ``datagrams`` UDP is blocked. IPv6 passes a firewall.
    """

    name: str
    nat: NatKind | None = None
    carrier: NatKind | None = None
    hairpin: bool = False
    open_input: bool = False
    datagrams: bool = True
    ipv4: bool = True
    ipv6: bool = False

    @property
    def varies(self) -> bool:
        """Whether each target sees another port."""
        return NatKind.SYMMETRIC in (self.nat, self.carrier)

    @property
    def filters_ports(self) -> bool:
        """Whether only a port that was sent to may answer."""
        return bool({self.nat, self.carrier} & _FILTERS_PORTS)

    def __str__(self) -> str:
        return self.name


_ALL = (
    Place("none"),
    Place("one-to-one", NatKind.ONE_TO_ONE),
    Place("full cone", NatKind.FULL_CONE, hairpin=True),
    Place("address-restricted", NatKind.ADDRESS_RESTRICTED),
    Place("port-restricted", NatKind.PORT_RESTRICTED),
    Place("hairpin", NatKind.PORT_RESTRICTED, hairpin=True),
    Place("symmetric", NatKind.SYMMETRIC),
    Place("double NAT", NatKind.PORT_RESTRICTED, carrier=NatKind.PORT_RESTRICTED),
    Place("open input", NatKind.PORT_RESTRICTED, open_input=True),
    Place("UDP blocked", NatKind.PORT_RESTRICTED, datagrams=False),
    Place("IPv6 only", ipv4=False, ipv6=True),
    Place("dual stack", NatKind.SYMMETRIC, ipv6=True),
)
PLACES = {place.name: place for place in _ALL}
"""All that we know, by name."""


def can_be_direct(one: Place, other: Place) -> bool:
    """Whether machines at different sites of these kinds can have a direct path."""
    if not (one.datagrams and other.datagrams):
        return False
    if one.ipv6 and other.ipv6:
        return True
    unknown = (one.varies and other.filters_ports) or (other.varies and one.filters_ports)
    return one.ipv4 and other.ipv4 and not unknown


class Site:
    """A place on a network, with its routers. ``number`` (1 to 250) tells sites apart; ``carrier`` is an existing
    translator to be behind."""

    def __init__(self, network: Network, place: Place, number: int, *, carrier: Nat | None = None) -> None:
        self.place, self.number, self.carrier = place, number, carrier
        outside = f"203.0.{number}.1"
        if place.carrier is not None and carrier is None:
            self.carrier = network.nat(f"carrier{number}", outside, place.carrier)
        self.router: Nat | None = None
        if place.nat is not None:
            address = outside if self.carrier is None else f"100.64.{number}.2"
            how = {"hairpin": place.hairpin, "open_input": place.open_input}
            self.router = network.nat(f"router{number}", address, place.nat, outer=self.carrier, **how)
        self.firewall = Firewall(f"firewall{number}") if place.ipv6 else None
        self._machines = itertools.count(2)

    @property
    def now(self) -> Place:
        """The place that it has become: a router may be switched to another kind."""
        return self.place if self.router is None else replace(self.place, nat=self.router.kind)

    def addresses(self) -> tuple[str, ...]:
        """The addresses of a further machine, IPv4 first."""
        machine = next(self._machines)
        net = "203.0" if self.router is None else "10.0"
        own = [f"{net}.{self.number}.{machine}"] if self.place.ipv4 else []
        return (*own, f"2001:db8:{self.number:x}::{machine:x}") if self.place.ipv6 else tuple(own)

    def take(self, host: Host) -> None:
        """Move a machine here."""
        host.datagrams = self.place.datagrams
        host.move(*self.addresses(), nat=self.router, firewall=self.firewall)
