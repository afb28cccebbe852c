"""Frames of HTTP/2 by their heads, before the library sees them: it would hold what is too long until all of it is
there, and work through whatever came at once without a pause."""

from __future__ import annotations

from collections.abc import Iterator

from h2.exceptions import FrameTooLargeError

PREFACE_BYTES, FRAME_HEAD, MAX_FRAME = 24, 9, 16384
HEADERS, CONTINUATION = 1, 9
AT_ONCE = 8
"""Frames that begin in one part."""


class Frames:
    """``max_head`` bounds the bytes of one request's head, over all frames that it came in."""

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._left, self._head, self._block = PREFACE_BYTES, b"", 0

    def parts(self, data: bytes) -> Iterator[bytes]:
        """What arrived, in parts; ProtocolError where a frame begins that is longer than we accept."""
        at = start = begun = 0
        while at < len(data):
            if self._left:
                at += self._pass_over(len(data) - at)
                continue
            passed = min(FRAME_HEAD - len(self._head), len(data) - at)
            if begun == AT_ONCE:
                yield data[start:at]
                start, begun = at, 0
            begun += not self._head
            self._begin(self._head + data[at : at + passed])
            at += passed
        yield data[start:]

    def _pass_over(self, there: int) -> int:
        passed = min(self._left, there)
        self._left -= passed
        return passed

    def _begin(self, head: bytes) -> None:
        self._head = head
        if len(head) < FRAME_HEAD:
            return
        self._left, self._head = int.from_bytes(head[:3], "big"), b""
        if head[3] in (HEADERS, CONTINUATION):
            self._block = self._left + (self._block if head[3] == CONTINUATION else 0)
        if self._left > MAX_FRAME or self._block > self._max_head:
            raise FrameTooLargeError(f"a frame of {self._left} bytes")
