"""The node's local API: JSON over HTTP on a Unix socket, for root, the node's own user and the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ghostwire.errors import GhostwireError
from ghostwire.model import to_json
from ghostwire.node.exchange import MAX_HEAD, BadRequest, Exchange, Request
from ghostwire.system.unix import UnixSocket, peer_of
from ghostwire.wire import api_errors
from ghostwire.wire.api_errors import Answer

MAX_CLIENTS = 32
"""The most connections of one user at a time; nobody can take up those of root."""

Handler = Callable[[bytes], Awaitable[Any]]
"""Takes a request's body and gives what is answered as JSON; a GhostwireError becomes an error answer."""
Routes = Mapping[tuple[str, str], Handler]
"""(method, path) -> handler."""


class LocalApi:
    """Serves routes on a Unix socket; who connects is known by SO_PEERCRED, and only ``allowed`` uids are served."""

    def __init__(self, path: Path, routes: Routes, allowed: frozenset[int], log: logging.Logger) -> None:
        self._path, self._routes, self._allowed, self._log = path, routes, allowed, log
        self._socket: UnixSocket
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], int] = {}

    async def start(self) -> None:
        """Listen. A socket that nobody serves is replaced; PlatformError where that can't be."""
        self._socket = UnixSocket(self._path)
        self._server = await asyncio.start_unix_server(self._accept, sock=self._socket.socket, limit=MAX_HEAD)

    async def close(self) -> None:
        """Stop listening and end what goes on; harmless when called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._socket.remove()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        uid = peer_of(writer.get_extra_info("socket")).uid
        self._clients[task] = uid
        try:
            await self._serve(Exchange(reader, writer), uid)
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            del self._clients[task]
            writer.close()

    async def _serve(self, exchange: Exchange, uid: int) -> None:
        if sum(each == uid for each in self._clients.values()) > MAX_CLIENTS:
            raise ConnectionAbortedError
        try:
            request = await exchange.request()
        except BadRequest as error:
            status, answer = api_errors.answer(error.status, "malformed", str(error))
        else:
            if request is None:
                return
            status, answer = await self._answer(request, uid)
        await exchange.respond(status, to_json(answer))

    async def _answer(self, request: Request, uid: int) -> Answer:
        if uid not in self._allowed:
            return api_errors.answer(403, "permission-denied", "only root and the operator may; set operator in [node]")
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            return self._no_route(request)
        try:
            return 200, await handler(request.body)
        except GhostwireError as error:
            return api_errors.encode(error)
        except Exception as error:
            self._log.exception("the local API failed on %s", request.path)
            return api_errors.answer(500, "internal", f"internal error: {type(error).__name__}; see the node's log")

    def _no_route(self, request: Request) -> Answer:
        if any(path == request.path for _, path in self._routes):
            return api_errors.answer(405, "method", f"{request.path} does not take {request.method}")
        return api_errors.answer(
            404, "not-found", f"the local API has no {request.path}; is gwctl newer than the node?"
        )
