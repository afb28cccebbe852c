"""Unix sockets between the worker processes of one relay, in a folder that only its user may enter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Protocol

from ghostwire.errors import PlatformError, Unavailable

BACKLOG = 64
BUFFER = 4 * 1024 * 1024
"""Bytes that the kernel may hold for a fellow that is busy."""


class Acceptor(Protocol):
    """The relay, as far as a port needs it."""

    def take_socket(self, stream: socket.socket, client: str, rest: bytes = b"") -> None:
        """Own this stream from now on."""


class FellowPort:
    """Hands whoever connects at ``path`` to the relay, whose login finds out that it is a fellow."""

    def __init__(self, path: str, relay: Acceptor) -> None:
        self._path, self._relay = path, relay
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # left behind by a worker that was killed
            self._socket.bind(path)
            os.chmod(path, 0o600)
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise PlatformError(
                f"{path}: cannot make the socket: {error.strerror or error}; pass --state DIR"
            ) from None
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept no more; harmless when called twice."""
        if self._socket.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _accept(self) -> None:
        try:
            stream, _ = self._socket.accept()
        except OSError:
            return
        _prepare(stream)
        self._relay.take_socket(stream, "", b"")


async def connect_fellow(path: str) -> socket.socket:
    """A stream to the worker at ``path``; Unavailable where it is not up."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        await asyncio.get_running_loop().sock_connect(stream, path)
    except OSError as error:
        stream.close()
        raise Unavailable(f"{error.strerror or error}") from None
    except BaseException:
        stream.close()
        raise
    _prepare(stream)
    return stream


def _prepare(stream: socket.socket) -> None:
    stream.setblocking(False)
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
