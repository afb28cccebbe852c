"""Two WireGuard engines joined by a wire that a test controls, in manual time."""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ghostwire import Buffer, Path, TunnelPeer
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.testing.clock import SeededEntropy
from ghostwire_transport_wireguard.engine import WireGuardEngine

START = 1_000 * SECOND
LATENCY = 10 * MILLISECOND
MTU = 1280
Kind = int


class MemoryPath(Path):
    """A way that only has a name."""

    __slots__ = ("endpoint",)
    transport = "memory"
    relayed = False

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        raise AssertionError("an engine does no I/O")

    def __eq__(self, other: object) -> bool:
        return type(other) is MemoryPath and other.endpoint == self.endpoint

    def __hash__(self) -> int:
        return hash(self.endpoint)

    def __repr__(self) -> str:
        return f"MemoryPath({self.endpoint})"


def ipv4(source: str, destination: str, payload: bytes = b"") -> bytes:
    """An IPv4 packet as far as a tunnel looks at it."""
    addresses = (int(ipaddress.IPv4Address(source)), int(ipaddress.IPv4Address(destination)))
    return struct.pack("!BxH4xBx2xII", 0x45, 20 + len(payload), 64, *addresses) + payload


def ipv6(source: str, destination: str, payload: bytes = b"") -> bytes:
    """An IPv6 packet as far as a tunnel looks at it."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return struct.pack("!B3xH2x", 0x60, len(payload)) + addresses + payload


def counting_stamps() -> Callable[[], bytes]:
    numbers = itertools.count(1)
    return lambda: struct.pack(">QI", next(numbers), 0)


@dataclass
class Sent:
    """A datagram that an end sent."""

    at: int
    paths: Sequence[Path]
    datagram: bytes

    @property
    def kind(self) -> Kind:
        return self.datagram[0]


@dataclass
class End:
    """One engine with what it sent, received and said."""

    name: str
    key: PrivateKey
    engine: WireGuardEngine
    path: MemoryPath
    sent: list[Sent] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def public(self) -> NodeKey:
        return self.key.public(NodeKey)

    def kinds(self) -> list[Kind]:
        """The types of the datagrams sent so far; forgets them."""
        kinds = [each.kind for each in self.sent]
        self.sent.clear()
        return kinds


class Pair:
    """Ends ``a`` (100.64.0.2, fd00::2) and ``b`` (100.64.0.3, fd00::3); each is peer 1 of the other.

    ``carries(sender, datagram)`` decides what the wire delivers. `run` moves time from event to event.
    """

    def __init__(self, *, keepalive: int = 0, preshared: bytes | None = None, seed: object = 0, attach: bool = True):
        self.now = START
        self.carries: Callable[[End, bytes], bool] = lambda sender, datagram: True
        self._wire: list[tuple[int, int, End, MemoryPath, bytes]] = []
        self._serial = itertools.count()
        entropy = SeededEntropy(seed)
        self.a, self.b = (self._end(name, entropy.child(name)) for name in ("a", "b"))
        self._apply(self.a, self.b, 3, keepalive, preshared)
        self._apply(self.b, self.a, 2, 0, preshared)
        if attach:
            self.a.engine.attach(1, [self.b.path])
            self.b.engine.attach(1, [self.a.path])
        self.settle()

    @staticmethod
    def _end(name: str, entropy: SeededEntropy) -> End:
        key = PrivateKey(entropy(32))
        return End(name, key, WireGuardEngine(key, entropy, counting_stamps(), MTU), MemoryPath(f"{name}:1"))

    def _apply(self, end: End, other: End, host: int, keepalive: int, preshared: bytes | None) -> None:
        prefixes = (ipaddress.ip_network(f"100.64.0.{host}"), ipaddress.ip_network(f"fd00::{host}"))
        end.engine.apply([TunnelPeer(1, other.public(), prefixes, keepalive, preshared)], self.now)

    def other(self, end: End) -> End:
        return self.b if end is self.a else self.a

    def send(self, end: End, *payloads: bytes) -> list[bytes]:
        """Packets from one end's device to the other's address; they are returned."""
        addresses = ("100.64.0.2", "100.64.0.3") if end is self.a else ("100.64.0.3", "100.64.0.2")
        packets = [ipv4(*addresses, payload) for payload in payloads]
        end.engine.send([memoryview(packet) for packet in packets], self.now)
        self.settle()
        return packets

    def receive(self, end: End, source: MemoryPath, datagrams: Sequence[Buffer]) -> None:
        """Datagrams arrive at an end."""
        for _, packets in end.engine.receive(source, datagrams, self.now):
            end.packets += [bytes(packet) for packet in packets]
        self.settle()

    def settle(self) -> None:
        """Drain both engines."""
        for end in (self.a, self.b):
            while end.engine.has_output:
                end.events += end.engine.take_events()
                for send in end.engine.take_sends():
                    self._post(end, send.paths(), send.datagrams)

    def _post(self, end: End, paths: Sequence[Path], datagrams: Sequence[Buffer]) -> None:
        for datagram in map(bytes, datagrams):
            end.sent.append(Sent(self.now, paths, datagram))
            for path in paths:
                if path == self.other(end).path and self.carries(end, datagram):
                    entry = (self.now + LATENCY, next(self._serial), self.other(end), end.path, datagram)
                    heapq.heappush(self._wire, entry)

    def _next(self) -> int | None:
        times = [end.engine.deadline() for end in (self.a, self.b)] + [self._wire[0][0] if self._wire else None]
        known = [max(time, self.now) for time in times if time is not None]
        return min(known) if known else None

    def run(self, nanoseconds: int) -> None:
        """Let this much time pass."""
        end = self.now + nanoseconds
        while (following := self._next()) is not None and following <= end:
            self.now = following
            self._step()
        self.now = end

    def run_until_idle(self) -> None:
        """Let time pass until nothing is on the wire and no timer runs; ends only where there is such a time."""
        while (following := self._next()) is not None:
            self.now = following
            self._step()

    def _step(self) -> None:
        while self._wire and self._wire[0][0] <= self.now:
            _, _, end, source, datagram = heapq.heappop(self._wire)
            self.receive(end, source, [datagram])
        for end in (self.a, self.b):
            end.engine.advance(self.now)
        self.settle()

    def connect(self) -> None:
        """A handshake begun by ``a`` 12 s ago; nothing remains on the wire or to be answered."""
        self.send(self.a, b"hello")
        self.run(12 * SECOND)
        for end in (self.a, self.b):
            end.sent.clear()
            end.packets.clear()
            end.events.clear()


@pytest.fixture(scope="session")
def make_pair() -> type[Pair]:
    return Pair


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.fixture
def connected() -> Pair:
    """A pair whose session is up and quiet."""
    pair = Pair()
    pair.connect()
    return pair


@pytest.fixture(scope="session")
def path() -> type[MemoryPath]:
    return MemoryPath


@pytest.fixture(scope="session")
def stamps() -> Callable[[], Callable[[], bytes]]:
    """Makes what stamps the handshakes of one engine."""
    return counting_stamps


@pytest.fixture(scope="session")
def make_ipv4() -> Callable[..., bytes]:
    return ipv4


@pytest.fixture(scope="session")
def make_ipv6() -> Callable[..., bytes]:
    return ipv6
