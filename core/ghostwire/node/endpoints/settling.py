"""Tells of changes once they have settled: a flock of them is told as one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

QUIET, LONGEST = 0.5, 2.0
"""Seconds without a change until it is told, and that one waits at most."""
MOST, WHILE = 8, 120.0
"""Changes told in so many seconds at most: a relay or router that lies may say something else every time."""


class Settling:
    """Calls ``tell`` after calls of `changed`."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell, self._loop = tell, asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0
        self._told: deque[float] = deque(maxlen=MOST)

    def changed(self) -> None:
        """Something is other than before."""
        now = self._loop.time()
        if self._timer is None:
            self._latest = now + LONGEST
        else:
            self._timer.cancel()
        soonest = self._told[0] + WHILE if len(self._told) == MOST else now
        self._timer = self._loop.call_at(max(min(now + QUIET, self._latest), soonest), self._settled)

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _settled(self) -> None:
        self._timer = None
        self._told.append(self._loop.time())
        self._tell()
