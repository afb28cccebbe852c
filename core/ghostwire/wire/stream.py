"""A control session on an asyncio transport: what the node's and the server's end have in common."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from ghostwire.errors import RemoteProtocolError
from ghostwire.wire.messages import IDLE_TIMEOUT, KEEPALIVE, Ping, encode
from ghostwire.wire.session import ControlSession

CLOSE_GRACE = 5.0
"""Seconds that a closed stream has to get rid of what it was still to send."""
HIGH_WATER = 64 * 1024
"""Pending bytes above which a stream reports when they have drained (asyncio's own default high-water mark)."""

_PING = encode(Ping())


class SessionStream(asyncio.Protocol):
    """Feeds a session, sends what it seals, and ends with it. ``first`` goes out ahead of all the session has to say.

    All frames queued in one pass of the loop leave in one ``transport.write``.
    """

    __slots__ = (
        "_closing",
        "_first",
        "_flushing",
        "_grace",
        "_heard",
        "_loop",
        "_paused",
        "_sent",
        "_session",
        "_transport",
        "reason",
    )

    def __init__(self, session: ControlSession, transport: asyncio.Transport, first: bytes = b"") -> None:
        self._session, self._transport = session, transport
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._heard = self._sent = self._loop.time()
        self._flushing = self._paused = self._closing = False
        self._grace: asyncio.TimerHandle | None = None
        self.reason = ""
        """Why the stream ended, as one line; empty while it lives."""

    @property
    def pending(self) -> int:
        """Bytes accepted by `send` that the operating system has not taken yet."""
        return self._session.queued + self._transport.get_write_buffer_size()

    @abstractmethod
    def _take(self, frame: bytes) -> None:
        """Act on one frame; RemoteProtocolError where it is against the rules."""

    @abstractmethod
    def _violated(self, reason: str) -> None:
        """The other side broke the rules."""

    @abstractmethod
    def _over(self) -> None:
        """The transport is gone; called once."""

    def _drained(self) -> None:
        """`pending` was above `HIGH_WATER` and has fallen again."""

    def _queue(self, frame: bytes, limit: int) -> bool:
        """Send this frame at the end of the loop's pass, unless more than ``limit`` bytes wait already."""
        if self._closing or self.pending > limit:
            return False
        self._session.send(frame)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return True

    def _flush(self) -> None:
        self._flushing = False
        backlog = self._session.queued
        if self._transport.is_closing() or not (out := self._first + self._session.outgoing()):
            return
        self._first = b""
        self._transport.write(out)
        self._sent = self._loop.time()
        if backlog > HIGH_WATER and not self._paused:
            self._drained()

    def _end(self, reason: str) -> None:
        """Send what is queued, then close."""
        if self._closing:
            return
        self._flush()
        self._closing, self.reason = True, reason
        self._transport.close()
        self._grace = self._loop.call_later(CLOSE_GRACE, self._transport.abort)

    def _keep_alive(self, now: float) -> None:
        """Ping where nothing was sent for `KEEPALIVE`; give up where nothing was heard for `IDLE_TIMEOUT`."""
        if now - self._heard >= IDLE_TIMEOUT:
            self._end(f"the other side was silent for {IDLE_TIMEOUT} s")
        elif now - self._sent >= KEEPALIVE:
            self._queue(_PING, HIGH_WATER)

    def _idle_at(self) -> float:
        """When `_keep_alive` has something to do, if nothing is said until then."""
        return min(self._heard + IDLE_TIMEOUT, self._sent + KEEPALIVE)

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        """Open what arrived."""
        if self._closing:
            return
        self._heard = self._loop.time()
        try:
            for frame in self._session.receive(data):
                if not self._closing:
                    self._take(frame)
        except RemoteProtocolError as error:
            self._violated(str(error))
        if not self._session.established:
            self._flush()

    def pause_writing(self) -> None:
        """The transport holds more than it likes."""
        self._paused = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._paused = False
        self._drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        if self._grace is not None:
            self._grace.cancel()
        self.reason = self.reason or (f"the connection broke: {exc}" if exc else "the other side closed the connection")
        self._closing = True
        self._over()
