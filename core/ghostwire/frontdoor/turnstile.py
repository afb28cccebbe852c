"""Spreads costly work over the event loop's passes, so that whatever else it does gets its turn in between."""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """Lets ``at_once`` through in one pass of the loop, in the order they came."""

    def __init__(self, at_once: int) -> None:
        self._at_once = self._free = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._turning = False

    async def turn(self) -> None:
        """Wait for one's turn."""
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._next)
        if self._free and not self._waiting:
            self._free -= 1
            return
        self._waiting.append(self._loop.create_future())
        await self._waiting[-1]

    def _next(self) -> None:
        self._free = self._at_once
        while self._free and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                self._free -= 1
        self._turning = self._free < self._at_once
        if self._turning:
            self._loop.call_soon(self._next)
