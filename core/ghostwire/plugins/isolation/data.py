"""One end's rings and the pipes that tell of them: a frame is put into shared memory, then the head into the pipe.

The system calls are the barriers between the processors. The two ends of a pipe are files
of their own, so that neither side can have the other one wait.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ghostwire.capabilities.transport import Buffer
from ghostwire.errors import RemoteProtocolError
from ghostwire.plugins.isolation.frames import MAX_FRAME, Cutter, Frame
from ghostwire.plugins.isolation.memory import rings, shared
from ghostwire.plugins.isolation.ring import Reader, Writer

_HEADS: Final = 4096
"""Bytes read of the pipe at once; the last eight count."""
_FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK


class Data:
    """``heard`` is the pipe to read, ``told`` the one to write; each is -1 once closed."""

    def __init__(self, heard: int, told: int, reader: Reader, writer: Writer) -> None:
        self.heard, self.told = heard, told
        self._reader, self._writer = reader, writer
        self._cutter = Cutter(reader.buffer)
        self._telling = False

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Send one frame, gathered from its parts; False where there is no room for it. RemoteProtocolError where the
        other side lied of the room that it made. It is told when the event loop's pass is over, of all at once."""
        head = self._writer.put(parts) if self.told >= 0 else None
        if head is None:
            return False
        self._writer.keep(head)
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)
        return True

    def _tell(self) -> None:
        """Wake the other side; where that can't be, it has not read for long, and hears of it with the next frame."""
        self._telling = False
        if self.told >= 0:
            with suppress(OSError):
                os.write(self.told, self._writer.head.to_bytes(8, "little"))

    def listen(self) -> bool:
        """Learn what waits; False where the other side is gone. RemoteProtocolError where it lied."""
        try:
            heads = os.read(self.heard, _HEADS)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if len(heads) % 8:
            raise RemoteProtocolError("told of frames by halves")
        if heads:
            self._reader.told(int.from_bytes(heads[-8:], "little"))
        return bool(heads)

    @property
    def waiting(self) -> bool:
        """Whether `receive` has something to give."""
        return self.heard >= 0 and self._reader.waiting

    def receive(self) -> Frame | None:
        """The next frame, in memory that the next call uses again; None where none is known. RemoteProtocolError."""
        if self.heard < 0:
            return None
        place = self._reader.take()
        return None if place is None else self._cutter.cut(*place)

    def close(self) -> None:
        """Close both pipes, and let go of the memory; harmless when called twice."""
        if self.heard < 0:
            return
        os.close(self.heard)
        os.close(self.told)
        self.heard = self.told = -1
        self._reader.release()
        self._writer.release()


def data_pair() -> tuple[Data, tuple[int, int, int]]:
    """The daemon's end, and the descriptors of the child's, as `inherited_data` takes them."""
    opened: list[int] = []
    try:
        for _ in range(2):
            opened += os.pipe2(_FLAGS)
        opened.append(shared())
        outgoing, incoming = rings(opened[-1])
    except OSError:
        for each in opened:
            os.close(each)
        raise
    to_child, told, heard, from_child, memory = opened
    reader = Reader(incoming, memoryview(bytearray(MAX_FRAME)))
    return Data(heard, told, reader, Writer(outgoing)), (to_child, from_child, memory)


def inherited_data(heard: int, told: int, memory: int) -> Data:
    """A child's end."""
    incoming, outgoing = rings(memory)
    os.close(memory)
    return Data(heard, told, Reader(incoming), Writer(outgoing))
