"""Unix sockets: binding where a stale one may lie, and who is at the other end."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from pathlib import Path

from ghostwire.errors import PlatformError

MAX_PATH = 107
"""Bytes that Linux allows for a Unix socket's path."""
PROBE_TIMEOUT = 1.0

_credentials = struct.Struct("3i")


class UnixSocket:
    """A bound socket that anyone may connect to (admission is by `peer_uid`); `remove` takes its path away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if len(os.fsencode(path)) > MAX_PATH:
            raise PlatformError(
                f"{path}: longer than the {MAX_PATH} bytes a Unix socket may have; pass a shorter --state"
            )
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            _clear(path)
            self.socket.bind(os.fspath(path))
            os.chmod(path, 0o666)  # noqa: S103
            self._inode = os.stat(path).st_ino
        except OSError as error:
            self.socket.close()
            raise PlatformError(f"{path}: cannot make the socket: {error.strerror or error}") from None
        except PlatformError:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Unlink the path, unless another program has put its own socket there; harmless when called twice."""
        try:
            if os.stat(self.path).st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass
        self.socket.close()


def _clear(path: Path) -> None:
    """Make way for a new socket; PlatformError where something alive or foreign is there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise PlatformError(f"{path}: in the way, and not a socket; move it")
    if _answers(path):
        raise PlatformError(f"{path}: another server is running there; stop it, or pass --state for a second one")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):
            return True
    return True


def peer_uid(transport: asyncio.Transport) -> int | None:
    """The user id of a Unix socket's other end, as the kernel knows it; None where there is none."""
    endpoint = transport.get_extra_info("socket")
    if endpoint is None:
        return None
    raw = endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size)
    return int(_credentials.unpack(raw)[1])
