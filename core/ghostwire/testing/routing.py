"""Who has which address, and the way of a datagram: out through translators, then in through those before its target.

Every translator opens an address space of its own for IPv4; the public one is `None`'s. A datagram looks for its target
in its sender's own space first and then in ever wider ones, getting a new source address at each border.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ghostwire.testing.nat import Address, Firewall, Nat

if TYPE_CHECKING:
    from ghostwire.testing.network import Host

TTL = 64
"""Routers that a datagram passes, unless it says otherwise."""


@dataclass(slots=True)
class Route:
    """Where a datagram goes: the source its receiver sees, its target, the address space in which that was found, the
    last translator on the way out, and the time it has left to live, in routers."""

    sender: Host
    source: Address
    target: Address
    space: Nat | None = None
    left: Nat | None = None
    found: bool = False
    ttl: int = TTL


class Addresses:
    """The owners of all addresses."""

    def __init__(self) -> None:
        self._owners: dict[tuple[Nat | None, str], Host | Nat] = {}

    def give(self, space: Nat | None, address: str, owner: Host | Nat) -> None:
        """``owner`` has this address; ValueError where another has it."""
        if (space, address) in self._owners:
            raise ValueError(f"{address} belongs to {self._owners[space, address].name}")
        self._owners[space, address] = owner
        if space is not None:
            space.inside.append(address)

    def take(self, owner: Host | Nat) -> None:
        """``owner`` has no address any more."""
        for space, address in [place for place, each in self._owners.items() if each is owner]:
            del self._owners[space, address]
            if space is not None:
                space.inside.remove(address)

    def find(self, address: str) -> Host | Nat | None:
        """The owner of a public address."""
        return self._owners.get((None, address))

    def out(self, host: Host, number: int, target: Address, now: int, ttl: int = TTL) -> Route:
        """The way out of a datagram from this port of a host; mappings are made and refreshed. The internet between
        the translators is one router."""
        own = host.address_towards(target[0])
        route = Route(host, (own or "", number), target, space_of(target[0], host.nat), ttl=ttl)
        if own is None:
            return route
        while (route.space, target[0]) not in self._owners and route.space is not None:
            route.ttl -= 1
            if not route.ttl:
                return route
            route.source = route.space.outward(route.source, target, now)
            route.left, route.space = route.space, route.space.outer
        route.ttl -= route.space is None
        route.found = bool(route.ttl) and (route.space, target[0]) in self._owners
        firewall = firewall_of(host, own)
        if firewall is not None:
            firewall.leaves(route.source, target, now)
        return route

    def receiver(self, route: Route, now: int) -> Host | None:
        """Whom a datagram will reach if everyone on its way lets it through."""
        return self._inward(route, lambda nat, port: nat.inner(port, now))[0]

    def admit(self, route: Route, now: int) -> tuple[Host | None, Address, str]:
        """A datagram arrives: who gets it, at which of his own addresses, or else who refuses it."""

        def step(nat: Nat, port: int) -> Address | None:
            return None if nat is route.left and not nat.hairpin else nat.receive(port, route.source, now)

        host, place, refusing = self._inward(route, step)
        firewall = firewall_of(host, place[0]) if host is not None else None
        inside = firewall is None or firewall is firewall_of(route.sender, route.source[0])
        if firewall is not None and not inside and not firewall.admits(place, route.source, now):
            return None, place, firewall.name
        return host, place, refusing

    def _inward(self, route: Route, step: Callable[[Nat, int], Address | None]) -> tuple[Host | None, Address, str]:
        place, owner, left = route.target, self._owners.get((route.space, route.target[0])), route.ttl
        while isinstance(owner, Nat):
            inner = step(owner, place[1])
            if inner is None:
                return None, place, owner.name
            place, owner, left = inner, self._owners.get((owner, inner[0])), left - 1
            if not left:
                return None, place, "a router: expired"
        return owner, place, ""


def space_of(address: str, nat: Nat | None) -> Nat | None:
    """Whose address space an address is in: only IPv4 is translated."""
    return None if ":" in address else nat


def firewall_of(host: Host, own: str) -> Firewall | None:
    """The firewall before this address of a host; a translator does without."""
    return host.firewall if space_of(own, host.nat) is None else None
