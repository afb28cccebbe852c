"""Routers of the kinds the field knows: address translators and stateful firewalls, with state that times out."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field

from ghostwire.engine import SECOND

Address = tuple[str, int]
"""An IP address as text, and a port."""

MAPPING_TIMEOUT = 120 * SECOND
UNANSWERED = 30 * SECOND
"""How long a router with open input remembers what nobody answers: a datagram from outside, or the port that a flow
had to take instead."""


class NatKind(enum.Enum):
    """Who may answer through a mapping: anyone, hosts that were sent to, their very ports; or a mapping per target.

    One-to-one gives its only host every port, as clouds do.
    """

    ONE_TO_ONE = "one-to-one"
    FULL_CONE = "full cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


@dataclass(slots=True)
class _Mapping:
    inner: Address
    port: int
    used: int = 0
    answered: bool = True
    contacted: dict[Address, int] = field(default_factory=dict)


class Nat:
    """A translator with one outer address. Mappings live ``timeout`` ns from the last datagram that left.

    ``outer`` is the translator it is itself behind. With ``hairpin`` its hosts reach each other by their outer
    addresses. With ``open_input`` it takes a datagram that belongs to no mapping for one to itself and remembers
    that: what a host then sends there must leave through another port, as it must through Linux's, and so does what
    the same socket sends to whom it had not sent before, as long as that port is in use.
    """

    def __init__(
        self,
        name: str,
        address: str,
        kind: NatKind,
        *,
        outer: Nat | None = None,
        hairpin: bool = False,
        open_input: bool = False,
        timeout: int = MAPPING_TIMEOUT,
        seed: object = 0,
    ) -> None:
        self.name, self.address, self.kind, self.outer = name, address, kind, outer
        self.hairpin, self.open_input, self.timeout = hairpin, open_input, timeout
        self.inside: list[str] = []
        """The addresses behind it, oldest first."""
        self._ports = random.Random(repr(seed))
        self._by_source: dict[object, _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}
        self._taken: dict[tuple[int, Address], int] = {}
        self._odd: dict[Address, _Mapping] = {}
        """The other port that a host's socket had to take last."""

    def outward(self, inner: Address, target: Address, now: int) -> Address:
        """The outer address under which a datagram from ``inner`` to ``target`` leaves."""
        if self.kind is NatKind.ONE_TO_ONE:
            return self.address, inner[1]
        mapping = self._mapping(inner, target, now)
        mapping.used = mapping.contacted[target] = now
        return self.address, mapping.port

    def inner(self, port: int, now: int) -> Address | None:
        """Whom an outer port stands for now, whether or not a given sender would be let through."""
        if self.kind is NatKind.ONE_TO_ONE:
            return (self.inside[0], port) if self.inside else None
        mapping = self._by_port.get(port)
        return mapping.inner if mapping and self._alive(mapping, now) else None

    def admits(self, port: int, source: Address, now: int) -> bool:
        """Whether a datagram from ``source`` may come in through this outer port."""
        if self.kind is NatKind.ONE_TO_ONE:
            return True
        mapping = self._by_port.get(port)
        if mapping is None or not self._alive(mapping, now):
            return False
        if self.kind is NatKind.FULL_CONE:
            return True
        if self.kind is NatKind.ADDRESS_RESTRICTED:
            return any(to[0] == source[0] and now - at < self.timeout for to, at in mapping.contacted.items())
        return now - mapping.contacted.get(source, now - self.timeout) < self.timeout

    def receive(self, port: int, source: Address, now: int) -> Address | None:
        """Who gets a datagram that came from ``source`` to this outer port; None where it is refused."""
        if self.admits(port, source, now):
            if port in self._by_port:
                self._by_port[port].answered = True
            return self.inner(port, now)
        if self.open_input:
            self._taken[port, source] = now
        return None

    def forget(self) -> None:
        """Lose every mapping, as a router that restarts does."""
        self._by_source.clear()
        self._by_port.clear()
        self._taken.clear()
        self._odd.clear()

    def switch(self, kind: NatKind) -> None:
        """Become a translator of another kind; mappings are lost."""
        self.forget()
        self.kind = kind

    def _alive(self, mapping: _Mapping, now: int) -> bool:
        return now - mapping.used < (self.timeout if mapping.answered else UNANSWERED)

    def _mapping(self, inner: Address, target: Address, now: int) -> _Mapping:
        flow = (inner, target)
        own = self._by_source.get(flow)
        if self.kind is NatKind.SYMMETRIC or (own is not None and self._alive(own, now)):
            return self._keep(flow, inner, now)
        shared, odd = self._keep(inner, inner, now), self._odd.get(inner)
        begins = now - shared.contacted.get(target, now - self.timeout) >= self.timeout
        if begins and odd is not None and self._alive(odd, now):
            self._by_source[flow] = odd
            return odd
        if now - self._taken.get((shared.port, target), now - UNANSWERED) >= UNANSWERED:
            return shared
        other = self._odd[inner] = self._keep(flow, inner, now)
        other.answered = False
        return other

    def _keep(self, key: object, inner: Address, now: int) -> _Mapping:
        mapping = self._by_source.get(key)
        if mapping is None or not self._alive(mapping, now):
            mapping = self._by_source[key] = self._map(inner, now)
        return mapping

    def _map(self, inner: Address, now: int) -> _Mapping:
        self._expire(now)
        port = inner[1] if self.kind is not NatKind.SYMMETRIC else self._ports.randrange(1024, 65536)
        while port in self._by_port:
            port = self._ports.randrange(1024, 65536)
        mapping = self._by_port[port] = _Mapping(inner, port, used=now)
        return mapping

    def _expire(self, now: int) -> None:
        self._by_source = {key: each for key, each in self._by_source.items() if self._alive(each, now)}
        self._by_port = {each.port: each for each in self._by_source.values()}
        self._odd = {inner: each for inner, each in self._odd.items() if self._alive(each, now)}
        self._taken = {place: at for place, at in self._taken.items() if now - at < UNANSWERED}


class Firewall:
    """Translates nothing and lets in only what its hosts sent to within ``timeout`` ns, as home routers do for IPv6."""

    def __init__(self, name: str, *, timeout: int = MAPPING_TIMEOUT) -> None:
        self.name, self.timeout = name, timeout
        self._flows: dict[tuple[Address, Address], int] = {}

    def leaves(self, inner: Address, target: Address, now: int) -> None:
        """A datagram from ``inner`` to ``target`` leaves."""
        if (inner, target) not in self._flows:
            self._flows = {flow: at for flow, at in self._flows.items() if now - at < self.timeout}
        self._flows[inner, target] = now

    def admits(self, inner: Address, source: Address, now: int) -> bool:
        """Whether a datagram from ``source`` may come in to ``inner``."""
        return now - self._flows.get((inner, source), now - self.timeout) < self.timeout

    def forget(self) -> None:
        """Lose every flow, as a router that restarts does."""
        self._flows.clear()
