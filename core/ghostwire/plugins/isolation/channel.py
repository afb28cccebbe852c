"""What lies between the daemon and a plugin's process: a socket for control messages, which may carry descriptors, and
`Data` for frames of datagrams. Neither end ever waits for the other, but where it says so."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Sequence
from typing import Final

from ghostwire.capabilities.transport import Buffer
from ghostwire.errors import Unavailable
from ghostwire.plugins.isolation.data import Data, data_pair, inherited_data
from ghostwire.plugins.isolation.frames import Frame
from ghostwire.plugins.isolation.protocol import MAX_CONTROL

BUFFER_BYTES: Final = 1024 * 1024
_SO_SNDBUFFORCE: Final = 32
_DESCRIPTORS: Final = 1
"""Descriptors that one message carries at most."""


class Channel:
    """One end. ``control`` and ``data`` are its descriptors, for add_reader; both are non-blocking."""

    def __init__(self, control: socket.socket, data: Data) -> None:
        self._control, self._data = control, data
        control.setblocking(False)

    @property
    def control(self) -> int:
        """The control socket's descriptor; -1 once closed."""
        return self._control.fileno()

    @property
    def data(self) -> int:
        """The descriptor that tells of frames; -1 once closed."""
        return self._data.heard

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that must stay open."""
        return (self.control, self._data.heard, self._data.told)

    def tell(self, message: bytes, descriptor: int | None = None) -> bool:
        """Send one control message now; False where the other side does not read, or is gone."""
        try:
            if descriptor is None:
                self._control.send(message)
            else:
                socket.send_fds(self._control, [message], [descriptor])
        except OSError:
            return False
        return True

    def hear(self) -> bytes | None:
        """The next control message; None where none waits, empty where the other side is gone.

        Descriptors that come along are refused: the system closes them.
        """
        try:
            return self._control.recv(MAX_CONTROL)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def hear_all(self) -> tuple[bytes, socket.socket | None] | None:
        """The next control message with the socket that came along; None where none waits."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, MAX_CONTROL, _DESCRIPTORS)
        except BlockingIOError:
            return None
        except OSError:
            return b"", None
        return data, socket.socket(fileno=descriptors[0]) if descriptors else None

    def wait(self, seconds: float, *, writable: bool = False) -> None:
        """Wait until a control message can be read (or written); Unavailable where that takes longer."""
        poll = select.poll()
        poll.register(self._control, select.POLLOUT if writable else select.POLLIN)
        if not poll.poll(max(0.0, seconds) * 1000):
            raise Unavailable(f"no word within {seconds:g} s")

    def send(self, parts: Sequence[Buffer]) -> bool:
        """Send one frame, gathered from its parts, now; False where there is no room for it. RemoteProtocolError where
        the other side lied of the room that it made."""
        return self._data.send(parts)

    def receive(self) -> Frame | None:
        """The next frame, in a buffer that the next call uses again; None where none is known to wait."""
        return self._data.receive()

    @property
    def waiting(self) -> bool:
        """Whether a frame is known to wait."""
        return self._data.waiting

    def listen(self) -> bool:
        """Learn what waits; False where the other side is gone."""
        return self._data.listen()

    def close(self) -> None:
        """Close all; harmless when called twice."""
        self._control.close()
        self._data.close()


def pair() -> tuple[Channel, tuple[int, ...]]:
    """The daemon's end, and the descriptors of the child's."""
    with contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(ours.close)
        stack.callback(theirs.close)
        _widen(ours)
        _widen(theirs)
        data, shared = data_pair()
        stack.pop_all()
    return Channel(ours, data), (theirs.detach(), *shared)


def inherited(control: int, *data: int) -> Channel:
    """A child's end, of the descriptors that it was started with."""
    return Channel(socket.socket(fileno=control), inherited_data(*data))


def _widen(end: socket.socket) -> None:
    try:
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER_BYTES)
    except OSError:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
