"""Whether this machine slept: its clock counts that time, the event loop's does not."""

from __future__ import annotations

import asyncio

from ghostwire.engine import SECOND, Clock

SLEEP = 5 * SECOND
"""What makes a difference: address translators and relays wait longer than less."""


class Sleep:
    """Compares the clocks whenever it is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._loop = clock, asyncio.get_running_loop()
        self._ahead = self._lead()

    def slept(self) -> bool:
        """Whether the machine slept since this was last asked."""
        before, self._ahead = self._ahead, self._lead()
        return self._ahead - before > SLEEP

    def _lead(self) -> int:
        return self._clock.now() - round(self._loop.time() * SECOND)
