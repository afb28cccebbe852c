"""Transports that do as they are told, and a supervisor around them."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Buffer, Metrics, Path, Receive, Transport
from ghostwire.node.transports.keeper import Keeper, Origin
from ghostwire.node.transports.supervised import Supervised
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


class Bench:
    """A supervisor in a simulation, with all the transports it made; ``teach`` is called with each new one."""

    Wild = Wild

    def __init__(self) -> None:
        self.made: list[Wild] = []
        self.teach: Callable[[Wild], object] = lambda wild: None
        self.metrics = Metrics()
        self.got: list[tuple[Path, list[bytes]]] = []
        self.changes = 0
        log = logging.getLogger("ghostwire.node.faults")
        self.keeper = Keeper(Origin("wild", "strange"), self._make, self.metrics, running_clock(), log)
        self.keeper.register()
        self.keeper.changed = self._changed
        self.supervised = Supervised(self.keeper)

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
        wild = Wild()
        wild.metrics, wild.failed = metrics, failed
        self.made.append(wild)
        self.teach(wild)
        return wild


@pytest.fixture
def bench() -> type[Bench]:
    """To be made within a simulation."""
    return Bench
