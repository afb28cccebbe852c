"""What a stream did not take at once: whole frames, bounded, the oldest dropped first, path discovery sent first."""

from __future__ import annotations

from collections import deque
from itertools import chain, islice
from typing import Final

from ghostwire_derp.frames import DISCO_MAGIC, FORWARD_PACKET, HEADER_BYTES, LEAST_DISCO, RECV_PACKET, header

AT_ONCE: Final = 64
"""Frames offered to the stream together."""
_KEYS: Final = {RECV_PACKET: 32, FORWARD_PACKET: 64}
"""Bytes of keys before the data, by kind of frame."""


class Queue:
    """Sent in the order: the frame begun, control frames, discovery packets, other packets.

    Control frames are never dropped: where they take more than their room, `overflowed` says so, and the reader is to
    be given up. ``size`` is the bytes held, control frames and the one begun included.
    """

    __slots__ = ("_begun", "_control", "_control_size", "_disco", "_disco_size", "_packets", "_packets_size", "size")

    def __init__(self) -> None:
        self._begun = b""
        self._control: deque[bytes] = deque()
        self._disco: deque[bytes] = deque()
        self._packets: deque[bytes] = deque()
        self._control_size = self._disco_size = self._packets_size = self.size = 0

    def __len__(self) -> int:
        """Whole packets that wait."""
        return len(self._disco) + len(self._packets)

    def add(self, frames: bytes, sent: int = 0) -> None:
        """Append whole frames, of which the first ``sent`` bytes are gone already."""
        at, end = 0, len(frames)
        while at < end:
            kind, length = header.unpack_from(frames, at)
            after = at + HEADER_BYTES + length
            if at >= sent:
                self._append(kind, frames, at, after)
            elif after > sent:
                self._begun = frames[sent:after]
                self.size += len(self._begun)
            at = after

    def _append(self, kind: int, frames: bytes, at: int, after: int) -> None:
        keys, size = _KEYS.get(kind), after - at
        self.size += size
        if keys is None:
            self._control.append(frames[at:after])
            self._control_size += size
        elif size >= HEADER_BYTES + keys + LEAST_DISCO and frames.startswith(DISCO_MAGIC, at + HEADER_BYTES + keys):
            self._disco.append(frames[at:after])
            self._disco_size += size
        else:
            self._packets.append(frames[at:after])
            self._packets_size += size

    def trim(self, packets: int, disco: int) -> tuple[int, int]:
        """Drop the oldest until both kinds fit these bytes; how many packets and discovery packets were dropped."""
        dropped = discos = 0
        while self._packets_size > packets:
            size = len(self._packets.popleft())
            self._packets_size -= size
            self.size -= size
            dropped += 1
        while self._disco_size > disco:
            size = len(self._disco.popleft())
            self._disco_size -= size
            self.size -= size
            discos += 1
        return dropped, discos

    def overflowed(self, room: int) -> bool:
        """Whether control frames take more than ``room`` bytes."""
        return self._control_size > room

    def holds(self, kind: int) -> bool:
        """Whether a control frame of this kind waits."""
        return any(frame[0] == kind for frame in self._control)

    def front(self) -> list[bytes]:
        """What to send next; empty where nothing waits."""
        front = list(islice(chain(self._control, self._disco, self._packets), AT_ONCE))
        return [self._begun, *front] if self._begun else front

    def sent(self, count: int) -> None:
        """The first ``count`` bytes of `front` are gone."""
        self.size -= count
        if self._begun:
            taken, self._begun = min(count, len(self._begun)), self._begun[count:]
            count -= taken
        while count > 0:
            frame = self._pop()
            self._begun = frame[count:]
            count -= len(frame)

    def _pop(self) -> bytes:
        """Take the first whole frame out; its bytes still count in ``size``."""
        if self._control:
            frame = self._control.popleft()
            self._control_size -= len(frame)
        elif self._disco:
            frame = self._disco.popleft()
            self._disco_size -= len(frame)
        else:
            frame = self._packets.popleft()
            self._packets_size -= len(frame)
        return frame
