"""One request over HTTP/2, as ASGI has it: its body is taken no faster than the app does, its answer no faster than
the client."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from h2.errors import ErrorCodes

from ghostwire.frontdoor.outbox import RECORD

if TYPE_CHECKING:
    from h2.connection import H2Connection

BODY_TIMEOUT = 60.0
"""Seconds that a request's body may take."""
LINGER, MAX_LINGER = 10.0, 16 * 1024 * 1024
"""Seconds and bytes of a body that we throw away once its request is answered, before we reset it: to clients that are
still sending, curl among them, a reset is a failure that hides the answer."""
ANSWER_TIMEOUT = 90.0
"""Seconds in which the client has to make room for some more of the answer."""

_PER_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Headers of answers that HTTP/2 does not have."""
_log = logging.getLogger("ghostwire.frontdoor.http")


class Connection(Protocol):
    """What a stream needs of its connection."""

    h2: H2Connection
    writable: asyncio.Event

    @property
    def date(self) -> list[tuple[bytes, bytes]]:
        """Headers that every answer has."""

    def flush(self) -> None:
        """Send what `h2` has to send."""

    def reset(self, stream: int, code: ErrorCodes = ...) -> None:
        """Give a stream up."""

    def owe(self, more: int) -> None:
        """So many more streams wait for us, not for the client; fewer where it is negative."""


class Http2Stream:
    """``scope`` is ASGI's, of a stream with this ``id``."""

    def __init__(self, connection: Connection, id_: int, scope: dict[str, Any]) -> None:
        self._connection, self.id, self._scope = connection, id_, scope
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._whole = self._gone = self._told = self._answered = self._trailers = self._owing = False
        self._patience = asyncio.get_running_loop().call_later(BODY_TIMEOUT, connection.reset, id_)

    async def run(self, app: Any) -> None:
        """Have the app answer, and let the client end."""
        try:
            await self._answer(app)
            await self._linger()
        finally:
            self._patience.cancel()
            if not (self._gone or (self._answered and self._whole)):
                self._connection.reset(self.id, ErrorCodes.NO_ERROR if self._answered else ErrorCodes.INTERNAL_ERROR)

    async def _answer(self, app: Any) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception:
            if not self._gone:
                _log.exception("an HTTP/2 request failed: internal error")

    async def _linger(self) -> None:
        """Throw away what the client still sends; it goes on counting as a request, and as one whose client we wait
        for."""
        left = MAX_LINGER
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while self._answered and not (self._whole or self._gone) and left > 0:
                    self._news.clear()
                    left -= len(self._taken())
                    await self._news.wait()

    def fed(self, data: bytes, size: int) -> None:
        """A part of the body, which takes ``size`` bytes of the window."""
        self._chunks.append((data, size))
        self._news.set()

    def ended(self) -> None:
        """The body is whole."""
        self._whole = True
        self._owe(True)
        self._patience.cancel()
        self._news.set()

    def left(self) -> None:
        """The client, or the connection, is gone; or we gave the stream up."""
        self._gone = True
        self._owe(False)
        self._patience.cancel()
        self._news.set()
        self._room.set()

    def widened(self) -> None:
        """The client may take more."""
        self._room.set()

    def _owe(self, owing: bool) -> None:
        if owing != self._owing:
            self._owing = owing
            self._connection.owe(1 if owing else -1)

    @property
    def unread(self) -> int:
        """Bytes of the window that the app has not taken."""
        return sum(size for _, size in self._chunks)

    async def _receive(self) -> dict[str, Any]:
        while not (self._chunks or self._gone or (self._whole and not self._told)):
            self._news.clear()
            await self._news.wait()
        if self._gone:
            return {"type": "http.disconnect"}
        data = self._taken()
        self._told = self._whole and not self._chunks
        return {"type": "http.request", "body": data, "more_body": not self._told}

    def _taken(self) -> bytes:
        """What is there of the body; the client may send as much again."""
        size, data = self.unread, b"".join(chunk for chunk, _ in self._chunks)
        self._chunks.clear()
        if size:
            self._connection.h2.acknowledge_received_data(size, self.id)
            self._connection.flush()
        return data

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._trailers = message.get("trailers", False)
            self._head(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body":
            more = message.get("more_body", False)
            await self._body(message.get("body", b""), ending=not (more or self._trailers))
        elif message["type"] == "http.response.trailers":
            self._finish([(name.lower(), value) for name, value in message.get("headers", ())])

    def _head(self, status: int, headers: Any) -> None:
        named = [(name.lower(), value) for name, value in headers]
        kept = [(name, value) for name, value in named if name not in _PER_CONNECTION]
        self._connection.h2.send_headers(self.id, [(b":status", str(status).encode()), *self._connection.date, *kept])
        self._connection.flush()

    async def _body(self, data: bytes, *, ending: bool) -> None:
        rest = memoryview(data) if self._scope["method"] != "HEAD" else memoryview(b"")
        while len(rest):
            size = min(await self._window(), len(rest))
            if self._gone:
                return
            self._connection.h2.send_data(self.id, bytes(rest[:size]))
            self._connection.flush()
            rest = rest[size:]
        if ending:
            self._finish(None)

    async def _window(self) -> int:
        """Bytes that can be sent now, once that is some; the stream may be gone by then."""
        connection = self._connection
        while not self._gone:
            await connection.writable.wait()
            size = 0 if self._gone else connection.h2.local_flow_control_window(self.id)
            if size > 0:
                return min(size, connection.h2.max_outbound_frame_size, RECORD)
            await self._more_room()
        return 0

    async def _more_room(self) -> None:
        self._room.clear()
        if self._gone:
            return
        self._owe(False)
        try:
            await asyncio.wait_for(self._room.wait(), ANSWER_TIMEOUT)
        except TimeoutError:
            self._connection.reset(self.id)
        self._owe(self._whole and not self._gone)

    def _finish(self, trailers: list[tuple[bytes, bytes]] | None) -> None:
        if self._gone:
            return
        self._answered = True
        if trailers:
            self._connection.h2.send_headers(self.id, trailers, end_stream=True)
        else:
            self._connection.h2.end_stream(self.id)
        self._connection.flush()
