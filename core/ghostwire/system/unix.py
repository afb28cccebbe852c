"""Unix sockets: binding where a stale one may lie, and who is at the other end."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from ghostwire.errors import PlatformError

MAX_PATH = 107
"""Bytes that Linux allows for a Unix socket's path."""
PROBE_TIMEOUT = 1.0

_UCRED = struct.Struct("iII")
"""struct ucred of SO_PEERCRED."""


class Peer(NamedTuple):
    """A process at the other end, as the kernel knows it."""

    pid: int
    uid: int
    gid: int


class UnixSocket:
    """A bound socket that anyone may connect to (admission is by `peer_of`); `remove` takes its path away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if len(os.fsencode(path)) > MAX_PATH:
            raise PlatformError(
                f"{path}: longer than the {MAX_PATH} bytes a Unix socket may have; pass a shorter --state"
            )
        try:
            _clear(path)
            self.socket = _bound(path)
            self._inode = os.stat(path).st_ino
        except OSError as error:
            reason = error.strerror or error
            raise PlatformError(f"{path}: cannot make the socket: {reason}; pass --state DIR") from None

    def remove(self) -> None:
        """Unlink the path, unless another program has put its own socket there; harmless when called twice."""
        try:
            if os.stat(self.path).st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass
        self.socket.close()


def _bound(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.bind(os.fspath(path))
        os.chmod(path, 0o666)  # noqa: S103
    except BaseException:
        made.close()
        raise
    return made


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


def peer_of(connected: socket.socket) -> Peer:
    """Who is at the other end of a connected Unix socket."""
    return Peer(*_UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))
