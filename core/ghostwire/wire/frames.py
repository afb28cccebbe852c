"""Frames over a byte stream: u32 BE length, then that many bytes."""

from __future__ import annotations

import struct

from ghostwire.errors import RemoteProtocolError

HEADER_BYTES = 4
_length = struct.Struct(">I")


def frame_header(size: int) -> bytes:
    """What goes before a frame of ``size`` bytes."""
    return _length.pack(size)


class FrameReader:
    """Cuts a byte stream into frames of at most ``limit`` bytes, however the stream was chopped.

    It holds no more than one unfinished frame, and only those of its bytes that arrived: a length alone reserves
    nothing.
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes; RemoteProtocolError where one is announced longer than ``limit``."""
        buffer = self._buffer
        buffer += data
        frames, start = [], 0
        while (end := self._end(start)) is not None:
            frames.append(bytes(memoryview(buffer)[start + HEADER_BYTES : end]))
            start = end
        if start:
            del buffer[:start]
        return frames

    def _end(self, start: int) -> int | None:
        """Where the frame that begins at ``start`` ends, if it is whole."""
        if len(self._buffer) - start < HEADER_BYTES:
            return None
        (size,) = _length.unpack_from(self._buffer, start)
        if size > self.limit:
            raise RemoteProtocolError(f"a frame of {size} bytes; at most {self.limit} are accepted")
        end = start + HEADER_BYTES + int(size)
        return end if end <= len(self._buffer) else None
