"""One connection at the front door: uvicorn's HTTP/1.1 protocol, which gives its transport away on a known Upgrade, and
to HTTP/2 where that is spoken and the client begins with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, cast

import h11
import msgspec
import uvicorn
from starlette.routing import WebSocketRoute
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ghostwire.capabilities.http import RequestHead, StreamUpgrade
from ghostwire.engine import SECOND, Clock
from ghostwire.frontdoor.admission import Admission
from ghostwire.frontdoor.answers import refuse
from ghostwire.frontdoor.guard import guarded
from ghostwire.frontdoor.turns import Turns
from ghostwire.system.resources import Tide

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication, ASGIReceiveCallable, ASGISendCallable, Scope

T = TypeVar("T")

WEBSOCKET = "websocket"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What HTTP/2 begins with (RFC 9113, 3.4), agreed on by ALPN or not."""
MAX_HEAD = 16 * 1024
HEAD_TIMEOUT = 10.0
BODY_TIMEOUT = 60.0
KEEP_ALIVE = 5
MAX_MESSAGE = 80 * 1024
"""Bytes of one WebSocket message, all of which are held until it is whole: a DERP frame of the largest packet fits."""
MAX_CONNECTIONS = 4096
MAX_PER_ADDRESS = 512
"""HTTP connections and WebSockets at once; one that was upgraded to a raw stream no longer counts."""
MAX_REQUESTS, MAX_REQUESTS_PER_ADDRESS = 16384, 1024
"""Requests under way at once over HTTP/2, of which one connection may have many."""
MAX_PER_USER = 64
"""Connections of one user to the Unix socket: nobody, here or outside, takes up those of root."""

_log = logging.getLogger("ghostwire.frontdoor.http")
_log.setLevel(logging.ERROR)  # below that, strangers decide how much is logged


class Backend:
    """What all connections of one front door share: the app, the upgrades and the counts."""

    def __init__(
        self, app: ASGIApplication, upgrades: Sequence[StreamUpgrade], clock: Clock, *, http2: bool = False
    ) -> None:
        self.http2 = http2
        self.upgrades = {upgrade.token.lower(): upgrade for upgrade in upgrades}
        self.websockets = _has_websockets(app)
        self.admission = Admission(MAX_CONNECTIONS, MAX_PER_ADDRESS)
        self.local = Admission(MAX_CONNECTIONS, MAX_PER_USER)
        self.requests = Admission(MAX_REQUESTS, MAX_REQUESTS_PER_ADDRESS)
        self.tide = Tide(MAX_PER_ADDRESS)
        self.turns = Turns()
        self.waiting: dict[Any, None] = {}
        """Connections from the network whose clients we wait for, in the order we began to."""
        self.state = ServerState()
        self.config = _config(app)
        self._clock, self._date = clock, -1

    def tick(self) -> None:
        """Keep the Date header right."""
        now = self._clock.wall() // SECOND
        if now != self._date:
            self._date = now
            self.state.default_headers = [(b"date", formatdate(now, usegmt=True).encode())]


class HttpProtocol(H11Protocol):
    """A connection from the network. uvicorn asks `_should_upgrade` at each request's head, kept-alive ones' too."""

    def __init__(self, backend: Backend, *, admin: bool = False) -> None:
        super().__init__(config=backend.config, server_state=backend.state, app_state={"admin": admin})
        self.logger = _log
        self._backend = backend
        self._upgrade: StreamUpgrade | None = None
        self._admission, self._waiting, self._admitted = backend.admission, backend.waiting, ""
        self._counted = self._given = False
        self._first: bytes | None = b"" if backend.http2 else None
        self._timer: asyncio.TimerHandle | None = None
        self._patience = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and give its first head `HEAD_TIMEOUT`."""
        super().connection_made(transport)
        self._admitted = self._admitted or (self.client[0] if self.client else "")
        self._counted = self._admission.enter(self._admitted, self._make_room)
        self._backend.tide.held(self._admission.count)
        if not self._counted:
            self.connections.discard(self)
            return transport.abort()
        return self._watch(HEAD_TIMEOUT)

    def data_received(self, data: bytes) -> None:
        """A head, a body, or the last bytes before an upgrade."""
        if self.transport.is_closing():
            return
        self._backend.tick()
        if self._first is not None and not (data := self._begun(self._first + data)):
            return
        super().data_received(data)
        self._watch_for_more()

    def on_response_complete(self) -> None:
        """Wait for the next request, if there is to be one."""
        super().on_response_complete()
        self._watch_for_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; not called for a connection that was upgraded."""
        self._leave()
        super().connection_lost(exc)

    def dismiss(self) -> None:
        """Hang up at once, and give the place back."""
        self._leave()
        self.transport.abort()

    def stop(self) -> None:
        """Close now, or after the answer that is under way."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is no HTTP; where an answer is under way already, all that is left is to hang up."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.abort()
        else:
            refuse(self.transport, HTTPStatus.BAD_REQUEST, "bad-request", "not an HTTP/1.1 request")

    def _begun(self, first: bytes) -> bytes:
        """The connection's first bytes, once they are known not to be HTTP/2's; empty before, and where they are."""
        if first.startswith(PREFACE):
            self._to_http2(first)
            return b""
        self._first = first if PREFACE.startswith(first) else None
        return first if self._first is None else b""

    def _to_http2(self, first: bytes) -> None:
        from ghostwire.frontdoor.http2 import Http2Protocol

        self._given = True
        self._stop_watching()
        self.connections.discard(self)
        shared, state, origin = self._backend, self.app_state, self._admitted
        spoken = Http2Protocol(shared, self.app, state, origin, waiting=self._waiting, left=self._leave)
        self.transport.set_protocol(spoken)
        spoken.connection_made(self.transport)
        spoken.data_received(first)

    def _should_upgrade(self) -> bool:
        headers, version = _joined(self.headers), self.scope["http_version"]
        self._upgrade = _wanted(self._backend.upgrades, headers, version)
        if self._upgrade is not None or not self._backend.websockets:
            return self._upgrade is not None
        possible = self.scope["method"] == "GET" and "sec-websocket-key" in headers
        return possible and _wanted({WEBSOCKET: True}, headers, version) is not None

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the transport to the upgrade that the head names; from here on this object is out of it."""
        self._given = True
        if self._upgrade is None:
            return self._to_websocket(event)
        self.connections.discard(self)
        self._leave()
        client = self.client[0] if self.client else ""
        head = RequestHead(event.method.decode(), event.target.decode(), _joined(self.headers), client)
        return self._upgrade.take(head, self.transport, self.conn.trailing_data[0])

    def _to_websocket(self, event: h11.Request) -> None:
        """Have the app answer it, as ASGI says."""
        from ghostwire.frontdoor.websocket import WebSocketProtocol

        self._stop_watching()
        self.ws_protocol_class = cast("Any", partial(WebSocketProtocol, left=self._leave))
        super().handle_websocket_upgrade(event)

    def _watch_for_more(self) -> None:
        if self._counted and not self._given and not self.transport.is_closing():
            waiting = {h11.IDLE: HEAD_TIMEOUT, h11.SEND_BODY: BODY_TIMEOUT}
            self._watch(waiting.get(self.conn.their_state, 0.0))

    def _watch(self, patience: float) -> None:
        """Hang up in ``patience`` seconds unless the connection gets on; 0 for never."""
        if patience == self._patience:
            return
        self._stop_watching()
        self._patience = patience
        if patience:
            self._waiting[self] = None
            self._timer = self.loop.call_later(patience, self._too_slow)

    def _stop_watching(self) -> None:
        self._patience = 0.0
        self._waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
            refuse(self.transport, HTTPStatus.REQUEST_TIMEOUT, "timeout", "the request did not arrive in time")
        else:
            self.transport.abort()

    def _make_room(self) -> None:
        """Hang up on the client that keeps us waiting longest."""
        for connection in self._waiting:
            connection.dismiss()
            break

    def _leave(self) -> None:
        self._stop_watching()
        if self._counted:
            self._admission.leave(self._admitted)
            self._counted = False
            self._backend.tide.held(self._admission.count)


class LocalProtocol(HttpProtocol):
    """A connection over the Unix socket: an administrator's, or answered 403. It has no upgrades."""

    def __init__(self, backend: Backend, uid_of: Any, allowed: frozenset[int]) -> None:
        super().__init__(backend, admin=True)
        self._uid_of, self._allowed, self._waiting = uid_of, allowed, {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who it is."""
        uid = self._uid_of(transport)
        if uid not in self._allowed:
            self.app = cast("Any", _forbidden)
        self.app_state["uid"] = uid
        self._admission, self._admitted = self._backend.local, f"user {uid}"
        super().connection_made(transport)

    def _should_upgrade(self) -> bool:
        return False


def _config(app: ASGIApplication) -> uvicorn.Config:
    config = uvicorn.Config(
        guarded(app),
        http=HttpProtocol,
        ws="none",  # see HttpProtocol
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    config.load()
    return config


def _has_websockets(app: object) -> bool:
    """Whether any of its routes is for WebSockets; where none is, requests for one are requests like all others."""
    routes = getattr(app, "routes", None) or ()
    return isinstance(app, WebSocketRoute) or any(map(_has_websockets, routes))


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case; values of one name are joined with commas."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def _wanted(upgrades: dict[str, T], headers: dict[str, str], version: str) -> T | None:
    """The upgrade that this head asks for, if we have it. A request with a body is none: bytes would be taken twice."""
    if "upgrade" not in headers or "upgrade" not in _tokens(headers.get("connection", "")):
        return None
    if version != "1.1" or "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        return None
    return next((upgrades[token] for token in _tokens(headers["upgrade"]) if token in upgrades), None)


def _tokens(text: str) -> list[str]:
    return [token.strip().lower() for token in text.split(",")]


async def _forbidden(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    message = "administration is for root, the server's user and its operator; see operator in ghostwire.toml"
    body = msgspec.json.encode({"error": {"code": "permission-denied", "message": message}}) + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
