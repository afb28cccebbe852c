"""Joins one session with one stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Protocol, cast

from ghostwire import Buffer
from ghostwire.driver import Driver
from ghostwire.engine import Clock
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire_websocket.session import Session

HIGH, LOW = 256 * 1024, 64 * 1024
"""Bytes that wait in the stream from which on datagrams wait outside it, where old ones can be dropped."""
TOO_MUCH = 4 * HIGH
"""Bytes that wait because the other end makes this one answer and reads nothing."""
UNSENT = 128 * 1024
"""The same in the kernel: what waits there cannot be dropped, only age."""


class Owner(Protocol):
    """Whom a connection tells what happens, on the loop."""

    def opened(self, connection: Connection) -> None:
        """The other end proved who it is: ``connection.session.peer``."""

    def received(self, connection: Connection, datagrams: Sequence[Buffer]) -> None:
        """Datagrams, valid during the call."""

    def writable(self, connection: Connection) -> None:
        """It takes datagrams again."""

    def ended(self, connection: Connection, reason: GhostwireError) -> None:
        """It is over, opened or not; not after `Connection.close`."""


class Connection(asyncio.Protocol):
    """One connection; ``owner`` may be another once the peer is known."""

    def __init__(self, session: Session, owner: Owner, clock: Clock) -> None:
        self.session, self.owner, self._clock = session, owner, clock
        self._transport: asyncio.Transport | None = None
        self._driver = Driver(session, clock, self._drain)
        self._open = self._over = self._paused = False
        self.reason: GhostwireError = Unavailable("it was closed")

    @property
    def ready(self) -> bool:
        """Whether datagrams may be sent now."""
        return self._open and not self._over and not self._paused

    @property
    def opened(self) -> bool:
        """Whether the other end proved who it is."""
        return self._open

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over

    def send(self, datagrams: Sequence[Buffer]) -> None:
        """Write datagrams; only while `ready`."""
        self.session.send(datagrams, self._clock.now())
        self._driver.settle()

    def close(self) -> None:
        """Say goodbye and end; tells nobody. Harmless when called twice."""
        if not self._over:
            self.session.leave()
            self._drain()
            self._end()

    def abort(self) -> None:
        """End it for another's sake, at once."""
        self._fail(Unavailable("it had to make room"), abort=True)

    # What the stream calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH, LOW)
        _tune(self._transport)
        self._driver.settle()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._over:
            return None
        try:
            datagrams = self.session.receive(data, self._clock.now())
        except GhostwireError as error:
            return self._fail(error)
        if self.session.peer is not None and not self._open:
            self._open = True
            self.owner.opened(self)
        if datagrams and not self._over:
            self.owner.received(self, datagrams)
        self._driver.settle()
        return None

    def pause_writing(self) -> None:
        """The stream is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The stream has room."""
        self._paused = False
        if self.ready:
            self.owner.writable(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self._fail(Unavailable(f"the connection broke{f': {exc}' if exc else ''}"))

    # Inside

    def _drain(self) -> None:
        out = self.session.outgoing()
        if self._transport is None or self._over:
            return
        if out:
            self._transport.write(out)
        if self.session.failure is not None:
            self._fail(self.session.failure)
        elif self._transport.get_write_buffer_size() > TOO_MUCH:
            self._fail(Unavailable("the other end reads nothing"))

    def _fail(self, reason: GhostwireError, *, abort: bool = False) -> None:
        if self._over:
            return
        out = self.session.outgoing()
        if out and self._transport is not None:
            self._transport.write(out)
        self.reason = reason
        self._end()
        if abort and self._transport is not None:
            self._transport.abort()
        self.owner.ended(self, reason)

    def _end(self) -> None:
        self._over = True
        self._driver.close()
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(1.0, self._transport.abort)


def _tune(transport: asyncio.Transport) -> None:
    """A simulated stream has no socket."""
    made = transport.get_extra_info("socket")
    if made is not None:
        with contextlib.suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
