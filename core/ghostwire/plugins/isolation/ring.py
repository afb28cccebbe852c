"""A ring of frames in memory that two processes share: one writes, one reads, and neither believes the other.

    0   u64  bytes that the reader has freed, ever growing
    64  frames, each at a multiple of 8: its length u64 (0: the rest of the ring is not used), then its bytes

The writer's own count of bytes, its head, is no part of this memory: it is told through a pipe once the frame is
there, and what the reader then does comes after. The daemon copies what it reads before it looks at it, so that it
stays what it was. Numbers are the processor's own, since both ends are on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ghostwire.capabilities.transport import Buffer
from ghostwire.errors import RemoteProtocolError

COUNTERS: Final = 64
"""Bytes before the frames: a cache line, so that counting does not disturb them."""
_LENGTH: Final = 8


class _Ring:
    def __init__(self, memory: memoryview) -> None:
        self._numbers = memory.cast("Q")
        self._frames = memory[COUNTERS:]
        self._capacity = len(memory) - COUNTERS

    def release(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._frames.release()


class Writer(_Ring):
    """Of frames; the length of ``memory`` is a multiple of 8, and at least four times that of the largest frame."""

    def __init__(self, memory: memoryview) -> None:
        super().__init__(memory)
        self.head = self._freed = 0
        """Bytes written so far, those included that were left out."""

    def put(self, parts: Sequence[Buffer]) -> int | None:
        """Write one frame, gathered from its parts, and give the new head; `keep` makes it so. None where there is no
        room. RemoteProtocolError where the reader freed what was not there."""
        frame = b"".join(parts)
        start, end = self._span(len(frame))
        if end - self._freed > self._capacity and end - self._freed_now() > self._capacity:
            return None
        if start != self.head:
            self._numbers[_number_at(self.head % self._capacity)] = 0
        at = start % self._capacity
        self._numbers[_number_at(at)] = len(frame)
        self._frames[at + _LENGTH : at + _LENGTH + len(frame)] = frame
        return end

    def keep(self, head: int) -> None:
        """The reader was told this head."""
        self.head = head

    def _span(self, length: int) -> tuple[int, int]:
        """Where a frame begins and ends that does not go over the end of the ring."""
        size = _size(length)
        left = self._capacity - self.head % self._capacity
        start = self.head if size <= left else self.head + left
        return start, start + size

    def _freed_now(self) -> int:
        freed = self._numbers[0]
        if not self._freed <= freed <= self.head:
            raise RemoteProtocolError("freed what was never sent to it")
        self._freed = freed
        return freed


class Reader(_Ring):
    """Of frames that are no longer than ``buffer``, to whose beginning each is copied. Without one the writer is
    trusted, and frames stay where they are until the next is taken."""

    def __init__(self, memory: memoryview, buffer: memoryview | None = None) -> None:
        super().__init__(memory)
        self._head = self._tail = 0
        self._copies = buffer is not None
        self.buffer = self._frames if buffer is None else buffer
        """Where frames are found that were taken."""

    def told(self, head: int) -> None:
        """The writer's head is here now; RemoteProtocolError where that can't be."""
        if not self._head <= head <= self._tail + self._capacity:
            raise RemoteProtocolError("sent more than the ring holds")
        self._head = head

    @property
    def waiting(self) -> bool:
        """Whether there are more frames."""
        return self._tail != self._head

    def take(self) -> tuple[int, int] | None:
        """Where the next frame is in `buffer`, and its length; None where none waits. RemoteProtocolError where there
        is something else."""
        if not self._copies:
            self._numbers[0] = self._tail
        if self._tail == self._head:
            return None
        at = self._tail % self._capacity
        length = self._numbers[_number_at(at)]
        if length == 0:
            self._tail, at = self._tail - at + self._capacity, 0
            length = self._numbers[_number_at(0)]
        size = _size(length)
        if not 0 < length <= len(self.buffer) or size > min(self._capacity - at, self._head - self._tail):
            raise RemoteProtocolError(f"sent a frame of {length} bytes where there is none")
        self._tail += size
        if not self._copies:
            return at + _LENGTH, length
        self.buffer[:length] = self._frames[at + _LENGTH : at + _LENGTH + length]
        self._numbers[0] = self._tail
        return 0, length


def _size(length: int) -> int:
    """Bytes of the ring that a frame takes."""
    return _LENGTH + length + 7 & ~7


def _number_at(at: int) -> int:
    """The index of the number at this place among the frames."""
    return (COUNTERS + at) // 8
