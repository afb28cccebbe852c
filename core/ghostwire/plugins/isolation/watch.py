"""Judges a plugin's process by what is measured of it; an engine without I/O.

It must answer pings, keep its memory within a limit, and not burn the processor while it carries nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ghostwire.engine import SECOND

INTERVAL: Final = SECOND
"""Between two looks at it."""


class Limits(msgspec.Struct, frozen=True):
    """What a process may do. Times in nanoseconds, memory in bytes; ``busy`` is a share of one processor."""

    silence: int = 5 * SECOND
    memory: int = 512 * 1024 * 1024
    idle: int = 10 * SECOND
    busy: float = 0.5


class Watch:
    """Of one process, from ``now`` on."""

    def __init__(self, now: int, limits: Limits = Limits()) -> None:  # noqa: B008 (frozen)
        self._limits = limits
        self._next = now
        self._asked: int | None = None
        self._looked = now
        self.number = 0
        """The last ping's."""
        self._calm = now
        """Since when no data moved, or the processor was left alone."""
        self._moved, self._burnt = 0, 0

    def deadline(self) -> int:
        """When to look again."""
        return self._next

    def due(self, now: int) -> bool:
        """Whether to look now; if so, measure the process and call `look`."""
        return now >= self._next

    def ponged(self, number: int) -> None:
        """It answered a ping."""
        if number == self.number:
            self._asked = None

    def look(self, now: int, *, cpu: int, memory: int, moved: int) -> str:
        """What is wrong with it, in one line; empty where nothing is. Then ping it with `number`.

        ``cpu`` nanoseconds it has used, ``memory`` bytes it holds, ``moved`` frames that went either way so far.
        """
        slept = now - self._looked > 3 * INTERVAL
        self._next, self._looked = now + INTERVAL, now
        if moved != self._moved or slept:
            self._moved, self._burnt, self._calm = moved, cpu, now
        if slept:
            self._asked = None
        verdict = self._verdict(now, cpu, memory)
        if self._asked is None:
            self._asked, self.number = now, self.number + 1
        if now - self._calm >= self._limits.idle:
            self._calm, self._burnt = now, cpu
        return verdict

    def _verdict(self, now: int, cpu: int, memory: int) -> str:
        limits = self._limits
        if memory > limits.memory:
            return f"holds {memory >> 20} MiB of memory; {limits.memory >> 20} MiB is the limit"
        if self._asked is not None and now - self._asked >= limits.silence:
            return f"hangs: it answered nothing for {limits.silence // SECOND} s"
        idle = now - self._calm
        if idle >= limits.idle and cpu - self._burnt > limits.busy * idle:
            return f"burnt the processor for {idle // SECOND} s while no data moved"
        return ""
