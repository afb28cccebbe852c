"""What comes at once: requests beside many connected nodes, a restart, a few that reconnect for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.control import wire
from benchmarks.control.crowd import Crowd
from benchmarks.control.member import Member, Stream
from benchmarks.control.place import GROUP, LONER, Place

from ghostwire.server.views.fanout import PATIENCE

RATE = 1000.0
"""Requests a second that are to be borne."""
SPARE = 0.8
"""Share of what was borne at most that is asked for where that is less than `RATE`."""
LOADS = 5
"""Loads with map requests: a node gets one whole map an hour, so each load asks another fifth of them."""
VISITOR = 2_000_000
"""Numbers of machines that register for the load's sake."""
MOST = 3000
"""Registrations a second that keys are made for."""
MISSED = 5
"""Nodes of each group that get another name while the server is down."""
SETTLING = 2.0
"""Seconds after which nothing more is told, if nothing changes."""


@dataclass
class Load:
    """Requests a second, what each took in seconds, and what it cost the server's processors."""

    rate: float
    latencies: list[float]
    cpu: float


class Requests:
    """What nodes ask of the server beside all who are connected.

    A registration is by a machine that nobody sees: it connects, is enrolled and gets its map. A reconnect is by a node
    of the mesh that has nothing yet, and is told all of its group. Both hang up at once. A map request is by a node
    that is connected: it asks for its whole map over its stream, each node once, for it gets no more in an hour.
    """

    def __init__(self, place: Place, crowd: Crowd, members: Sequence[Member], visitors: Sequence[Member]) -> None:
        self._place, self._crowd, self._visitors = place, crowd, visitors
        self._connected = random.Random(2).sample(members, len(members))
        self._part = len(members) // LOADS
        self._number = VISITOR

    def registrations(self, count: int) -> list[Member]:
        """Machines that are to register, their keys made."""
        self._number += count
        return [self._place.newcomer(self._number - place, LONER) for place in range(count)]

    def reconnects(self, count: int) -> list[Member]:
        """Nodes that are to come back."""
        asked = [self._visitors[place % len(self._visitors)] for place in range(count)]
        for member in asked:
            member.cursor = None
        return asked

    def map_requests(self, count: int) -> list[Member]:
        """Connected nodes that have not asked yet, one of `LOADS` parts at most."""
        asked = self._connected[: min(count, self._part)]
        del self._connected[: len(asked)]
        return asked

    def mixed(self, count: int, *, one_in: int) -> list[Member]:
        """One registration in so many, the others map requests, in no order."""
        asked = self.map_requests(count - count // one_in)
        asked += self.registrations(len(asked) // (one_in - 1))
        return random.Random(3).sample(asked, len(asked))

    def saturate(self, kind: Callable[[int], list[Member]], seconds: float) -> Load:
        """As many as can be for so long."""
        asked = kind(int(seconds * MOST))
        began, cpu = time.perf_counter(), self._place.cpu()
        end = began + seconds
        in_time = (member for member in asked if time.perf_counter() < end)
        took = self._crowd.connect(in_time, hang_up=True)
        return Load(len(took) / (time.perf_counter() - began), took, (self._place.cpu() - cpu) / len(took))

    def pace(self, kind: Callable[[int], list[Member]], rate: float, seconds: float) -> Load:
        """As many a second, for so long at most."""
        asked, cpu = kind(int(rate * seconds)), self._place.cpu()
        took = self._crowd.pace(asked, rate)
        return Load(rate, took, (self._place.cpu() - cpu) / len(took))


@dataclass
class Resumption:
    """Seconds from the start of the server until all were told what they missed, and bytes that it told them."""

    ready: float
    seconds: float
    bytes: int
    missed: int
    """Changes, each counted for everybody whom it concerned."""
    cpu: float


def restart(place: Place, crowd: Crowd, members: Sequence[Member], *, tls: bool, home: int) -> Resumption:
    """Stop the server, let some nodes be renamed, start it, and let all come back, in no order."""
    crowd.on_refused = lambda stream, message: None
    place.stop()
    crowd.until(lambda: not crowd.streams, "that all streams end with the server")
    renamed = [member for member in members if member.number % GROUP < MISSED]
    place.rename(renamed, f"away-{time.monotonic_ns() % 10_000}")
    missed = sum(len([each for each in members if each.group == group]) for group in {each.group for each in renamed})
    began, size = time.perf_counter(), crowd.bytes
    ready = place.start(tls=tls)
    crowd.server = place.target
    shuffled = random.Random(1).sample(members, len(members))
    crowd.connect(shuffled, home=home)
    took = time.perf_counter() - began
    crowd.rest(PATIENCE + SETTLING)
    return Resumption(ready, took, crowd.bytes - size, missed * MISSED, place.cpu())


@dataclass
class Unrest:
    """Sessions that a storm began, the server's share of a core, and map frames that reached anyone else."""

    sessions: int
    cpu: float
    frames: int


def storm(place: Place, crowd: Crowd, restless: Sequence[Member], seconds: float, home: int) -> Unrest:
    """Let these nodes reconnect in a tight loop, while nothing changes."""
    crowd.rest(PATIENCE + SETTLING)
    few, begun, strayed = set(restless), [0], list[Stream]()

    def hear(stream: Stream, message: wire.Map) -> None:
        if stream.member in few:
            stream.report(home)
            again.append(stream)
        else:
            strayed.append(stream)

    def ended(stream: Stream, _: Any = None) -> None:
        if stream.member in few:
            again.append(stream)

    again = [member.stream for member in restless if member.stream is not None]
    crowd.on_map, crowd.on_refused, crowd.on_lost = hear, ended, ended
    cpu, end = place.cpu(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        due, again[:] = set(again), []
        for stream in due:
            crowd.close(stream)
            crowd.open(stream.member)
            begun[0] += 1
        crowd.serve(0.1)
    return Unrest(begun[0], (place.cpu() - cpu) / seconds, len(strayed))
