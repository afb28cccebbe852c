"""A node's discovery on a simulated network: relays that answer STUN, a transport, netcheck, a router's mapping."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import pytest

from ghostwire import Buffer, Path
from ghostwire.keys import NodeKey
from ghostwire.model import Cursor, MapChange, MapRelay, NetworkMap
from ghostwire.node.endpoints.discovery import Discovery
from ghostwire.node.netcheck.netcheck import Netcheck
from ghostwire.node.parts import Parts
from ghostwire.node.portmap.report import PortMapProtocols
from ghostwire.node.relays import Relays
from ghostwire.testing import (
    ManualClock,
    MemoryPlatform,
    MemoryTransport,
    Nat,
    NatKind,
    Network,
    SeededEntropy,
    running_clock,
)
from ghostwire.testing.network import Host
from ghostwire.testing.relays import serve_stun
from ghostwire.wire.stun import COOKIE


class Sleeper:
    """A machine's clock: it goes on while the machine sleeps, as the loop's does not."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock, self._slept = clock, 0

    def now(self) -> int:
        return self._clock.now() + self._slept

    def wall(self) -> int:
        return self._clock.wall() + self._slept

    def sleep(self, nanoseconds: int) -> None:
        self._slept += nanoseconds


@dataclass
class Router:
    """A mapping that the test makes and takes away."""

    mapped: str = ""
    found: PortMapProtocols = field(default_factory=PortMapProtocols)
    ports: list[int] = field(default_factory=list)
    moves: int = 0
    probes: int = 0
    closed: bool = False

    def start(self, port: int) -> None:
        self.ports.append(port)

    async def probe(self) -> None:
        self.probes += 1
        self.found = PortMapProtocols(nat_pmp=False, pcp=True, upnp=False)

    def links_changed(self) -> None:
        self.moves += 1

    async def close(self) -> None:
        self.closed = True


class World:
    """A laptop, and relays each in a region of its own; ``told`` are the endpoints at each call of ``changed``."""

    def __init__(self, state: FilePath, nat: NatKind | None = None, relays: int = 3, **parts: Any) -> None:
        self.network = Network()
        self.nat: Nat | None = self.network.nat("router", "203.0.113.7", nat) if nat is not None else None
        self.laptop = self.network.host("laptop", "192.168.1.5" if nat else "203.0.113.5", nat=self.nat)
        self.relays: list[Host] = []
        self.map = NetworkMap()
        for number in range(1, relays + 1):
            self.add_relay(number)
        self.clock, self.router = Sleeper(running_clock()), Router()
        self.transport = MemoryTransport(self.laptop)
        self.told: list[tuple[str, ...]] = []
        self.asked: list[tuple[float, str]] = []
        """When which relay was asked over STUN."""
        self.network.taps.append(self._see)
        self.parts = self._parts(state, parts)
        self.netcheck = self._netcheck()

    def add_relay(self, number: int, **fields: Any) -> Host:
        host = self.network.host(f"relay{number}", f"192.0.2.{number}")
        serve_stun(host)
        self.relays.append(host)
        place = {"region": number, "region_name": f"r{number}", "host": host.addresses[0], **fields}
        relay = MapRelay(id=number, name=host.name, **place)
        self.map.apply(MapChange(cursor=Cursor(number, b""), relays=(relay,)))
        return host

    async def start(self, **options: Any) -> Discovery:
        """Discovery at work, after netcheck's first look and the time to settle."""
        discovery = await self.begin(**options)
        await asyncio.sleep(10)
        return discovery

    async def begin(self, **options: Any) -> Discovery:
        made: list[Discovery] = []

        def changed() -> None:
            self.told.append(tuple(each.text for each in made[0].endpoints()))

        discovery = Discovery(self.parts, [self.transport], self.netcheck, self.router, changed, **options)
        made.append(discovery)
        await self.transport.start(self._arrived)
        discovery.start()
        self.netcheck.start(self.transport)
        return discovery

    async def close(self, discovery: Discovery) -> None:
        await discovery.close()
        await self.netcheck.close()
        await self.transport.close()

    def _arrived(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        for datagram in datagrams:
            self.netcheck.measuring.stun(source, datagram)

    def _see(self, host: Host, target: tuple[str, int], payload: bytes) -> None:
        if host is self.laptop and payload[4:8] == COOKIE.to_bytes(4):
            self.asked.append((asyncio.get_running_loop().time(), target[0]))

    def _parts(self, state: FilePath, parts: dict[str, Any]) -> Parts:
        nothing: Any = None
        fields: dict[str, Any] = {
            "state": state,
            "transports": (),
            "tunnel": nothing,
            "platform": MemoryPlatform(self.laptop),
            "sockets": self.laptop.sockets,
            "clock": self.clock,
            "entropy": SeededEntropy(1),
            "connect": nothing,
            "echo": nothing,
            "lookup": _nobody_known,
            "bare": "memory",
        }
        return Parts(**{**fields, **parts})

    def _netcheck(self) -> Netcheck:
        relays = Relays(self.map, None)
        return Netcheck(self.parts, NodeKey(bytes(32)), relays, lambda: True, lambda: None)


async def _nobody_known(host: str) -> Sequence[str]:
    raise OSError(f"{host}: not known")


@pytest.fixture
def world(tmp_path: FilePath) -> Any:
    """To be made within a simulation."""
    return lambda *arguments, **options: World(tmp_path, *arguments, **options)
