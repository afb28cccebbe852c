"""How much a relay carries, told at a steady pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ghostwire.capabilities.relaying import Load
from ghostwire.engine import SECOND, Clock
from ghostwire.wire.messages import LOAD_INTERVAL, RelayLoad


class Measuring:
    """Every `LOAD_INTERVAL` from `begin` to `close`, ``tell`` gets the load, the rate being that since the last."""

    def __init__(self, load: Callable[[], Load], clock: Clock, tell: Callable[[RelayLoad], object]) -> None:
        self._load, self._clock, self._tell = load, clock, tell
        self._carried = self._at = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Count from now."""
        self.close()
        self._carried, self._at = self._load().bytes, self._clock.now()
        self._timer = asyncio.get_running_loop().call_later(LOAD_INTERVAL, self._measure)

    def close(self) -> None:
        """Tell no more; harmless when called twice."""
        if self._timer is not None:
            self._timer.cancel()

    def _measure(self) -> None:
        load, elapsed = self._load(), self._clock.now() - self._at
        rate = max(0, load.bytes - self._carried) * SECOND // max(1, elapsed)
        self._tell(RelayLoad(clients=load.clients, bytes_per_second=rate))
        self.begin()
