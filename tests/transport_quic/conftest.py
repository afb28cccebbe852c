"""Two QUIC engines joined by a wire that a test controls, in manual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.testing.clock import SeededEntropy
from ghostwire_transport_quic.counters import Counters
from ghostwire_transport_quic.engine import Endpoint
from ghostwire_transport_quic.keyfile import Credentials, load_credentials
from ghostwire_transport_quic.library import load_library
from ghostwire_transport_quic.remote import Address, Remote

Fate = Callable[[bytes, Address, Address], int]
"""How many copies of a datagram arrive: bytes, sender, receiver."""


@dataclass
class End:
    """One engine at an address, and what it delivered."""

    engine: Endpoint
    counters: Counters
    address: Address
    pin: bytes
    bursts: list[tuple[Remote, list[bytes]]] = field(default_factory=list)

    @property
    def remote(self) -> Remote:
        return Remote(self.address, self.pin)

    @property
    def got(self) -> list[bytes]:
        return [datagram for _, burst in self.bursts for datagram in burst]


class Wire:
    """Carries datagrams with 5 ms of latency; ``fate`` decides about each."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND
        self.ends: list[End] = []
        self.fate: Fate = lambda datagram, source, target: 1
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.reorder = False

    def step(self) -> None:
        """What was sent arrives, in 5 ms."""
        for end in self.ends:
            end.engine.flush(self.now)
        under_way = [(d, end.address, to) for end in self.ends for d, to in end.engine.take_sends()]
        self.sent += under_way
        self.now += 5 * MILLISECOND
        for datagram, source, target in reversed(under_way) if self.reorder else under_way:
            for _ in range(self.fate(datagram, source, target)):
                for end in self.ends:
                    if end.address == target:
                        end.engine.receive([datagram], source, self.now)
        for end in self.ends:
            end.engine.advance(self.now)
            end.engine.flush(self.now)
            end.bursts += end.engine.take_deliveries()

    def run(self, seconds: float = 0.5) -> None:
        """Let time pass."""
        until = self.now + round(seconds * SECOND)
        while self.now < until:
            self.step()

    def skip(self, seconds: float) -> None:
        """Let quiet time pass: from one deadline to the next."""
        until = self.now + round(seconds * SECOND)
        while self.now < until:
            self.step()
            deadlines = [d for end in self.ends if (d := end.engine.deadline()) is not None]
            self.now = max(self.now, min([*deadlines, until]))


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> list[Credentials]:
    return [load_credentials(tmp_path_factory.mktemp("quic")) for _ in range(3)]


@pytest.fixture
def wire() -> Wire:
    return Wire()


Make = Callable[..., End]


@pytest.fixture
def make(wire: Wire, identities: list[Credentials]) -> Make:
    def make(number: int, library: str) -> End:
        own, counters = identities[number], Counters()
        entropy = SeededEntropy(number)
        engine = Endpoint(load_library(library, own), own.pin, entropy, counters)
        end = End(engine, counters, (f"192.0.2.{number + 1}", 41_642), own.pin)
        wire.ends.append(end)
        return end

    return make
