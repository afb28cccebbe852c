"""Path choice alone, for very many peers on a manual clock: a world of instant relays and peers that answer pings."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ghostwire import Activity, Buffer, Path
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Ping
from ghostwire.node.paths.paths import Paths

ACTIVE = 10 * SECOND
"""How long all peers' data moves."""
LATENCY = 20 * MILLISECOND
PER_SECOND = 10
"""Packets of data that each peer sends, and gets answered."""


@dataclass(frozen=True)
class Found:
    """Events (pongs, deadlines, wakings) by second of real time; the engine's timers once all peers are asleep."""

    events_per_second: float
    idle_timers: int


@dataclass(frozen=True, slots=True)
class _Way(Path):
    transport: str
    endpoint: str
    relayed: bool = False

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        return True


class _World:
    """Every peer has one direct path that answers after `LATENCY`, and a relay."""

    def __init__(self, peers: int) -> None:
        self.now = SECOND
        self.until = self.now + ACTIVE
        ways = {peer: _Way("udp", f"192.0.2.{peer % 250}:{peer}") for peer in range(peers)}
        relays = {peer: _Way("derp", str(peer), True) for peer in range(peers)}
        self.paths = Paths(
            random.Random(1).randbytes,
            self._activity,
            rank=lambda name: 0 if name == "udp" else 100,
            relay=relays.__getitem__,
            known=lambda peer: (ways[peer],),
        )
        self._pongs: list[tuple[int, int, Ping]] = []
        self._numbers = itertools.count()
        self.events = 0

    def run(self, peers: int) -> None:
        """Wake all, within a second; go on until no timer is left."""
        for peer in range(peers):
            self.paths.awake(peer, self.now)
            self.events += 1
            self._carry_out()
            self._pass(self.now + SECOND // peers)
        self._pass(self.until + 120 * SECOND)

    def _pass(self, until: int) -> None:
        while (due := self._due()) is not None and due <= until:
            self.now = max(self.now, due)
            self.paths.advance(self.now)
            self.events += 1
            while self._pongs and self._pongs[0][0] <= self.now:
                _, _, ping = heapq.heappop(self._pongs)
                self.paths.ponged(ping.peer, ping.path, ping.transaction, self.now)
                self.events += 1
            self._carry_out()
        self.now = until

    def _due(self) -> int | None:
        pong = self._pongs[0][0] if self._pongs else None
        return min((when for when in (pong, self.paths.deadline()) if when is not None), default=None)

    def _carry_out(self) -> None:
        for decision in self.paths.drain():
            if isinstance(decision, Ping):
                heapq.heappush(self._pongs, (self.now + LATENCY, next(self._numbers), decision))

    def _activity(self, peer: int) -> Activity:
        """Data flows, and is answered, until the world's end."""
        last = min(self.now, self.until)
        last -= last % (SECOND // PER_SECOND)
        return Activity(last, last + LATENCY, 0, last + LATENCY)


def simulate(peers: int) -> Found:
    """All awake for `ACTIVE`, then asleep."""
    world = _World(peers)
    began = time.perf_counter()
    world.run(peers)
    return Found(world.events / (time.perf_counter() - began), int(world.paths.deadline() is not None))
