"""What a TLS connection still has to write: small writes joined, large ones cut into records, nothing copied twice."""

from __future__ import annotations

from typing import Final

RECORD: Final = 16 * 1024
"""Bytes of plaintext that TLS carries in one record."""
HIGH_WATER: Final = 64 * 1024
_NOTHING: Final = memoryview(b"")


class Outbox:
    """``size`` bytes in order; `high` and `low` are the sizes at which the writer is to stop and to go on."""

    __slots__ = ("_head", "_queue", "high", "low", "size")

    def __init__(self) -> None:
        self.set_limits(HIGH_WATER)
        self.clear()

    def set_limits(self, high: int | None, low: int | None = None) -> None:
        """As asyncio has it: ``low`` is a quarter of ``high`` unless it is given, and the other way round."""
        high = (HIGH_WATER if low is None else 4 * low) if high is None else high
        low = high // 4 if low is None else low
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self.high, self.low = high, low

    def clear(self) -> None:
        """Forget everything."""
        self._queue: list[bytes] = []
        self._head, self.size = _NOTHING, 0

    def put(self, data: bytes | bytearray | memoryview) -> None:
        """Add at the end; what is not bytes is copied, since it may change."""
        self._queue.append(bytes(data))
        self.size += len(self._queue[-1])

    def record(self) -> memoryview:
        """What to write next, empty if there is nothing: the same bytes until `taken`, as OpenSSL demands."""
        if not self._head and self._queue:
            self._head = memoryview(b"".join(self._queue))
            self._queue.clear()
        return self._head[:RECORD]

    def taken(self, count: int) -> None:
        """These many of `record` are written."""
        self._head = self._head[count:] or _NOTHING  # an empty view would keep what it is a view of
        self.size -= count
