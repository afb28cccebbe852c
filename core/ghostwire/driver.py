"""The one place where engines meet asyncio: it arms one timer for an engine's next deadline and drains after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ghostwire.engine import SECOND, Clock, Engine


class Driver:
    """Keeps one engine on time.

    Call `settle` after every mutation of the engine: it drains it and re-arms the timer, which costs nothing where
    the deadline has not come nearer (a timer that fires early just asks again).
    """

    def __init__(self, engine: Engine, clock: Clock, drain: Callable[[], None]) -> None:
        self._engine, self._clock, self._drain = engine, clock, drain
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._armed: int | None = None
        self._closed = False

    def settle(self) -> None:
        """Drain the engine's sends and events, then arm its deadline."""
        if self._closed:
            return
        self._drain()
        deadline = self._engine.deadline()
        if deadline is None or (self._armed is not None and self._armed <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._loop.call_later(max(0, deadline - self._clock.now()) / SECOND, self._fire)

    def _fire(self) -> None:
        self._timer = self._armed = None
        self._engine.advance(self._clock.now())
        self.settle()

    def close(self) -> None:
        """Never call the engine again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
