"""What was asked of the mesh and what came of it, to be compared with what the database says in the end."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


@dataclass(eq=False)
class Operation:
    """A write: ``kind`` says which, ``about`` is what it is about, ``value`` what the records then hold.

    ``unknown`` until somebody hears: it may have happened, at any time after ``began``, or never. Who asks ``times``
    without an answer may get it as often, where what the first brought was undone meanwhile.
    """

    number: int
    kind: str
    about: Any
    value: Any
    began: float
    outcome: str = UNKNOWN
    ended: float = math.inf
    answer: Any = None
    times: int = 1

    def ok(self, answer: Any = None) -> None:
        """It was acknowledged."""
        self._end(OK, answer)

    def failed(self, why: Any = None) -> None:
        """It was refused for good."""
        self._end(FAILED, why)

    def __str__(self) -> str:
        return f"{self.kind} #{self.number} of {self.about} -> {self.value} ({self.outcome}: {self.answer})"

    def _end(self, outcome: str, answer: Any) -> None:
        self.outcome, self.ended, self.answer = outcome, time.monotonic(), answer


class History:
    """All operations, what clients saw that must not be, and who holds what."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.violations: dict[str, str] = {}
        self.marks: dict[int, bytes] = {}
        self.outages: list[tuple[float, float]] = []
        """When nobody could have been served (from, to)."""
        self.waits: list[float] = []
        """Seconds that members were without a session."""
        self.counts: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._holders: dict[tuple[str, Any], Any] = {}

    def begin(self, kind: str, about: Any, value: Any = None) -> Operation:
        """Something is about to be asked for."""
        operation = Operation(next(self._numbers), kind, about, value, time.monotonic())
        self.operations.append(operation)
        return operation

    def of(self, kind: str) -> list[Operation]:
        """The operations of that kind."""
        return [each for each in self.operations if each.kind == kind]

    def violated(self, rule: str, detail: object) -> None:
        """A rule was broken; the first time is kept."""
        self.counts[f"violated: {rule}"] += 1
        self.violations.setdefault(rule, str(detail))

    def told(self, revision: int, mark: bytes) -> None:
        """Some server said that this revision has this mark."""
        if self.marks.setdefault(revision, mark) != mark:
            self.violated("a revision has one mark", f"revision {revision}: {self.marks[revision]!r} and {mark!r}")

    def holds(self, what: str, value: Any, holder: Any) -> None:
        """Some server said that this is the holder of that value, for good."""
        first = self._holders.setdefault((what, value), holder)
        if first != holder:
            self.violated("nothing is held twice", f"{what} {value!r}: {first} and {holder}")

    def waited(self, since: float, until: float, limit: float) -> None:
        """A member had no session so long."""
        self.waits.append(until - since)
        out = sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.outages)
        if until - since - out > limit:
            self.violated("who lost its server is at another in time", f"{until - since:.1f} s")
