"""One HTTP/1.1 request and its answer over an asyncio stream, by h11: bounded in size and time, then closed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import h11

MAX_BODY = 64 * 1024
MAX_HEAD = 16 * 1024
REQUEST_TIMEOUT = 10.0
"""Seconds for a request to arrive, and for an answer to be taken."""


class BadRequest(Exception):
    """A malformed or oversized request; ``status`` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; ``path`` is without its query."""

    method: str
    path: str
    body: bytes


class Exchange:
    """`request`, then `respond`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def request(self) -> Request | None:
        """The request, None where the client leaves; BadRequest, TimeoutError."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await self._read()
        except h11.RemoteProtocolError as error:
            raise BadRequest(error.error_status_hint, str(error)) from None

    async def respond(self, status: int, body: bytes) -> None:
        """Send a JSON body; nothing may follow."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self._writer.write(self._http.send(event) or b"")
        async with asyncio.timeout(REQUEST_TIMEOUT):
            await self._writer.drain()

    async def _read(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise BadRequest(413, f"a request's body has at most {MAX_BODY} bytes")
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                path = head.target.partition(b"?")[0].decode("ascii", "replace")
                return Request(head.method.decode("ascii"), path, bytes(body))
            else:
                return None

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            self._http.receive_data(await self._reader.read(MAX_HEAD))
        return event
