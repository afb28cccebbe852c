"""Address translators of the kinds the field knows, with mappings that time out."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field

from ghostwire.engine import SECOND

Address = tuple[str, int]
"""An IP address as text, and a port."""

MAPPING_TIMEOUT = 120 * SECOND


class NatKind(enum.Enum):
    """Who may answer through a mapping: anyone, hosts that were sent to, their very ports; or a mapping per target."""

    FULL_CONE = "full cone"
    ADDRESS_RESTRICTED = "address-restricted"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"


@dataclass(slots=True)
class _Mapping:
    inner: Address
    port: int
    used: int = 0
    contacted: dict[Address, int] = field(default_factory=dict)


class Nat:
    """A translator with one public address. Mappings live ``timeout`` ns from the last datagram that left."""

    def __init__(
        self, name: str, address: str, kind: NatKind, *, timeout: int = MAPPING_TIMEOUT, seed: object = 0
    ) -> None:
        self.name, self.address, self.kind, self.timeout = name, address, kind, timeout
        self._ports = random.Random(repr(seed))
        self._by_source: dict[object, _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}

    def outward(self, inner: Address, target: Address, now: int) -> Address:
        """The public address under which a datagram from ``inner`` to ``target`` leaves."""
        key = (inner, target) if self.kind is NatKind.SYMMETRIC else inner
        mapping = self._by_source.get(key)
        if mapping is None or not self._alive(mapping.used, now):
            mapping = self._by_source[key] = self._map(inner, now)
        mapping.used = mapping.contacted[target] = now
        return self.address, mapping.port

    def inner(self, port: int, now: int) -> Address | None:
        """Whom a public port stands for now, whether or not a given sender would be let through."""
        mapping = self._by_port.get(port)
        return mapping.inner if mapping and self._alive(mapping.used, now) else None

    def admits(self, port: int, source: Address, now: int) -> bool:
        """Whether a datagram from ``source`` may come in through this public port."""
        mapping = self._by_port.get(port)
        if mapping is None or not self._alive(mapping.used, now):
            return False
        recent = [target for target, at in mapping.contacted.items() if self._alive(at, now)]
        if self.kind is NatKind.FULL_CONE:
            return True
        if self.kind is NatKind.ADDRESS_RESTRICTED:
            return any(address == source[0] for address, _ in recent)
        return source in recent

    def forget(self) -> None:
        """Lose every mapping, as a router that restarts does."""
        self._by_source.clear()
        self._by_port.clear()

    def _alive(self, used: int, now: int) -> bool:
        return now - used < self.timeout

    def _map(self, inner: Address, now: int) -> _Mapping:
        self._expire(now)
        port = inner[1] if self.kind is not NatKind.SYMMETRIC else self._ports.randrange(1024, 65536)
        while port in self._by_port:
            port = self._ports.randrange(1024, 65536)
        mapping = self._by_port[port] = _Mapping(inner, port, used=now)
        return mapping

    def _expire(self, now: int) -> None:
        self._by_source = {key: each for key, each in self._by_source.items() if self._alive(each.used, now)}
        self._by_port = {each.port: each for each in self._by_source.values()}
