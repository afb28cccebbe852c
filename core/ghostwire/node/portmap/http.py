"""One HTTP/1.1 request to the router and its answer, by h11: bounded in size and time, then closed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import h11

from ghostwire import Sockets
from ghostwire.errors import RemoteProtocolError, Unavailable
from ghostwire.node.portmap.ssdp import at

TIMEOUT = 3.0
"""Seconds for a whole exchange; routers are slow computers."""
LONGEST_HEAD, LONGEST_BODY = 16 * 1024, 64 * 1024
LONGEST, MOST_PIECES = 160 * 1024, 1024
"""Bytes of an answer with all its framing, and pieces that it may come in: each costs time to take apart."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request to ``url``; with a body it is a POST."""

    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """Status and body."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)


async def ask(question: Question, gateway: str, sockets: Sockets) -> Answer:
    """Ask, and read the whole answer; redirections are not followed.

    Unavailable where none comes, RemoteProtocolError where it is no HTTP, too long, or not to be asked of the gateway.
    """
    parts = at(question.url, gateway)
    if parts is None:
        raise RemoteProtocolError("UPnP: a URL that leads away from the router")
    port = parts.port or 80
    try:
        async with asyncio.timeout(TIMEOUT):
            transport, asking = await sockets.connect(_Asking, gateway, port)
            try:
                return await asking.ask(question, f"{gateway}:{port}", parts.path or "/", parts.query)
            finally:
                transport.abort()
    except TimeoutError:
        raise Unavailable(f"UPnP: the router took over {TIMEOUT:.0f} s to answer") from None


class _Asking(asyncio.Protocol):
    """One exchange."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
        self._answer = Answer()
        self._received = self._pieces = 0
        self._done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def ask(self, question: Question, host: str, path: str, query: str) -> Answer:
        """Send the request and wait."""
        headers = [("Host", host), ("Connection", "close"), *question.headers]
        headers += [("Content-Length", str(len(question.body)))] if question.body else []
        target = f"{path}?{query}" if query else path
        method = "POST" if question.body else "GET"
        events: list[h11.Event] = [h11.Request(method=method, target=target, headers=headers)]
        events += [h11.Data(data=question.body)] if question.body else []
        for event in (*events, h11.EndOfMessage()):
            self._transport.write(self._http.send(event) or b"")
        return await self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._feed(data)

    def eof_received(self) -> None:
        """An answer without a length ends so."""
        self._feed(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever did not come will not."""
        self._fail(Unavailable("UPnP: the router closed the connection"))

    def _feed(self, data: bytes) -> None:
        if self._done.done():
            return
        self._received += len(data)
        try:
            if self._received > LONGEST:
                raise h11.RemoteProtocolError(f"an answer of more than {LONGEST} bytes")
            self._http.receive_data(data)
            while not self._done.done() and (event := self._http.next_event()) is not h11.NEED_DATA:
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._fail(RemoteProtocolError(f"UPnP: no HTTP: {error}"))

    def _take(self, event: object) -> None:
        self._pieces += 1
        if self._pieces > MOST_PIECES:
            raise h11.RemoteProtocolError(f"an answer in more than {MOST_PIECES} pieces")
        if isinstance(event, h11.Response):
            self._answer.status = event.status_code
        elif isinstance(event, h11.Data):
            self._answer.body += event.data
            if len(self._answer.body) > LONGEST_BODY:
                raise h11.RemoteProtocolError(f"more than {LONGEST_BODY} bytes")
        elif isinstance(event, h11.EndOfMessage):
            self._done.set_result(self._answer)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()
