"""Many engines that all have something for all others at the same moment, as after a relay's restart."""

from __future__ import annotations

import heapq
import ipaddress
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire import Path, TunnelPeer
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.testing.clock import SeededEntropy
from ghostwire_transport_wireguard.engine import WireGuardEngine

LATENCY = 10 * MILLISECOND


class Crowd:
    """Engines by number; each knows all others. A pass of an engine takes no time."""

    def __init__(self, size: int, path: Callable[[str], Path], stamps: Callable[[], Callable[[], bytes]]) -> None:
        self.now = 1_000 * SECOND
        self.arrived: dict[tuple[int, int], int] = {}
        self._wire: list[tuple[int, int, int, int, bytes]] = []
        self._serial = itertools.count()
        self._paths = [path(f"{number}:1") for number in range(size)]
        keys = [PrivateKey(SeededEntropy(f"key {number}")(32)) for number in range(size)]
        specs = [
            TunnelPeer(number, key.public(NodeKey), (ipaddress.ip_network(f"100.64.0.{number}"),))
            for number, key in enumerate(keys)
        ]
        self.engines = [WireGuardEngine(key, SeededEntropy(key.public_raw), stamps(), 1280) for key in keys]
        for engine in self.engines:
            engine.apply(specs, self.now)
            for number, way in enumerate(self._paths):
                engine.attach(number, [way])

    def settle(self, number: int) -> None:
        engine = self.engines[number]
        engine.take_events()
        for send in engine.take_sends():
            for way, datagram in itertools.product(send.paths(), send.datagrams):
                entry = (self.now + LATENCY, next(self._serial), self._paths.index(way), number, bytes(datagram))
                heapq.heappush(self._wire, entry)

    def run(self, nanoseconds: int) -> None:
        end = self.now + nanoseconds
        while (following := self._next()) <= end:
            self.now = max(self.now, following)
            while self._wire and self._wire[0][0] <= self.now:
                self._deliver(*heapq.heappop(self._wire)[2:])
            for number, engine in enumerate(self.engines):
                engine.advance(self.now)
                self.settle(number)

    def _deliver(self, to: int, sender: int, datagram: bytes) -> None:
        for peer, _ in self.engines[to].receive(self._paths[sender], [datagram], self.now):
            self.arrived.setdefault((peer, to), self.now)

    def _next(self) -> int:
        deadlines = [each for engine in self.engines if (each := engine.deadline()) is not None]
        return min([*deadlines, *(entry[0] for entry in self._wire[:1])])


@pytest.mark.parametrize("lines", ["all to all", "each pair once"])
def test_first_packets_come_at_once_however_many_begin_at_the_same_moment(
    lines: str, path: Any, make_ipv4: Any, stamps: Any
) -> None:
    crowd = Crowd(18, path, stamps)
    began = crowd.now
    pairs = itertools.permutations(range(18), 2) if lines == "all to all" else itertools.combinations(range(18), 2)
    expected = set(pairs)
    for one, other in sorted(expected):
        crowd.engines[one].send([make_ipv4(f"100.64.0.{one}", f"100.64.0.{other}", b"first")], began)
        crowd.settle(one)
    crowd.run(SECOND)
    assert any(engine.counters.cookies for engine in crowd.engines), "they were under load"
    assert crowd.arrived.keys() >= expected
    assert max(crowd.arrived.values()) - began <= 250 * MILLISECOND
