"""The operating system as a node needs it: sockets, and the lock on the state folder."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ghostwire import Sockets
from ghostwire.errors import PermissionDenied, PlatformError, StateError, Unavailable

P = TypeVar("P", bound=asyncio.BaseProtocol)


class SystemSockets(Sockets):
    """Sockets of this machine."""

    def udp(self, host: str, port: int) -> socket.socket:
        """A bound, non-blocking UDP socket of the host's family; an IPv6 one takes IPv6 alone."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise PlatformError(f"no UDP socket for {host}: {error.strerror}") from error
        try:
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((host, port))
        except OSError as error:
            made.close()
            raise _refusal(host, port, error) from error
        return made

    async def connect(
        self, protocol: Callable[[], P], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.Transport, P]:
        """A stream to that host."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_connection(protocol, host, port, ssl=tls)
        except ssl.SSLError:
            raise
        except OSError as error:
            raise Unavailable(f"{host}:{port}: {_reason(error)}") from error


def _refusal(host: str, port: int, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return PlatformError(f"UDP port {port} is in use; stop the other program or choose another port")
    if error.errno == errno.EACCES:
        return PermissionDenied(f"UDP port {port} may not be opened; run as root or choose a port above 1023")
    return PlatformError(f"UDP {host} port {port}: {error.strerror}")


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error)


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold the state folder for one process; StateError names the other, the lock ends with its holder."""
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"{path}: cannot write: {error.strerror}; pass --state DIR or mend its permissions") from None
    try:
        _lock(descriptor)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        raise StateError(f"a node is already running (pid {holder}); stop it, or pass --state for another") from None
