"""Many simulated nodes in one process, on one epoll: how they come, and what reaches whom when."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from benchmarks.control import wire
from benchmarks.control.member import Member, Stream, Target

from ghostwire.wire.messages import KEEPALIVE

PATIENCE = 60.0
"""Seconds for anything that is waited for."""
AT_ONCE = 48
"""Nodes that connect at the same time."""


class Crowd:
    """All streams. ``frames`` and ``bytes`` count the map frames that came, as sealed."""

    def __init__(self, server: Target) -> None:
        self.server = server
        self.streams: dict[int, Stream] = {}
        self.frames = self.bytes = 0
        self.on_map: Callable[[Stream, wire.Map], Any] = _nothing
        self.on_refused: Callable[[Stream, wire.Refused], Any] = _refused
        self.on_lost: Callable[[Stream], Any] = _lost
        self.on_mapped: Callable[[Stream], Any] = _nothing
        self._poll = select.epoll()
        self._quiet: list[tuple[float, int, Stream]] = []
        """When each stream is to be looked at next: it pings if it was quiet for long; a heap."""

    def open(self, member: Member) -> Stream:
        """Connect this member."""
        stream = member.stream = Stream(member, self.server, self._heard)
        self.streams[stream.socket.fileno()] = stream
        self._poll.register(stream.socket, select.EPOLLIN)
        heapq.heappush(self._quiet, (stream.sent + KEEPALIVE, id(stream), stream))
        return stream

    def close(self, stream: Stream) -> None:
        """Hang up on the server."""
        descriptor = stream.socket.fileno()
        if self.streams.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
            stream.socket.close()
            if stream.member.stream is stream:
                stream.member.stream = None

    def close_all(self) -> None:
        """Hang up all."""
        for stream in list(self.streams.values()):
            self.close(stream)

    def serve(self, timeout: float) -> None:
        """Take what came, or wait for it so long."""
        select.select((self._poll,), (), (), timeout)  # epoll itself waits for whole milliseconds
        for descriptor, _ in self._poll.poll(0, 512):
            stream = self.streams.get(descriptor)
            if stream is not None and not stream.ready():
                self.close(stream)
                self.on_lost(stream)
        self._ping(time.perf_counter())

    def _ping(self, now: float) -> None:
        """Each when it is due itself: all at once, as no real nodes do, would hold up everything else."""
        while self._quiet and self._quiet[0][0] < now:
            _, number, stream = heapq.heappop(self._quiet)
            if stream.member.stream is stream:
                due = stream.ping(now)
                heapq.heappush(self._quiet, (due, number, stream))

    def until(self, done: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Serve until then."""
        end = time.perf_counter() + patience
        while not done():
            if time.perf_counter() > end:
                raise SystemExit(f"error: after {patience:.0f} s still waiting: {what}")
            self.serve(0.1)

    def rest(self, seconds: float) -> None:
        """Serve so long."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self.serve(left)

    def connect(
        self, members: Iterable[Member], at_once: int = AT_ONCE, *, home: int | None = None, hang_up: bool = False
    ) -> list[float]:
        """Connect these until each has its map, so many at once; seconds that each took.

        Each then says that its home is that region, as nodes do, or hangs up. Who is connected asks for its whole map
        over its stream instead, and stays.
        """
        return self._paced(((0.0, member) for member in members), at_once, home, hang_up)

    def pace(self, members: Sequence[Member], rate: float, at_once: int = AT_ONCE) -> list[float]:
        """The same at ``rate`` a second, hanging up; seconds, a late start being delay."""
        begun = time.perf_counter()
        due = ((begun + number / rate, member) for number, member in enumerate(members))
        return self._paced(due, at_once, None, True)

    def _paced(self, due: Iterator[tuple[float, Member]], at_once: int, home: int | None, hang_up: bool) -> list[float]:
        took, waiting, visiting = list[float](), dict[Stream, float](), set[Stream]()

        def mapped(stream: Stream) -> None:
            since = waiting.pop(stream, None)
            if since is not None:
                took.append(time.perf_counter() - since)
                done.append(stream)

        self.on_mapped, done = mapped, list[Stream]()
        following, heard = next(due, None), time.perf_counter()
        while following or waiting:
            while following and len(waiting) < at_once and following[0] <= time.perf_counter():
                stream = following[1].stream or self.open(following[1])
                waiting[stream] = following[0] or time.perf_counter()
                if stream.mapped:
                    stream.refresh()
                else:
                    visiting.add(stream)
                following = next(due, None)
            idle = following and len(waiting) < at_once
            self.serve(max(0.0, following[0] - time.perf_counter()) if following and idle else 1.0)
            for stream in done:
                heard = time.perf_counter()
                if stream not in visiting:
                    continue
                visiting.discard(stream)
                if hang_up:
                    self.close(stream)
                else:
                    stream.report(home)
            done.clear()
            if waiting and time.perf_counter() > heard + PATIENCE:
                raise SystemExit(f"error: {len(waiting)} nodes wait for their map in vain")
        self.on_mapped = _nothing
        return took

    def _heard(self, stream: Stream, message: Any, size: int) -> None:
        if isinstance(message, wire.Map):
            self.frames += 1
            self.bytes += size
            if message.full or not stream.whole:
                stream.whole = False
                self.on_mapped(stream)
            self.on_map(stream, message)
        elif isinstance(message, wire.Refused):
            self.on_refused(stream, message)


def _nothing(*_: Any) -> None:
    """Nobody wants to know."""


def _refused(stream: Stream, message: wire.Refused) -> None:
    if message.code not in ("replaced", "removed"):
        raise SystemExit(f"error: {stream.member.name} was refused: {message.code}: {message.message}")


def _lost(stream: Stream) -> None:
    if not stream.welcomed:
        raise SystemExit(f"error: the server hung up on {stream.member.name} before its welcome")
