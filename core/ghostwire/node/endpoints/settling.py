"""Tells of changes once they have settled: a flock of them is told as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

QUIET, LONGEST = 0.5, 2.0
"""Seconds without a change until it is told, and that one waits at most."""


class Settling:
    """Calls ``tell`` after calls of `changed`."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell, self._loop = tell, asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._latest = 0.0

    def changed(self) -> None:
        """Something is other than before."""
        now = self._loop.time()
        if self._timer is None:
            self._latest = now + LONGEST
        else:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(now + QUIET, self._latest), self._settled)

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _settled(self) -> None:
        self._timer = None
        self._tell()
