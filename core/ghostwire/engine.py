"""The shape of a protocol engine: bytes, sources and time in; bytes to send, events and the next deadline out.

    +--------------------------------------------------------------------------------------------+
    | One mutation (a call that may change state), then drain: sends and events first, then ask   |
    | for the deadline, then the next mutation. An engine does no I/O, reads no clock, and gets   |
    | its randomness injected, so that a run is a function of its inputs.                         |
    +--------------------------------------------------------------------------------------------+

Times are integer nanoseconds of one monotonic clock (CLOCK_BOOTTIME in programs, a ManualClock in tests).
"""

from __future__ import annotations

from typing import Protocol

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


class Engine(Protocol):
    """What a driver needs of any engine."""

    def deadline(self) -> int | None:
        """When `advance` must be called next, in nanoseconds; None for never."""

    def advance(self, now: int) -> None:
        """Do what is due at ``now``; calling early or twice does no harm."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> int:
        """Monotonic nanoseconds that also count while the machine sleeps."""

    def wall(self) -> int:
        """Nanoseconds of Unix time; only for wires and people, since it jumps."""


class Entropy(Protocol):
    """Where randomness comes from: `os.urandom`, or a seeded source in tests."""

    def __call__(self, size: int, /) -> bytes:
        """``size`` random bytes."""
