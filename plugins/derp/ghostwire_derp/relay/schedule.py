"""When what is due: one wheel for all keep-alives, one heap for all who must wait before they are read again."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from ghostwire.engine import SECOND, Entropy
from ghostwire_derp.relay.client import Client


class KeepAlives:
    """Clients by the second in which they get their next KeepAlive."""

    def __init__(self, interval: int, jitter: int, entropy: Entropy) -> None:
        self._interval, self._jitter, self._entropy = interval, jitter, entropy
        self._slots: dict[int, dict[Client, None]] = {}

    def add(self, client: Client, now: int) -> None:
        """One interval and some jitter from now."""
        jitter = int.from_bytes(self._entropy(2), "big") * self._jitter >> 16
        client.alive_at = (now + self._interval + jitter) // SECOND
        self._slots.setdefault(client.alive_at, {})[client] = None

    def remove(self, client: Client) -> None:
        """Harmless where it is not in."""
        if (slot := self._slots.get(client.alive_at)) is not None:
            slot.pop(client, None)
            if not slot:
                del self._slots[client.alive_at]

    def due(self, now: int) -> list[Client]:
        """Those whose second has come, taken out."""
        second = now // SECOND
        slots = [slot for slot in self._slots if slot <= second]
        return [client for slot in slots for client in self._slots.pop(slot)]


class Pauses:
    """Clients that are not read until their rate allows it."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Client]] = []
        self._order = itertools.count()

    def add(self, client: Client, until: int) -> None:
        """Pause until that time."""
        heapq.heappush(self._heap, (until, next(self._order), client))

    def due(self, now: int) -> Iterator[Client]:
        """Those that may be read again."""
        while self._heap and self._heap[0][0] <= now:
            client = heapq.heappop(self._heap)[2]
            if not client.closed:
                yield client

    @property
    def next(self) -> int | None:
        """When the next pause ends."""
        return self._heap[0][0] if self._heap else None
