"""A small HTTP client for servers on a simulated network: one JSON request, one answer."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import msgspec

from ghostwire.capabilities.contexts import Sockets
from ghostwire.errors import Refused, Unavailable

TIMEOUT = 30.0


class _Exchange(asyncio.Protocol):
    """Sends one request and collects the answer: its status and body."""

    def __init__(self, request: h11.Request, body: bytes) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._request, self._content = request, body
        self._connection = h11.Connection(h11.CLIENT)
        self._status, self._body = 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send it."""
        assert isinstance(transport, asyncio.Transport)
        for event in (self._request, h11.Data(data=self._content), h11.EndOfMessage()):
            transport.write(self._connection.send(event) or b"")

    def data_received(self, data: bytes) -> None:
        """Read the answer as far as it is there."""
        self._connection.receive_data(data)
        while not self.answer.done():
            event = self._connection.next_event()
            if isinstance(event, h11.Response):
                self._status = event.status_code
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.answer.set_result((self._status, self._body))
            else:
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, too early perhaps."""
        if not self.answer.done():
            self.answer.set_exception(Unavailable("the server hung up"))


async def request(sockets: Sockets, address: str, port: int, method: str, path: str, body: object = None) -> Any:
    """The JSON that the server answers; Refused with its code and message where the status is not 2xx."""
    content = b"" if body is None else msgspec.json.encode(body)
    headers = [("host", address), ("content-length", str(len(content))), ("content-type", "application/json")]
    head = h11.Request(method=method, target=path, headers=headers)
    transport, exchange = await sockets.connect(lambda: _Exchange(head, content), address, port)
    try:
        status, answer = await asyncio.wait_for(exchange.answer, TIMEOUT)
    finally:
        transport.close()
    parsed: Any = msgspec.json.decode(answer) if answer else None
    if status // 100 != 2:
        raise Refused(parsed["error"]["message"], parsed["error"]["code"])
    return parsed
