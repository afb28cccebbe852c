"""What changed when, for viewers who come back: a *tick* counts every commit and every event that is no record.

A cursor says a revision, which the change log knows, and how far its viewer was told of what is no record: up to which
tick by this server, and up to which counter of each other. A server's counter is its tick when it told the others, and
they note at which tick of their own they heard it; so what a viewer lacks here is what came after the least of these
ticks, wherever it was told the rest. What each server judges for itself, as that a key has expired, is told again if
that was just before the viewer's last revision. Of nodes and routes that moved in the policy's eyes it is kept where
they stood, so that only who saw them there is told that they are gone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Reversible
from contextlib import contextmanager
from itertools import takewhile
from typing import Final, Generic, NamedTuple, TypeVar

from ghostwire.engine import SECOND
from ghostwire.model import Cursor
from ghostwire.server.pieces import Recency

MAX_TRACES = 200_000
"""Former places that are remembered; who was away for longer gets a full map."""

MAX_STEPS = 1024
"""Counters of one server that are remembered one by one."""
MAX_GONE = 16
"""Servers that are gone, of which it is remembered what they told."""
SLACK = 60 * SECOND
"""Nanoseconds by which the servers' clocks may differ."""

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
    """Where things of one kind stood before; found by what moved, and by where it stood."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._traces: deque[Trace[S]] = deque()
        self._of: dict[int, list[Trace[S]]] = {}
        self._at: dict[S | Unknown | None, deque[Trace[S]]] = {}
        self._moved: Recency[int] = Recency()
        self._left: Recency[S | Unknown | None] = Recency()

    def leave(self, trace: Trace[S]) -> None:
        """Remember a former place."""
        self._traces.append(trace)
        self._of.setdefault(trace.id, []).append(trace)
        self._at.setdefault(trace.was, deque()).append(trace)
        self._moved.touch(trace.id, trace.tick)
        self._left.touch(trace.was, trace.tick)
        if len(self._traces) > MAX_TRACES:
            self._clock.forget(self._drop().tick)

    def since(self, tick: int) -> Iterator[Trace[S]]:
        """Former places left after that tick, the latest first."""
        return _after(self._traces, tick)

    def of(self, ids: set[int], tick: int) -> Iterator[Trace[S]]:
        """Former places that these left after that tick."""
        for id_ in self._moved.among(ids, tick):
            yield from _after(self._of[id_], tick)

    def left(self, tick: int) -> Iterator[tuple[S | Unknown | None, Iterator[Trace[S]]]]:
        """Places that anything left after that tick, and what did."""
        for was in self._left.since(tick):
            yield was, _after(self._at[was], tick)

    def compact(self, tick: int) -> None:
        """Forget what nobody asks for who was told up to that tick."""
        while self._traces and self._traces[0].tick <= tick:
            self._drop()

    def _drop(self) -> Trace[S]:
        trace = self._traces.popleft()
        of, at = self._of[trace.id], self._at[trace.was]
        del of[0]
        at.popleft()
        if not of:
            del self._of[trace.id]
            self._moved.forget(trace.id)
        if not at:
            del self._at[trace.was]
            self._left.forget(trace.was)
        return trace


def _after(traces: Reversible[Trace[S]], tick: int) -> Iterator[Trace[S]]:
    """The latest first."""
    return takewhile(lambda trace: trace.tick > tick, reversed(traces))


class Steps:
    """At which tick what grows became larger than it was. Where there are many, less is known: an earlier tick."""

    def __init__(self) -> None:
        self._held: list[tuple[int, int]] = []

    def note(self, number: int, tick: int) -> None:
        """What came with this number came after that tick."""
        if self._held and number <= self._held[-1][0]:
            return
        self._held.append((number, tick))
        if len(self._held) > MAX_STEPS:
            pairs = zip(self._held[::2], self._held[1::2], strict=False)
            odd = self._held[-1:] if len(self._held) % 2 else []
            self._held = [(later[0], earlier[1]) for earlier, later in pairs] + odd

    def after(self, number: int) -> int | None:
        """The tick after which more than that number came; None where nothing did."""
        at = bisect_right(self._held, number, key=lambda step: step[0])
        return self._held[at][1] if at < len(self._held) else None

    @property
    def last(self) -> int | None:
        """The tick after which the last came."""
        return self._held[-1][1] if self._held else None


class Heard:
    """What other servers told, by their ids."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._steps: defaultdict[str, Steps] = defaultdict(Steps)
        self._gone: dict[str, None] = {}

    def note(self, server: str, counter: int) -> None:
        """This server was heard up to that counter."""
        self.counters[server] = max(counter, self.counters.get(server, 0))
        self._gone.pop(server, None)

    def step(self, server: str, counter: int, tick: int) -> None:
        """What it told up to that counter was news to viewers, after that tick."""
        self._steps[server].note(counter, tick)

    def gone(self, server: str) -> int:
        """It is gone; the tick up to which all is forgotten because too many are."""
        if server in self.counters:
            self._gone[server] = None
        if len(self._gone) <= MAX_GONE:
            return 0
        oldest = next(iter(self._gone))
        del self._gone[oldest], self.counters[oldest]
        last = self._steps.pop(oldest, Steps()).last
        return 0 if last is None else last + 1

    def told(self, clock: Mapping[str, int], tick: int) -> int:
        """The tick, at most this one, up to which the holder of these counters was told what the others told."""
        after = (steps.after(clock.get(server, -1)) for server, steps in self._steps.items())
        return min([tick, *(each for each in after if each is not None)])


class Clock:
    """Ticks, and what cursors say of them. ``server`` is this start's random id; ``now`` gives nanoseconds of a clock
    that nobody sets: one that was ahead would hide what was judged after it."""

    def __init__(self, server: str, now: Callable[[], int]) -> None:
        self.server, self._now = server, now
        self.tick = self.revision = 0
        self.newest = 0
        """The highest id of a node so far."""
        self._cursor = Cursor(0, b"")
        self._marks: dict[int, tuple[bytes, int, int]] = {}
        self._oldest, self._horizon = 1, 0
        self._loaded = self._policy = 0
        self._settled: int | None = None
        """The last revision by whose policy viewers are told, where a newer policy is stored."""
        self._heard, self._own, self._judged = Heard(), Steps(), Steps()
        self._hearing = False

    def commit(self, revision: int, mark: bytes) -> None:
        """A commit is taken over."""
        self.tick, self.revision = self.tick + 1, revision
        self._marks[revision] = mark, self.tick, self._now()

    def awaits_policy(self) -> None:
        """The last commit stored a policy that is not in force yet: until it is, cursors stay before that commit.

        So who was told by the policy before, and comes back to a server that never put this one in force step by step
        as it came, is taken for one who was away when it came.
        """
        if self._settled is None:
            self._settled = self.revision - 1

    def settled(self) -> None:
        """The policy stored last is in force, or will not be."""
        self._settled = None

    def event(self) -> None:
        """Something else happens."""
        if not self._hearing:
            self._own.note(self.tick + 1, self.tick)
        self.tick += 1

    def count(self) -> int:
        """This server's next counter: what it tells others under it is all that happened up to now."""
        self.tick += 1
        return self.tick

    def judged(self) -> None:
        """Something happens that each server judges for itself, by its own clock or in its own time."""
        self._judged.note(self._now(), self.tick)
        self.tick += 1

    @contextmanager
    def hearing(self, server: str, counter: int) -> Iterator[None]:
        """What happens within is what another server told up to its counter."""
        before, self._hearing = self.tick, True
        try:
            yield
        finally:
            self._hearing = False
        self._heard.note(server, counter)
        if self.tick > before:
            self._heard.step(server, counter, before)

    def gone(self, server: str) -> None:
        """Another server is gone."""
        self.forget(self._heard.gone(server))

    def loaded(self, revision: int, mark: bytes, oldest: int, policy: int) -> None:
        """The log was read, up to this revision and back to ``oldest``; ``policy`` is the policy's last in it."""
        self.revision, self._oldest, self._loaded, self._policy = revision, oldest, self.tick, policy
        self._marks[revision] = mark, self.tick, self._now()
        self._judged = Steps()  # what holds now is told with the records

    @property
    def cursor(self) -> Cursor:
        """The position as viewers keep it: one object for all who are told up to there."""
        revision = self.revision if self._settled is None else self._settled
        held = self._marks.get(revision)
        clock = {**self._heard.counters, self.server: self.tick}
        cursor = Cursor(revision, held[0] if held else b"", clock, newest=self.newest)
        if cursor != self._cursor:
            self._cursor = cursor
        return self._cursor

    def resume(self, cursor: Cursor | None) -> int | None:
        """The tick up to which who holds this cursor was told; None where he cannot be told what he missed."""
        since = self.told(cursor)
        if cursor is None or since is None or since < self._horizon:
            return None
        if self._settled is not None and cursor.revision > self._settled:
            return None  # told by a policy that is not in force here yet
        return None if self.server not in cursor.clock and cursor.revision < self._policy else since

    def told(self, cursor: Cursor | None) -> int | None:
        """The tick up to which nodes that its holder has are as they were; None where it is of another history."""
        held = self._marks.get(cursor.revision) if cursor else None
        if cursor is None or held is None or held[0] != cursor.mark:
            return None
        since, mine = self._before(cursor.revision + 1), cursor.clock.get(self.server)
        if cursor.clock.keys() == {self.server}:
            return min(since, cursor.clock[self.server])
        own = self._loaded if mine is None else self._own.after(mine)
        judged = self._judged.after(held[2] - SLACK)
        since = min(each for each in (since, own, judged) if each is not None)
        return self._heard.told(cursor.clock, since)

    def _before(self, revision: int) -> int:
        """The last tick before that revision was taken over."""
        if revision > self.revision:
            return self.tick
        held = self._marks.get(revision)
        return held[1] - 1 if held else self._marks[revision - 1][1]

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
