"""Frames of datagrams between the daemon and a plugin's process; both ends number the paths that they name themselves.

kind u8 | path u32 | count u16 | what the kind says, big-endian
NAME    count 0, then the endpoint's text
BURST   count lengths u16, then the datagrams
EVEN    the length u16 of all but the last, and of the last u16, then the datagrams
KNOCK   count is the time to live, then one datagram
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final

import msgspec

from ghostwire.capabilities.transport import BURST
from ghostwire.errors import RemoteProtocolError
from ghostwire.plugins.isolation.protocol import MAX_TEXT, is_endpoint

MAX_FRAME: Final = 160 * 1024
"""Bytes of one frame."""
MAX_DATAGRAM: Final = 65_535
MAX_PATHS: Final = 4096
"""Paths that one side remembers of those that the other named; the oldest are forgotten."""
SHAPES: Final = 128
"""Shapes of bursts whose cuts are kept."""

NAME, BURST_OF, EVEN, KNOCK = 1, 2, 3, 4
_HEAD = struct.Struct(">BIH")
_EVEN = struct.Struct(">BIHHH")


class Frame(msgspec.Struct, frozen=True):
    """A frame, taken apart: ``ttl`` of a knock, ``text`` of a name, else datagrams that are views of the buffer."""

    kind: int
    path: int
    datagrams: Sequence[memoryview] = ()
    text: str = ""
    ttl: int = 0


class Cutter:
    """Takes frames apart that lie in one buffer; no bytes of datagrams are copied."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._even = lru_cache(SHAPES)(self._cut_even)

    def cut(self, at: int, length: int) -> Frame:
        """The frame of this place and length; RemoteProtocolError where it is none."""
        if length < _HEAD.size:
            raise RemoteProtocolError(f"sent a frame of {length} bytes")
        kind, path, count = _HEAD.unpack_from(self._buffer, at)
        if kind == EVEN:
            return Frame(BURST_OF, path, self._cut_bounded(at, length, count))
        if kind == BURST_OF:
            return Frame(kind, path, self._cut_each(at, length, count))
        if kind == NAME:
            return Frame(kind, path, text=_text(self._buffer[at + _HEAD.size : at + length]))
        if kind == KNOCK:
            return Frame(kind, path, (self._buffer[at + _HEAD.size : at + length],), ttl=count)
        raise RemoteProtocolError(f"sent a frame of kind {kind}")

    def _cut_bounded(self, at: int, length: int, count: int) -> Sequence[memoryview]:
        if not 0 < count <= BURST or length < _EVEN.size:
            raise _no_burst(count, length)
        size, last = _EVEN.unpack_from(self._buffer, at)[3:]
        if _EVEN.size + (count - 1) * size + last != length or not (size and last):
            raise _no_burst(count, length)
        return self._even(at + _EVEN.size, size, count - 1, last)

    def _cut_even(self, start: int, size: int, count: int, last: int) -> Sequence[memoryview]:
        end = start + count * size
        cuts = [self._buffer[at : at + size] for at in range(start, end, size)]
        return (*cuts, self._buffer[end : end + last])

    def _cut_each(self, at: int, length: int, count: int) -> Sequence[memoryview]:
        start = at + _HEAD.size + 2 * count
        if not 0 < count <= BURST or start > at + length:
            raise _no_burst(count, length)
        sizes = _burst_head(count).unpack_from(self._buffer, at)[3:]
        if start + sum(sizes) != at + length or not min(sizes):
            raise _no_burst(count, length)
        datagrams = []
        for size in sizes:
            datagrams.append(self._buffer[start : start + size])
            start += size
        return datagrams


def parse_frame(view: memoryview) -> Frame:
    """A frame on its own, taken apart; RemoteProtocolError where it is none."""
    return Cutter(view).cut(0, len(view))


def name_frame(path: int, text: str) -> bytes:
    """Give an endpoint's text a number."""
    return _HEAD.pack(NAME, path, 0) + text.encode()


def burst_head(path: int, sizes: Sequence[int]) -> bytes:
    """What goes before the datagrams of a burst."""
    count, size = len(sizes), sizes[0]
    if is_even(sizes):
        return _EVEN.pack(EVEN, path, count, size, sizes[-1])
    return _burst_head(count).pack(BURST_OF, path, count, *sizes)


def is_even(sizes: Sequence[int]) -> bool:
    """Whether all but the last are the same."""
    return sizes[:-1].count(sizes[0]) == len(sizes) - 1


def knock_head(path: int, ttl: int) -> bytes:
    """What goes before the datagram of a knock."""
    return _HEAD.pack(KNOCK, path, ttl)


@cache
def _burst_head(count: int) -> struct.Struct:
    return struct.Struct(f">BIH{count}H")


def _no_burst(count: int, length: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"sent a burst of {count} datagrams in {length} bytes, or of other lengths than it says")


def _text(view: memoryview) -> str:
    try:
        text = bytes(view[: MAX_TEXT + 1]).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("named a path with bytes that are no text") from None
    if not is_endpoint(text):
        raise RemoteProtocolError("named a path with a text that is no endpoint's")
    return text
