"""A connection that speaks HTTP/2, bounded where strangers decide how much there is.

Imported when the first one comes. `Http2Protocol` feeds what arrives to the library's engine, and gives each request
to the app in a task of its own (`ghostwire.frontdoor.http2_stream`).

Bounds of one connection: `MAX_STREAMS` requests at once (the library sees to that; answered ones
may take a moment to end), 64 KiB of bodies that no app has taken yet, heads of
`MAX_HEAD` bytes, `RESETS` requests given up by the client (then one a `RESETS_EVERY` seconds). While it does not read
what we send, nothing more is read of it. One that is silent for `SILENCE` seconds is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import unquote

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame
from uvicorn.server import ServerState

from ghostwire.frontdoor.http2_stream import Http2Stream

MAX_STREAMS = 100
MAX_HEAD = 16 * 1024
PREFACE_BYTES, FRAME_HEAD, MAX_FRAME = 24, 9, 16384
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
    """``waiting`` holds the connection while no request is under way; ``left`` is called once when it is over."""

    def __init__(
        self,
        app: Any,
        state: ServerState,
        app_state: dict[str, Any],
        *,
        waiting: dict[Any, None],
        left: Callable[[], None],
    ) -> None:
        self._app, self._state, self._app_state = app, state, app_state
        self._waiting, self._left = waiting, left
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None, logger=None))
        self.h2.local_settings = Settings(client=False, initial_values=_SETTINGS)
        self._frames = Frames()
        self._streams: dict[int, Http2Stream] = {}
        self.writable = asyncio.Event()
        self.writable.set()
        self._loop = asyncio.get_running_loop()
        self._heard = self._used = self._even = self._loop.time()
        self._stopping = False
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
        """Frames; one that breaks the rules ends the connection."""
        self._heard = self._loop.time()
        try:
            self._frames.pass_over(data)
            for event in self.h2.receive_data(data):
                if not self.transport.is_closing():
                    self._take(event)
        except (ProtocolError, UnicodeError):
            return self._hang_up()
        return self.flush()

    def pause_writing(self) -> None:
        """The client does not read: it has to before we read on."""
        self.writable.clear()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writable.set()
        self.transport.resume_reading()

    def eof_received(self) -> None:
        """The client says no more: nor do we."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of all requests under way."""
        self._watch.cancel()
        self._state.connections.discard(cast("Any", self))
        self._waiting.pop(self, None)
        for stream in self._streams.values():
            stream.left()
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

    def stop(self) -> None:
        """Take no more requests, and close when those under way are answered."""
        if self._stopping:
            return
        self._stopping = True
        self.transport.write(GoAwayFrame(0, last_stream_id=self.h2.highest_inbound_stream_id).serialize())
        self._rest()

    def dismiss(self) -> None:
        """Hang up at once."""
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
        if self._stopping or len(self._streams) >= 2 * MAX_STREAMS or not pseudo.get(b":path", b"").startswith(b"/"):
            return self.reset(id_, ErrorCodes.REFUSED_STREAM)
        stream = self._streams[id_] = Http2Stream(self, id_, self._scope(pseudo, headers))
        self._waiting.pop(self, None)
        task = self._loop.create_task(stream.run(self._app))
        self._state.tasks.add(task)
        return task.add_done_callback(lambda done: self._done(done, stream))

    def _done(self, task: asyncio.Task[None], stream: Http2Stream) -> None:
        self._state.tasks.discard(task)
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
        """No request is under way: the connection may be closed in another's favour."""
        if self._streams or self.transport.is_closing():
            return
        self._used = self._loop.time()
        self._waiting[self] = None
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


class Frames:
    """Looks at each frame's length as it comes: the library would hold a frame too long until all of it is there."""

    def __init__(self) -> None:
        self._left, self._head = PREFACE_BYTES, b""

    def pass_over(self, data: bytes) -> None:
        """ProtocolError where a frame begins that is longer than we accept."""
        at = 0
        while at < len(data):
            if self._left:
                passed = min(self._left, len(data) - at)
                self._left -= passed
            else:
                passed = min(FRAME_HEAD - len(self._head), len(data) - at)
                self._begin(self._head + data[at : at + passed])
            at += passed

    def _begin(self, head: bytes) -> None:
        self._head = head
        if len(head) == FRAME_HEAD:
            self._left, self._head = int.from_bytes(head[:3], "big"), b""
            if self._left > MAX_FRAME:
                raise FrameTooLargeError(f"a frame of {self._left} bytes")


def _address(transport: asyncio.Transport, name: str) -> tuple[str, int] | None:
    """(host, port), where the connection has one."""
    found = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple | list) and len(found) >= 2 else None
