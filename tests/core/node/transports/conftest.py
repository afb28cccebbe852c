"""Transports that do as they are told, and a supervisor around them."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Buffer, Metrics, Path, Receive, RelayTransport, Transport
from ghostwire.node.transports.keeper import Keeper, Origin
from ghostwire.node.transports.supervised import Supervised, SupervisedRelay
from ghostwire.testing import running_clock


class WildPath(Path):
    """Calls what its transport is told to do."""

    relayed = False

    def __init__(self, wild: "Wild", endpoint: str) -> None:
        self._wild, self.transport, self.endpoint = wild, wild.name, endpoint

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        return self._wild.send(self.endpoint, datagrams)

    def knock(self, datagram: Buffer, ttl: int) -> bool:
        return self._wild.send(self.endpoint, [datagram])


class Wild(Transport):
    """A transport whose every method a test may replace."""

    name = "wild"

    def __init__(self) -> None:
        self.receive: Receive | None = None
        self.failed: Callable[[str], object] = lambda reason: None
        self.metrics = Metrics()
        self.sent: list[tuple[str, list[bytes]]] = []
        self.closed = 0

    async def start(self, receive: Receive) -> None:
        self.receive = receive

    def endpoints(self) -> Sequence[str]:
        return ["here"]

    def path(self, endpoint: str) -> Path:
        if not endpoint.islower():
            raise ValueError(endpoint)
        return WildPath(self, endpoint.strip())

    def send(self, endpoint: str, datagrams: Sequence[Buffer]) -> bool:
        self.sent.append((endpoint, [bytes(each) for each in datagrams]))
        return True

    async def close(self) -> None:
        self.closed += 1


class WildRelay(Wild, RelayTransport):
    """The same over relays; ``heeded`` is what it was told, in turn."""

    relayed = True

    def __init__(self) -> None:
        super().__init__()
        self.heeded: list[Any] = []
        self.lost: Callable[[Any], object] = lambda region: None

    def path(self, endpoint: str) -> Path:
        found = WildPath(self, endpoint)
        found.relayed = True
        return found

    def use(self, relays: Sequence[Any], home: int | None, assigned: int | None) -> None:
        self.heeded.append((list(relays), home, assigned))

    def links_changed(self) -> None:
        self.heeded.append("links changed")

    def watch(self, lost: Callable[[int], object]) -> None:
        self.lost = lost

    def connected(self, region: int) -> bool:
        return True

    def at(self, region: int) -> int | None:
        return region + 1

    def heard(self, region: int) -> int | None:
        return region + 2


class Bench:
    """A supervisor in a simulation, with all the transports it made; ``teach`` is called with each new one."""

    Wild = Wild

    def __init__(self, kind: type[Wild] = Wild, *, sound: bool = False) -> None:
        self.kind = kind
        self.made: list[Wild] = []
        self.teach: Callable[[Wild], object] = lambda wild: None
        self.metrics = Metrics()
        self.got: list[tuple[Path, list[bytes]]] = []
        self.changes = 0
        log = logging.getLogger("ghostwire.node.faults")
        self.keeper = Keeper(Origin("wild", "strange", sound=sound), self._make, self.metrics, running_clock(), log)
        self.keeper.register()
        self.keeper.changed = self._changed
        self.supervised: Any = Supervised(self.keeper)
        if kind is WildRelay:
            self.keeper.create()
            self.supervised = SupervisedRelay(self.keeper)

    async def start(self) -> "Bench":
        await self.supervised.start(self.receive)
        return self

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        self.got.append((source, [bytes(each) for each in datagrams]))

    @property
    def wild(self) -> Wild:
        return self.made[-1]

    @property
    def state(self) -> str:
        return self.keeper.status().state

    @property
    def trouble(self) -> str:
        return self.keeper.status().trouble

    def count(self, what: str) -> float:
        return self.metrics.values()[f"ghostwire_node_transport_wild_{what}_total"]

    def _changed(self) -> None:
        self.changes += 1

    def _make(self, metrics: Metrics, failed: Callable[[str], object]) -> Any:
        wild = self.kind()
        wild.metrics, wild.failed = metrics, failed
        self.made.append(wild)
        self.teach(wild)
        return wild


@pytest.fixture
def relay_bench() -> Callable[[], Bench]:
    """To be made within a simulation; the first relay transport is made at once."""
    return lambda: Bench(WildRelay)


@pytest.fixture
def bench() -> type[Bench]:
    """To be made within a simulation."""
    return Bench
