"""A WebSocket at the front door: uvicorn's protocol, bounded where strangers decide how much there is.

Imported when the first one comes: few programs ever see one, and the library costs all of them 50 ms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from ghostwire.frontdoor.answers import refuse

MAX_FRAGMENTS = 1024
"""Of one message."""

_log = logging.getLogger("ghostwire.frontdoor.websocket")
_log.setLevel(logging.ERROR)  # below that, strangers decide how much is logged
_log.addFilter(lambda record: "UTF-8" not in str(record.msg))  # and so they do here


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """``left`` is called once when the connection is over. A client that does not read is hung up on in the end."""

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], left: Callable[[], None]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.logger = _log
        self._left = left

    def stop(self) -> None:
        """Close now, and tell the app."""
        self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        super().connection_lost(exc)
        self._left()

    def handle_ping(self) -> None:
        """Answer, unless the client does not read the answers: they would pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def data_received(self, data: bytes) -> None:
        """A head that uvicorn would pass over in silence, or frames."""
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            refuse(self.transport, HTTPStatus.BAD_REQUEST, "bad-request", "not a WebSocket's request")

    def handle_cont(self, event: Frame) -> None:
        """A fragment: they may be empty, so their bytes alone do not bound them."""
        if len(self.frames) < MAX_FRAGMENTS:
            return super().handle_cont(event)
        self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
        return self.handle_parser_exception()

    async def send(self, message: Any) -> None:
        """Send it. An app that cannot know yet that its client broke the rules, and was hung up on, is told so."""
        await self.writable.wait()
        if self.close_sent and message["type"] == "websocket.send":
            raise ClientDisconnected
        await super().send(message)

    def keepalive_timeout(self) -> None:
        """The client has not answered a ping."""
        super().keepalive_timeout()
        self._abort_unread()

    async def run_asgi(self) -> None:
        """Run the app; where it ends while the client does not read, nobody waits for him."""
        await super().run_asgi()
        self._abort_unread()

    def _abort_unread(self) -> None:
        if not self.writable.is_set():
            self.transport.abort()
