"""The child's sockets, which the daemon makes, marks, connects and hands over; TLS is the child's own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ghostwire.capabilities.contexts import Listening, Sockets
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.plugins.isolation.line import Line
from ghostwire.system.delivery import deliver

P = TypeVar("P", bound=asyncio.BaseProtocol)
Factory = Callable[[], asyncio.BaseProtocol]


class PassedSockets(Sockets):
    """Sockets by way of the daemon."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._doors: dict[int, _Door] = {}
        self._arriving: set[asyncio.Task[None]] = set()

    def udp(self, host: str, port: int) -> socket.socket:
        """A bound, non-blocking UDP socket."""
        made = self._line.ask_now("udp", host, port)
        made.setblocking(False)
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
        """A stream that the daemon connected."""
        answer, came, _ = await self._line.ask("connect", host, port, secure=tls is not None, name=server_name)
        if came is None:
            raise PlatformError(f"{host}:{port}: no socket came; the process has too many descriptors")
        came.setblocking(False)
        loop, name = asyncio.get_running_loop(), server_name or host
        try:
            if tls is not None and answer.rest:
                raise Unavailable(f"{host}:{port}: bytes came before TLS began")
            made = await loop.create_connection(protocol, sock=came, ssl=tls, server_hostname=name if tls else None)
        except ssl.SSLError:
            came.close()
            raise
        except OSError as error:
            came.close()
            raise Unavailable(f"{host}:{port}: {error.strerror or error}") from error
        if answer.rest:
            deliver(made[1], answer.rest)
        return made

    async def listen(self, protocol: Factory, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Listening:
        """Streams that the daemon accepts."""
        answer, _, number = await self._line.ask("listen", host, port)
        door = self._doors[number] = _Door(answer.port, protocol, tls, lambda: self._shut(number))
        return door

    def accepted(self, number: int, came: socket.socket, rest: bytes) -> None:
        """A stream came to what this question opened."""
        door = self._doors.get(number)
        if door is None:
            came.close()
            return
        task = asyncio.get_running_loop().create_task(_welcome(door, came, rest))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def _shut(self, number: int) -> None:
        if self._doors.pop(number, None) is not None:
            self._line.stop(number)


class _Door:
    """A listening port, as the plugin has it."""

    def __init__(self, port: int, protocol: Factory, tls: ssl.SSLContext | None, shut: Callable[[], object]) -> None:
        self.port, self.protocol, self.tls, self._shut = port, protocol, tls, shut

    def close(self) -> None:
        """Accept no more."""
        self._shut()


async def _welcome(door: _Door, came: socket.socket, rest: bytes) -> None:
    """Open an accepted stream; one whose TLS fails is closed."""
    came.setblocking(False)
    try:
        made: Any = await asyncio.get_running_loop().connect_accepted_socket(door.protocol, came, ssl=door.tls)
    except OSError:
        came.close()
        return
    if rest:
        deliver(cast("asyncio.BaseProtocol", made[1]), rest)
