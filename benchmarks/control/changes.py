"""One change after the other in a mesh whose nodes are all connected: what each costs, and when the last one saw it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.control import wire
from benchmarks.control.crowd import Crowd
from benchmarks.control.member import Member, Stream
from benchmarks.control.place import Place

from ghostwire.server.views.fanout import PATIENCE

JOINER = 1_000_000
"""Numbers of machines that join in order to be seen."""
IDLE = 2.0
"""Seconds in which it is seen what the server does while nothing changes."""


@dataclass
class Cost:
    """Of one kind of change: seconds of the server's processors, frames and bytes, and seconds until all knew."""

    changes: int = 0
    affected: int = 0
    cpu: float = 0.0
    bytes: int = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def cpu_us(self) -> float:
        """Microseconds a change and affected node."""
        return self.cpu * 1e6 / self.affected

    @property
    def bytes_each(self) -> float:
        """Bytes a change and affected node."""
        return self.bytes / self.affected

    def __add__(self, other: Cost) -> Cost:
        latencies = self.latencies + other.latencies
        changes, affected = self.changes + other.changes, self.affected + other.affected
        return Cost(changes, affected, self.cpu + other.cpu, self.bytes + other.bytes, latencies)


class Change(NamedTuple):
    """Something to do, whom it concerns (ids), and how their frames show it."""

    act: Callable[[], object]
    concerned: set[int]
    shows: Callable[[wire.Map], bool]


class Changes:
    """Changes of every kind in a connected mesh; ``everyone``: all see all."""

    def __init__(self, place: Place, crowd: Crowd, members: list[Member], *, everyone: bool = False) -> None:
        self._place, self._crowd, self._members, self._everyone = place, crowd, members, everyone
        self._joined = len(members)
        self.idle = 0.0
        """Share of a core that the server uses while nothing changes."""

    def measure(self, count: int) -> dict[str, Cost]:
        """So many changes of each kind, each in another group where there are several."""
        self._crowd.rest(PATIENCE)
        self.idle = self._watch_idle()
        chosen = [self._members[place * len(self._members) // count] for place in range(count)]
        joiners = [self._joiner(member) for member in chosen]
        return {
            "join": self._cost(map(self._join, joiners)),
            "leave": self._cost(map(self._leave, joiners)),
            "rename": self._cost(map(self._rename, chosen)),
            "home": self._cost(map(self._move, chosen)),
        }

    def concerned(self, member: Member) -> set[int]:
        """The ids of those who see a member, itself among them."""
        return {each.id for each in self._members if self._everyone or each.group == member.group}

    def rename(self, member: Member, name: str) -> None:
        """Through the administration's API."""
        self._place.api.patch(f"/api/v1/nodes/{member.id}", {"name": name})

    def _watch_idle(self) -> float:
        before = self._place.cpu()
        self._crowd.rest(IDLE)
        return (self._place.cpu() - before) / IDLE

    def _cost(self, changes: Iterable[Change]) -> Cost:
        """The server's work less what it does anyhow."""
        cost, crowd, place = Cost(), self._crowd, self._place
        began, cpu, size = time.perf_counter(), place.cpu(), crowd.bytes
        for change in changes:
            cost.latencies.append(self._see(change))
            cost.changes, cost.affected = cost.changes + 1, cost.affected + len(change.concerned)
        crowd.rest(0.1)
        took = time.perf_counter() - began
        cost.cpu, cost.bytes = place.cpu() - cpu - took * self.idle, crowd.bytes - size
        return cost

    def _see(self, change: Change) -> float:
        """Seconds until the last one knows."""
        lacking = set(change.concerned)

        def hear(stream: Stream, heard: wire.Map) -> None:
            if stream.member.id in lacking and change.shows(heard):
                lacking.discard(stream.member.id)

        self._crowd.on_map = hear
        began = time.perf_counter()
        change.act()
        self._crowd.until(lambda: not lacking, "that a change reaches all whom it concerns")
        return time.perf_counter() - began

    def _joiner(self, member: Member) -> Member:
        self._joined += 1
        return self._place.newcomer(JOINER + self._joined, member.group)

    def _join(self, joiner: Member) -> Change:
        name = joiner.name
        concerned = self.concerned(joiner)
        return Change(
            lambda: self._crowd.open(joiner), concerned, lambda heard: any(node.name == name for node in heard.nodes)
        )

    def _leave(self, joiner: Member) -> Change:
        assert joiner.stream is not None
        return Change(joiner.stream.leave, self.concerned(joiner), lambda heard: joiner.id in heard.removed_nodes)

    def _rename(self, member: Member) -> Change:
        name = f"renamed-{member.number}-{time.monotonic_ns() % 10**9:09}"
        concerned = self.concerned(member)
        return Change(
            lambda: self.rename(member, name), concerned, lambda heard: any(node.name == name for node in heard.nodes)
        )

    def _move(self, member: Member) -> Change:
        stream = member.stream
        assert stream is not None
        return Change(lambda: stream.report(None), self.concerned(member), lambda heard: member.id in heard.homes)
