"""The protocol's times, and timers that cost nothing to put off. Times are nanoseconds.

Source: the WireGuard paper, section 6.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from ghostwire.engine import MILLISECOND, SECOND

REKEY_AFTER_MESSAGES: Final = 1 << 60
REJECT_AFTER_MESSAGES: Final = (1 << 64) - (1 << 13) - 1
REKEY_AFTER: Final = 120 * SECOND
"""Age at which a session's initiator renews it when it sends."""
REJECT_AFTER: Final = 180 * SECOND
"""Age from which a session seals and opens nothing."""
REKEY_TIMEOUT: Final = 5 * SECOND
"""Between two initiations; a random part of `JITTER` is added before a retransmission."""
JITTER: Final = 333 * MILLISECOND
REKEY_ATTEMPTS: Final = 18
"""Retransmissions, 90 s in all, after which a handshake is given up."""
KEEPALIVE: Final = 10 * SECOND
"""After this long without an own datagram, what was received is answered by an empty one."""
ANSWER: Final = KEEPALIVE + REKEY_TIMEOUT
"""Data unanswered for this long makes a new handshake."""
LATE_REKEY_AFTER: Final = REJECT_AFTER - ANSWER
"""Age at which a session's initiator renews it, once, although it only receives."""
WIPE_AFTER: Final = 3 * REJECT_AFTER
"""Without a new session for this long, all keys are forgotten."""
INITIATION_GAP: Final = 20 * MILLISECOND
"""Between two initiations taken from one peer."""
NEVER: Final = 1 << 63


class Timer:
    """Calls ``fire(now)`` once ``due`` has come; 0 is off.

    ``due`` may be set to 0 or to a later time directly, which costs nothing: an entry that comes up early is put
    back. Only an earlier time needs `TimerQueue.arm`.
    """

    __slots__ = ("due", "fire", "queued")

    def __init__(self, fire: Callable[[int], None]) -> None:
        self.fire = fire
        self.due = 0
        self.queued = NEVER


class TimerQueue:
    """Timers by time; those that are off leave it by themselves."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._serial = 0

    def arm(self, timer: Timer, due: int) -> None:
        """Set the timer to ``due``, be it nearer or later than before."""
        timer.due = due
        if due < timer.queued:
            timer.queued = due
            self._serial += 1
            heapq.heappush(self._heap, (due, self._serial, timer))

    def deadline(self) -> int | None:
        """When to call `advance` at the latest; it may find that nothing is due."""
        return self._heap[0][0] if self._heap else None

    def advance(self, now: int) -> None:
        """Fire every timer due by ``now``."""
        while self._heap and self._heap[0][0] <= now:
            when, _, timer = heapq.heappop(self._heap)
            if when != timer.queued:
                continue
            timer.queued = NEVER
            if timer.due > now:
                self.arm(timer, timer.due)
            elif timer.due:
                timer.due = 0
                timer.fire(now)
