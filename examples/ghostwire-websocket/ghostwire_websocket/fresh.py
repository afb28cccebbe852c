"""Datagrams that wait for a connection, or for room in one: few, and the oldest go first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ghostwire import BURST, Buffer
from ghostwire_websocket.counters import Counters

QUEUE = 2 * BURST


class Fresh:
    """At most `QUEUE` datagrams."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._queue: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, datagrams: Sequence[Buffer]) -> bool:
        """Keep copies; False where any, of these or of older ones, had to go."""
        self._queue.extend(map(bytes, datagrams))
        surplus = max(0, len(self._queue) - QUEUE)
        for _ in range(surplus):
            self._queue.popleft()
        self._counters.dropped_queue += surplus
        return not surplus

    def take(self) -> list[bytes]:
        """The oldest that make a burst."""
        return [self._queue.popleft() for _ in range(min(BURST, len(self._queue)))]

    def drop(self) -> None:
        """There will be no connection."""
        self._counters.dropped_away += len(self._queue)
        self._queue.clear()
