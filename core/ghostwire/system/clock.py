"""The machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """CLOCK_BOOTTIME and wall time."""

    def now(self) -> int:
        """Nanoseconds since boot, sleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall(self) -> int:
        """Nanoseconds of Unix time."""
        return time.time_ns()
