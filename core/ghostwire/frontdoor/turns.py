"""Small steps of many, in turns, with time for all other work in between."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol

SLICE = 0.004
"""Seconds of steps before other work gets its turn."""


class Stepping(Protocol):
    """Something that is done in steps."""

    def step(self) -> bool:
        """Do a little; whether there is more to do now."""


class Turns:
    """Each of those that have something to do does one step, then the next does; together they take `SLICE` at once."""

    def __init__(self) -> None:
        self._order: deque[Stepping] = deque()
        self._held: set[Stepping] = set()
        self._running = False

    def add(self, one: Stepping) -> None:
        """It has something to do; harmless where that is known."""
        if one not in self._held:
            self._held.add(one)
            self._order.append(one)
        self._go_on()

    def _go_on(self) -> None:
        if not self._running and self._order:
            self._running = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        begun = monotonic()
        self._running = False
        try:
            while self._order and monotonic() - begun < SLICE:
                self._step(self._order.popleft())
        finally:
            self._go_on()

    def _step(self, one: Stepping) -> None:
        self._held.discard(one)
        if one.step():
            self.add(one)
