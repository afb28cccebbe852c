"""Cuts what a relay sends into frames, in one buffer and without copying a datagram."""

from __future__ import annotations

from ghostwire import BURST
from ghostwire.errors import RemoteProtocolError
from ghostwire_derp.client.events import Received
from ghostwire_derp.frames import HEADER_BYTES, KEY_BYTES, MAX_DATA, MAX_FRAME, RECV_PACKET, header

BUFFER_BYTES = 256 * 1024
MAX_PACKET = KEY_BYTES + MAX_DATA
"""The longest frame that is looked at; what is longer, of a kind unknown here, is skipped."""

_PREFIX = HEADER_BYTES + KEY_BYTES

Frame = tuple[int, bytes]
"""Kind and payload."""


class FrameReader:
    """Put bytes into `buffer`, say how many (`filled`), then take `next` until it gives None.

    There is always room: whatever is taken as far as it goes leaves less than one packet behind.
    """

    def __init__(self) -> None:
        self._storage = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._storage)
        self._start = self._end = self._skip = 0

    def buffer(self) -> memoryview:
        """Where to put what arrives next; the datagrams of earlier bursts are overwritten."""
        if self._start:
            held = self._end - self._start
            self._view[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held
        return self._view[self._end :]

    def filled(self, size: int) -> None:
        """So many bytes were put into `buffer`."""
        self._end += size

    def take_all(self) -> bytes:
        """Everything there is, frames or not."""
        rest = bytes(self._view[self._start : self._end])
        self._start = self._end = 0
        return rest

    def put_back(self, data: bytes) -> None:
        """Let this, the end of what `take_all` gave, be read as frames."""
        self._view[: len(data)] = data
        self._end = len(data)

    def next(self) -> Received | Frame | None:
        """The next frame, a burst of RecvPackets together; RemoteProtocolError where a size is impossible."""
        while self._end - self._start >= HEADER_BYTES:
            if self._skip:
                self._discard()
                continue
            kind, size = header.unpack_from(self._storage, self._start)
            if size > MAX_FRAME or (kind == RECV_PACKET and not KEY_BYTES <= size <= MAX_PACKET):
                raise RemoteProtocolError(f"sent a frame of {size} bytes (type {kind:#04x})")
            if size > MAX_PACKET:
                self._skip = HEADER_BYTES + size
                continue
            stop = self._start + HEADER_BYTES + size
            if stop > self._end:
                return None
            if kind == RECV_PACKET:
                return self._burst()
            payload = bytes(self._view[self._start + HEADER_BYTES : stop])
            self._start = stop
            return kind, payload
        return None

    def _discard(self) -> None:
        here = min(self._skip, self._end - self._start)
        self._start += here
        self._skip -= here

    def _burst(self) -> Received:
        """The packet that begins here, and those of the same source right behind it."""
        storage, view, at, end = self._storage, self._view, self._start, self._end
        unpack, source = header.unpack_from, bytes(view[at + HEADER_BYTES : at + _PREFIX])
        datagrams: list[memoryview] = []
        while len(datagrams) < BURST and end - at >= _PREFIX:
            kind, size = unpack(storage, at)
            stop = at + HEADER_BYTES + size
            if kind != RECV_PACKET or stop > end or not KEY_BYTES <= size <= MAX_PACKET:
                break
            if not storage.startswith(source, at + HEADER_BYTES):
                break
            datagrams.append(view[at + _PREFIX : stop])
            at = stop
        self._start = at
        return Received(source, datagrams)
