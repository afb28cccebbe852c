"""The machine's own sockets, with what the system refuses said in one line."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from ghostwire.capabilities.contexts import Sockets
from ghostwire.errors import PermissionDenied, PlatformError, Unavailable

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
        self,
        protocol: Callable[[], P],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> tuple[asyncio.Transport, P]:
        """A stream to that host."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_connection(
                protocol, host, port, ssl=tls, server_hostname=(server_name or host) if tls else None
            )
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
