"""The front door itself: its listeners, and an orderly close."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ghostwire.capabilities.http import StreamUpgrade
from ghostwire.engine import Clock
from ghostwire.errors import PermissionDenied, PlatformError
from ghostwire.frontdoor.listener import TlsListener, listen
from ghostwire.frontdoor.protocol import Backend, HttpProtocol, LocalProtocol
from ghostwire.system.clock import SystemClock
from ghostwire.system.unix import UnixSocket, peer_of

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

    from ghostwire.frontdoor.websocket import WebSocketProtocol

BACKLOG = 2048
CLOSE_TIMEOUT = 5.0
"""Seconds that answers under way have to finish when the door closes."""


class FrontDoor:
    """Serves an ASGI app and raw streams on one port, and the same app to local administrators on a Unix socket.

    Every request's ``scope["state"]["admin"]`` (Starlette: ``request.state.admin``) says whether the caller is an
    authenticated local administrator: True over the Unix socket, where ``scope["state"]["uid"]`` is his user id, and
    False over the network. The app gets no lifespan events: the program that opens the door starts its own parts.
    With ``http2`` clients may speak that, too. Upgraded streams belong to their `StreamUpgrade`, which also closes
    them. Runs in the caller's event loop, installs no signal handlers and configures no logging.
    """

    def __init__(
        self,
        app: ASGIApplication,
        upgrades: Sequence[StreamUpgrade] = (),
        *,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        http2: bool = False,
    ) -> None:
        self._backend = Backend(app, upgrades, clock or SystemClock(), http2=http2)
        if tls is not None and http2:
            tls.set_alpn_protocols(["h2", "http/1.1"])
        self._tls = tls
        self._servers: list[asyncio.AbstractServer] = []
        self._local: list[asyncio.AbstractServer] = []
        self._listeners: list[TlsListener] = []
        self._sockets: list[UnixSocket] = []
        self.port = 0
        """The first TCP port that `start` got."""

    def protocol_factory(self, *, uid: int | None = None) -> Callable[[], asyncio.Protocol]:
        """Makes the protocol of one plain connection, for listeners of another kind (a simulated network).

        With ``uid`` it is a local administrator's, as over the Unix socket.
        """
        if uid is not None:
            return partial(LocalProtocol, self._backend, lambda transport: uid, frozenset({uid}))
        return partial(HttpProtocol, self._backend)

    async def start(self, host: str, port: int, *, shared: bool = False) -> None:
        """Listen; port 0 takes any free one. PlatformError where the address can't be had.

        A ``shared`` port may be had by other processes of this user too, if all of them share it: the system deals
        connections out among them.
        """
        try:
            listening = await listen(host, port, BACKLOG, shared=shared)
        except OSError as error:
            raise _refusal(host, port, error) from None
        self.port = self.port or listening[0].getsockname()[1]
        for each in listening:
            await self._serve(each)

    async def _serve(self, listening: socket.socket) -> None:
        factory = self.protocol_factory()
        if self._tls is None:
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_server(factory, sock=listening, backlog=BACKLOG))
        else:
            self._listeners.append(TlsListener(listening, factory, self._tls))
            self._listeners[-1].start()

    async def start_unix(self, path: Path, allowed_uids: Iterable[int]) -> None:
        """Listen for root, this process's own user and ``allowed_uids``; all others are answered 403.

        A stale socket is replaced; PlatformError where a live one is there.
        """
        allowed = frozenset({0, os.geteuid(), *allowed_uids})
        bound = UnixSocket(path)
        self._sockets.append(bound)
        factory = partial(LocalProtocol, self._backend, _uid_of, allowed)
        loop = asyncio.get_running_loop()
        self._local.append(await loop.create_unix_server(factory, sock=bound.socket, backlog=BACKLOG))

    async def shut(self) -> None:
        """Accept nobody over the network until `start` is called again; the Unix socket and what is open stay."""
        servers, listeners, self._servers, self._listeners = self._servers, self._listeners, [], []
        for server in servers:
            server.close()
        for listener in listeners:
            await listener.close()

    async def close(self) -> None:
        """Accept no more, let answers under way finish, hang up on the rest; harmless when called twice."""
        for server in self._local:
            server.close()
        for bound in self._sockets:
            bound.remove()
        self._local, self._sockets = [], []
        await self.shut()
        for connection in self._connections():
            connection.stop()
        await self._finish(set(self._backend.state.tasks))
        for connection in self._connections():
            connection.transport.abort()

    def _connections(self) -> list[HttpProtocol | WebSocketProtocol]:
        return cast("list[HttpProtocol | WebSocketProtocol]", list(self._backend.state.connections))

    async def _finish(self, tasks: set[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _uid_of(transport: asyncio.Transport) -> int:
    return peer_of(transport.get_extra_info("socket")).uid


def _refusal(host: str, port: int, error: OSError) -> PlatformError | PermissionDenied:
    if error.errno == errno.EADDRINUSE:
        return PlatformError(f"port {port} on {host} is in use; stop the program that has it, or listen on another")
    if error.errno == errno.EACCES:
        return PermissionDenied(f"port {port} needs root or CAP_NET_BIND_SERVICE; listen on one above 1023")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return PlatformError(f"{host}: no such address on this machine; listen on 0.0.0.0 or one of its own")
    return PlatformError(f"cannot listen on {host}, port {port}: {error.strerror or error}")
