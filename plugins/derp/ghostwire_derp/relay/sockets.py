"""Streams on non-blocking sockets, plain and TLS: thin, since everything that decides lies behind them."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import TYPE_CHECKING, Final

from ghostwire import Buffer
from ghostwire_derp.relay.inlet import Inlet

if TYPE_CHECKING:
    from ghostwire_derp.relay.poller import Poller

NOTSENT_LOWAT: Final = 128 * 1024
"""Bytes that the kernel holds unsent; more would only add latency, and could no longer be dropped."""
USER_TIMEOUT: Final = 15_000
"""Milliseconds until a peer that acknowledges nothing is gone."""
KEEP_ALIVE: Final = 600
"""Seconds of silence after which the kernel asks whether a peer is there."""
RECORD: Final = 16 * 1024
"""Data in one TLS record."""


def tune(plain: socket.socket) -> None:
    """Options for a stream that carries packets; a Unix socket has none of them."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE),
    ):
        with contextlib.suppress(OSError):
            plain.setsockopt(level, option, value)


class SocketStream(Inlet):
    """A plain socket in the poller's epoll."""

    __slots__ = ("_mask", "_poller", "number", "paused", "socket")

    def __init__(self, poller: Poller, plain: socket.socket) -> None:
        super().__init__()
        self._poller, self.socket, self.number = poller, plain, plain.fileno()
        self._mask, self.paused = select.EPOLLIN, False
        poller.epoll.register(self.number, self._mask)

    def read_into(self, room: memoryview) -> int:
        """Read once; 0 at the end, BlockingIOError where nothing has come."""
        return self.socket.recv_into(room)

    def greet(self, greeting: bytes) -> bool:
        """Write a few bytes at the very beginning; False where the socket is dead."""
        try:
            return not greeting or self.write([greeting]) == len(greeting)
        except OSError:
            return False

    @property
    def more(self) -> bool:
        """Whether there is more to read of which epoll knows nothing."""
        return False

    def write(self, buffers: list[Buffer]) -> int:
        """Write in one call."""
        try:
            return self.socket.sendmsg(buffers)
        except BlockingIOError:
            return 0

    def watch(self, writable: bool) -> None:
        """Learn when more can be written, or no longer."""
        self._set(self._mask | select.EPOLLOUT if writable else self._mask & ~select.EPOLLOUT)

    def writable(self) -> None:
        """More can be written."""
        self.owner.resume()

    def pause(self) -> None:
        """Read nothing more."""
        self.paused = True
        self._set(self._mask & ~select.EPOLLIN)

    def resume(self) -> None:
        """Read on, what is kept first."""
        self.paused = False
        self._set(self._mask | select.EPOLLIN)
        self._poller.again(self)

    def close(self) -> None:
        """Close the socket."""
        self._poller.forget(self)
        self.socket.close()

    def _set(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._poller.epoll.modify(self.number, mask)


class TlsStream(SocketStream):
    """A TLS socket whose handshake is done. OpenSSL must be given again what it could not write: ``_held``."""

    __slots__ = ("_held",)
    socket: ssl.SSLSocket

    def __init__(self, poller: Poller, secure: ssl.SSLSocket) -> None:
        super().__init__(poller, secure)
        self._held = b""

    def read_into(self, room: memoryview) -> int:
        """Read record by record until nothing has come, or the room is full."""
        size, most, read = 0, len(room), self.socket.read
        while size < most:
            try:
                count: int = read(most - size, room[size:])  # type: ignore[assignment]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not count:
                return size
            size += count
        if not size:
            raise BlockingIOError
        return size

    @property
    def more(self) -> bool:
        """Whether a record is decrypted in part."""
        return self.socket.pending() > 0

    def write(self, buffers: list[Buffer]) -> int:
        """Write record by record. One that OpenSSL could not write at once counts as written."""
        if self._held and not self._send(self._held):
            return 0
        self._held = b""
        data = memoryview(b"".join(buffers) if len(buffers) > 1 else buffers[0])
        if len(data) <= RECORD:
            return self._write(data)
        self._cork(1)
        try:
            return self._write(data)
        finally:
            self._cork(0)

    def _write(self, data: memoryview) -> int:
        for start in range(0, len(data), RECORD):
            record = data[start : start + RECORD]
            if not self._send(record):
                self._held = bytes(record)
                self.watch(True)
                return start + len(record)
        return len(data)

    def _cork(self, on: int) -> None:
        """Several records leave together, in full segments."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)

    def watch(self, writable: bool) -> None:
        """Learn when more can be written, or no longer unless a record is held."""
        super().watch(writable or bool(self._held))

    def writable(self) -> None:
        """Write the record held before anything else."""
        if self._held and not self._send(self._held):
            return
        self._held = b""
        self.watch(self.owner.queue is not None)
        super().writable()

    def _send(self, record: Buffer) -> bool:
        try:
            return self.socket.send(record) == len(record)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
