"""A connection that speaks HTTP/2, bounded where strangers decide how much there is.

Imported when the first one comes. `Http2Protocol` feeds what arrives to the library's engine, and gives each request
to the app in a task of its own (`ghostwire.frontdoor.http2_stream`).

Bounds of one connection: `MAX_STREAMS` requests at once (the library sees to that; answered ones
may take a moment to end), 64 KiB of bodies that no app has taken yet, heads of
`MAX_HEAD` bytes, `RESETS` requests given up by the client (then one a `RESETS_EVERY` seconds), `REQUESTS` in all. What
arrives is taken some frames at a time, all connections taking turns, so that a flood of frames delays nobody for long.
While a client does not read what we send, nothing more is read of it, and an answer that it takes nothing of is given
up. A body that goes on when its request is answered is thrown away, so much and so long of it. A client that is silent
for `SILENCE` seconds is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from ghostwire.frontdoor.http2_engine import Engine
from ghostwire.frontdoor.http2_frames import Frames
from ghostwire.frontdoor.http2_stream import Http2Stream

if TYPE_CHECKING:
    from ghostwire.frontdoor.protocol import Backend

MAX_STREAMS = 100
MAX_HEAD = 16 * 1024
REQUESTS = 10_000
"""Of one connection, which then ends when they are answered: the library remembers each."""
RESETS, RESETS_EVERY = 200, 0.1
PING_AFTER, SILENCE, IDLE = 30.0, 90.0, 300.0
"""Seconds of silence after which we ask whether the client is there, and hang up; without any request, too."""
LOOK = 15.0

_SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
    SettingCodes.ENABLE_PUSH: 0,
}


class Http2Protocol(asyncio.Protocol):
    """``origin`` is whom its requests count for; ``waiting`` holds the connection while it is the client that all of
    them wait for; ``left`` is called when it is over."""

    def __init__(
        self,
        backend: Backend,
        app: Any,
        app_state: dict[str, Any],
        origin: str,
        *,
        waiting: dict[Any, None],
        left: Callable[[], None],
    ) -> None:
        self._app, self._state, self._app_state = app, backend.state, app_state
        self._backend, self._turns, self._requests, self._origin = backend, backend.turns, backend.requests, origin
        self._waiting, self._left = waiting, left
        self.h2: H2Connection = Engine(H2Configuration(client_side=False, header_encoding=None, logger=None))
        self.h2.local_settings = Settings(client=False, initial_values=_SETTINGS)
        self.h2.decoder.max_header_list_size = MAX_HEAD
        self._frames = Frames(MAX_HEAD)
        self._arrived: deque[bytes] = deque()
        self._streams: dict[int, Http2Stream] = {}
        self.writable = asyncio.Event()
        self.writable.set()
        self._loop = asyncio.get_running_loop()
        self._heard = self._used = self._even = self._loop.time()
        self._stopping = False
        self._owing = 0
        self.transport: asyncio.Transport

    @property
    def date(self) -> list[tuple[bytes, bytes]]:
        """The Date header, and whatever else every answer has."""
        return self._state.default_headers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Say what we accept."""
        self.transport = transport
        self._state.connections.add(cast("Any", self))
        self._watch = self._loop.call_later(LOOK, self._look)
        self._waiting[self] = None
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Frames, which wait for their turn; one that breaks the rules ends the connection."""
        self._heard = self._loop.time()
        self._backend.tick()
        try:
            self._arrived.extend(self._frames.parts(data))
        except ProtocolError:
            return self._hang_up()
        self.transport.pause_reading()
        return self._turns.add(self)

    def step(self) -> bool:
        """Take some frames of those that arrived; whether there are more, and there is room for what they ask."""
        if self.transport.is_closing():
            self._arrived.clear()
        elif self.writable.is_set() and self._arrived:
            self._receive(self._arrived.popleft())
        self._read_on()
        return bool(self._arrived) and self.writable.is_set()

    def _receive(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                if not self.transport.is_closing():
                    self._take(event)
        except (ProtocolError, UnicodeError):
            return self._hang_up()
        return self.flush()

    def _read_on(self) -> None:
        if self.writable.is_set() and not self._arrived and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read: it has to before we read on."""
        self.writable.clear()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writable.set()
        self._turns.add(self)

    def eof_received(self) -> None:
        """The client says no more: nor do we."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of all requests under way."""
        self._watch.cancel()
        self._state.connections.discard(cast("Any", self))
        for stream in self._streams.values():
            stream.left()
        self._waiting.pop(self, None)
        self.writable.set()
        self._left()

    def flush(self) -> None:
        """Send what the engine has to send."""
        if data := self.h2.data_to_send():
            self.transport.write(data)

    def reset(self, stream: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Give a request up."""
        if (found := self._streams.get(stream)) is not None:
            found.left()
        if not self.transport.is_closing():
            with suppress(ProtocolError):  # over already
                self.h2.reset_stream(stream, code)
            self.flush()

    def owe(self, more: int) -> None:
        """So many more requests wait for us, not for the client: where none does, another may have its place."""
        self._owing += more
        self._waiting.pop(self, None)
        if not self._owing and not self.transport.is_closing():
            self._waiting[self] = None

    def stop(self) -> None:
        """Take no more requests, and close when those under way are answered."""
        if self._stopping:
            return
        self._stopping = True
        self.transport.write(GoAwayFrame(0, last_stream_id=self.h2.highest_inbound_stream_id).serialize())
        self._rest()

    def dismiss(self) -> None:
        """Hang up at once, and give the place back."""
        self._left()
        self.transport.abort()

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            self._begin(event.stream_id or 0, event.headers or [])
        elif isinstance(event, events.DataReceived):
            self._fed(event)
        elif isinstance(event, events.StreamEnded):
            self._with(event.stream_id, Http2Stream.ended)
        elif isinstance(event, events.StreamReset):
            self._with(event.stream_id, Http2Stream.left)
            self._count_reset()
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            for stream in self._streams.values():
                stream.widened()
        elif isinstance(event, events.ConnectionTerminated):
            self._hang_up()

    def _with(self, stream: int | None, tell: Callable[[Http2Stream], None]) -> None:
        found = self._streams.get(stream or 0)
        if found is not None:
            tell(found)

    def _fed(self, event: events.DataReceived) -> None:
        size = event.flow_controlled_length or 0
        if (stream := self._streams.get(event.stream_id or 0)) is not None:
            stream.fed(event.data or b"", size)
        elif size:
            self.h2.acknowledge_received_data(size, event.stream_id or 0)

    def _begin(self, id_: int, headers: Any) -> None:
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        full = self._stopping or len(self._streams) >= 2 * MAX_STREAMS
        if full or not pseudo.get(b":path", b"").startswith(b"/") or not self._requests.enter(self._origin):
            return self.reset(id_, ErrorCodes.REFUSED_STREAM)
        stream = self._streams[id_] = Http2Stream(self, id_, self._scope(pseudo, headers))
        task = self._loop.create_task(stream.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, stream))
        return self.stop() if id_ > 2 * REQUESTS else None

    def _done(self, task: asyncio.Task[None], stream: Http2Stream) -> None:
        self._state.tasks.discard(task)
        self._requests.leave(self._origin)
        if not self.transport.is_closing():
            if unread := stream.unread:
                self._return(unread, stream.id)
            if task.cancelled():
                self.reset(stream.id)
        stream.left()
        self._streams.pop(stream.id, None)
        self._rest()

    def _return(self, size: int, stream: int) -> None:
        """What the app never took is room for other requests' bodies."""
        self.h2.acknowledge_received_data(size, stream)
        self.flush()

    def _rest(self) -> None:
        """No request is under way."""
        if self._streams or self.transport.is_closing():
            return
        self._used = self._loop.time()
        if self._stopping:
            self.transport.close()

    def _scope(self, pseudo: dict[bytes, bytes], headers: Any) -> dict[str, Any]:
        path, _, query = pseudo[b":path"].partition(b"?")
        plain = [(name, value) for name, value in headers if not name.startswith(b":")]
        authority = pseudo.get(b":authority")
        if authority is not None and not any(name == b"host" for name, _ in plain):
            plain.insert(0, (b"host", authority))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": pseudo[b":method"].decode("ascii"),
            "scheme": "https" if self.transport.get_extra_info("sslcontext") else "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": plain,
            "client": _address(self.transport, "peername"),
            "server": _address(self.transport, "sockname"),
            "state": self._app_state.copy(),
            "extensions": {"http.response.trailers": {}},
        }

    def _count_reset(self) -> None:
        now = self._loop.time()
        self._even = max(self._even, now) + RESETS_EVERY
        if self._even - now > RESETS * RESETS_EVERY:
            self.h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._hang_up()

    def _hang_up(self) -> None:
        """Say what is left to say, to nobody's requests any more."""
        for stream in self._streams.values():
            stream.left()
        self.flush()
        self.transport.close()

    def _look(self) -> None:
        """Who is silent is asked, and in the end hung up on."""
        now = self._loop.time()
        self._watch = self._loop.call_later(LOOK, self._look)
        if now - self._heard > SILENCE:
            self.transport.abort()
        elif not self._streams and now - self._used > IDLE:
            self.stop()
        elif now - self._heard > PING_AFTER and not self.transport.is_closing():
            self.h2.ping(bytes(8))
            self.flush()


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int] | None:
    """(host, port), where the connection has one."""
    found = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple | list) and len(found) >= 2 else None
