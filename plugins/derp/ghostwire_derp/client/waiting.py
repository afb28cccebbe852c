"""Datagrams that wait for a connection: few, and the oldest go first, so that a handshake survives a cold relay."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostwire import Buffer
    from ghostwire_derp.client.connection import Connection
    from ghostwire_derp.client.counters import Counters

QUEUE = 32


class Waiting:
    """At most `QUEUE` datagrams, each with the peer it is for."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._queue: deque[tuple[bytes, bytes]] = deque()

    def add(self, peer: bytes, datagrams: Sequence[Buffer]) -> bool:
        """Keep a copy of these; False where any of them found no room, not even after older ones were dropped."""
        kept = datagrams[-QUEUE:]
        self._queue.extend((peer, bytes(datagram)) for datagram in kept)
        surplus = max(0, len(self._queue) - QUEUE)
        for _ in range(surplus):
            self._queue.popleft()
        self._counters.dropped_queue += surplus + len(datagrams) - len(kept)
        return len(kept) == len(datagrams)

    def flush(self, connection: Connection) -> None:
        """Send them, in order."""
        while self._queue:
            peer, datagram = self._queue.popleft()
            connection.send(peer, (datagram,))

    def drop(self) -> None:
        """There will be no connection."""
        self._counters.dropped_away += len(self._queue)
        self._queue.clear()
