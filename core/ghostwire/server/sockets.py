"""The server's own sockets: plain ones, since no exit route of the mesh leads through it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from ghostwire.capabilities.contexts import Sockets
from ghostwire.errors import PlatformError, Unavailable

P = TypeVar("P", bound=asyncio.BaseProtocol)


class PlainSockets(Sockets):
    """Sockets as the operating system makes them."""

    def udp(self, host: str, port: int) -> socket.socket:
        """A bound, non-blocking UDP socket; PlatformError where the port can't be had."""
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        try:
            made.bind((host, port))
        except OSError as error:
            made.close()
            raise PlatformError(f"cannot bind UDP port {port} on {host}: {error.strerror}; choose another") from None
        return made

    async def connect(
        self, protocol: Callable[[], P], host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.Transport, P]:
        """A stream; Unavailable where nobody answers."""
        try:
            return await asyncio.get_running_loop().create_connection(protocol, host, port, ssl=tls)
        except OSError as error:
            raise Unavailable(f"{host}:{port} does not answer: {error.strerror or error}") from None
