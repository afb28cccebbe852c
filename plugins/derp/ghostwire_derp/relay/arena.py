"""The one memory into which everything is read; frames are rewritten and sent from where they lie."""

from __future__ import annotations

from typing import Final

ARENA_BYTES: Final = 512 * 1024
READ_BYTES: Final = 128 * 1024
"""What one client may have read at a time, so that the others get their turn."""
SLACK: Final = 128
"""Bytes behind the end, so that a header may be unpacked wherever a frame begins."""


class Arena:
    """``used`` bytes are spoken for until the next flush: frames there wait to be sent."""

    __slots__ = ("data", "size", "used", "view")

    def __init__(self, size: int = ARENA_BYTES) -> None:
        self.data = bytearray(size + SLACK)
        self.view = memoryview(self.data)
        self.size, self.used = size, 0

    @property
    def room(self) -> int:
        """Bytes that can be read before the next flush."""
        return self.size - self.used

    def load(self, kept: bytes, data: bytes | memoryview) -> tuple[int, int]:
        """Place a stream's kept bytes and new ones behind what is used; where they begin and end."""
        start = self.used
        middle, end = start + len(kept), start + len(kept) + len(data)
        self.view[start:middle], self.view[middle:end] = kept, data
        return start, end
