"""Time that moves only when told to, and randomness that repeats."""

from __future__ import annotations

import random
from typing import Self

from ghostwire.engine import SECOND

BOOTED = 1_000 * SECOND
"""Where a manual clock's monotonic time begins."""
WALL = 1_800_000_000 * SECOND
"""Where its wall time begins."""


class ManualClock:
    """A `Clock` for tests: `advance` moves both times together, `jump_wall` the wall alone. All in nanoseconds."""

    def __init__(self, now: int = BOOTED, wall: int = WALL) -> None:
        self._now, self._wall = now, wall

    def now(self) -> int:
        """Monotonic nanoseconds."""
        return self._now

    def wall(self) -> int:
        """Nanoseconds of Unix time."""
        return self._wall

    def advance(self, nanoseconds: int) -> None:
        """Let time pass; ValueError where it would run backwards."""
        if nanoseconds < 0:
            raise ValueError("monotonic time cannot run backwards; use jump_wall for a wall clock that is set back")
        self._now += nanoseconds
        self._wall += nanoseconds

    def jump_wall(self, nanoseconds: int) -> None:
        """Set the wall clock forward, or back with a negative number, while no time passes."""
        self._wall += nanoseconds

    def __repr__(self) -> str:
        return f"ManualClock({self._now / SECOND:.3f} s)"


class SeededEntropy:
    """An `Entropy` whose bytes follow from its seed, and how many were taken before."""

    def __init__(self, seed: object = 0) -> None:
        self._seed = seed
        self._random = random.Random(repr(seed))

    def __call__(self, size: int, /) -> bytes:
        """The next ``size`` bytes."""
        return self._random.randbytes(size)

    def child(self, name: object) -> Self:
        """Another source for a part of the test, independent of how much this one was used."""
        return type(self)((self._seed, name))
