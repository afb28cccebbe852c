"""One timer for each of many ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LONGEST = 3600.0
"""Seconds after which a timer looks again, since wall clocks jump."""


class Timers:
    """Calls ``due(id)`` once for each armed id; what it does about it is its own."""

    def __init__(self, due: Callable[[int], None], longest: float = LONGEST) -> None:
        self._due, self._longest = due, longest
        self._handles: dict[int, asyncio.TimerHandle] = {}

    def arm(self, id_: int, seconds: float) -> None:
        """Call after so many seconds, or after ``longest`` where that is sooner; replaces an earlier arming."""
        self.cancel(id_)
        delay = min(max(0.0, seconds), self._longest)
        self._handles[id_] = asyncio.get_running_loop().call_later(delay, self._fire, id_)

    def cancel(self, id_: int) -> None:
        """Do not call; harmless where it is not armed."""
        handle = self._handles.pop(id_, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        """Cancel all."""
        for id_ in list(self._handles):
            self.cancel(id_)

    def __contains__(self, id_: int) -> bool:
        return id_ in self._handles

    def _fire(self, id_: int) -> None:
        del self._handles[id_]
        self._due(id_)
