"""What changed when, for viewers who come back: a *tick* counts every commit and every event that is no record.

A cursor of this start of the server says up to which tick its viewer was told; one of an earlier start says a
revision, which the change log knows. Of nodes and routes that moved in the policy's eyes it is kept where they stood,
so that only who saw them there is told that they are gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from ghostwire.model import Cursor

MAX_TRACES = 200_000
"""Former places that are remembered; who was away for longer gets a full map."""

S = TypeVar("S")


class Unknown:
    """Where something stood that the log of an earlier start does not say."""


UNKNOWN: Final = Unknown()


class Trace(NamedTuple, Generic[S]):
    """Until ``tick`` this one stood there (None: nowhere)."""

    tick: int
    id: int
    was: S | Unknown | None


class Trail(Generic[S]):
    """Where things of one kind stood before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._traces: deque[Trace[S]] = deque()

    def leave(self, trace: Trace[S]) -> None:
        """Remember a former place."""
        self._traces.append(trace)
        if len(self._traces) > MAX_TRACES:
            self._clock.forget(self._traces.popleft().tick)

    def since(self, tick: int) -> Iterator[Trace[S]]:
        """Former places left after that tick, the latest first."""
        for trace in reversed(self._traces):
            if trace.tick <= tick:
                return
            yield trace

    def compact(self, tick: int) -> None:
        """Forget what nobody asks for who was told up to that tick."""
        while self._traces and self._traces[0].tick <= tick:
            self._traces.popleft()


class Clock:
    """Ticks, and what cursors say of them. ``server`` is this start's random id."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.tick = self.revision = 0
        self.newest = 0
        """The highest id of a node so far."""
        self._marks: dict[int, tuple[bytes, int]] = {}
        self._oldest, self._horizon = 1, 0
        self._loaded = self._policy = 0

    def commit(self, revision: int, mark: bytes) -> None:
        """A commit is taken over."""
        self.tick, self.revision = self.tick + 1, revision
        self._marks[revision] = mark, self.tick

    def event(self) -> None:
        """Something else happens."""
        self.tick += 1

    def loaded(self, revision: int, mark: bytes, oldest: int, policy: int) -> None:
        """The log was read, up to this revision and back to ``oldest``; ``policy`` is the policy's last in it."""
        self.revision, self._oldest, self._loaded, self._policy = revision, oldest, self.tick, policy
        self._marks[revision] = mark, self.tick

    @property
    def cursor(self) -> Cursor:
        """The position as viewers keep it."""
        mark = self._marks.get(self.revision, (b"", 0))[0]
        return Cursor(self.revision, mark, {self._server: self.tick}, newest=self.newest)

    def resume(self, cursor: Cursor | None) -> int | None:
        """The tick up to which who holds this cursor was told; None where he must begin anew."""
        held = self._marks.get(cursor.revision) if cursor else None
        if cursor is None or held is None or held[0] != cursor.mark:
            return None
        told = cursor.clock.get(self._server)
        if told is None and cursor.revision < self._policy:
            return None
        since = min(held[1], self._loaded) if told is None else min(told, self.tick)
        return since if since >= self._horizon else None

    def forget(self, tick: int) -> None:
        """Who was told up to before this tick begins anew."""
        self._horizon = max(self._horizon, tick)

    def compact(self, before: int) -> int:
        """Forget revisions before that one; the tick up to which everything else may be forgotten."""
        before = min(before, self.revision)
        for revision in range(self._oldest, before):
            self._marks.pop(revision, None)
        self._oldest = max(self._oldest, before)
        self.forget(self._marks[self._oldest][1] if self._oldest in self._marks else 0)
        return self._horizon
