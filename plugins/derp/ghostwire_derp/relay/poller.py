"""All sockets of the relay behind one epoll, which the event loop watches as a single reader."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from ghostwire.engine import Clock
from ghostwire_derp.relay.arena import READ_BYTES
from ghostwire_derp.relay.router import Router
from ghostwire_derp.relay.sockets import SocketStream, TlsStream, tune

EVENTS: Final = 256
"""Streams looked at in one pass."""


class Poller:
    """Reads whatever is readable, then lets the router write: a pass. ``budget`` bounds its bytes; 0 for no bound."""

    def __init__(self, router: Router, clock: Clock, budget: int, settle: Callable[[], None]) -> None:
        self._router, self._arena, self._clock = router, router.arena, clock
        self._budget, self._settle = budget, settle
        self._streams: dict[int, SocketStream] = {}
        self._again: dict[SocketStream, None] = {}
        self._left: list[tuple[int, int]] = []
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self.epoll = select.epoll()
        self._loop.add_reader(self.epoll.fileno(), self._pass)

    def stream(self, plain: socket.socket) -> SocketStream:
        """A stream on this socket, which is ours from now on."""
        plain.setblocking(False)
        tune(plain)
        stream = TlsStream(self, plain) if isinstance(plain, ssl.SSLSocket) else SocketStream(self, plain)
        self._streams[stream.number] = stream
        return stream

    def forget(self, stream: SocketStream) -> None:
        """The stream is about to be closed."""
        self._again.pop(stream, None)
        if self._streams.pop(stream.number, None) is not None:
            self.epoll.unregister(stream.number)

    def again(self, stream: SocketStream) -> None:
        """Read this stream in the next pass even if epoll does not name it."""
        self._again[stream] = None
        if self._handle is None:
            self._handle = self._loop.call_soon(self._pass)

    def close(self) -> None:
        """Stop; harmless when called twice."""
        if not self.epoll.closed:
            self._loop.remove_reader(self.epoll.fileno())
            self.epoll.close()
        if self._handle is not None:
            self._handle.cancel()

    def _pass(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._router.begin(self._clock.now())
        again, self._again = list(self._again), {}
        budget = self._budget or READ_BYTES * EVENTS * 2
        for stream in again:
            budget -= self._resumed(stream)
        events = self._left or self.epoll.poll(0, EVENTS)
        self._left = []
        for position, (number, event) in enumerate(events):
            if budget <= 0:
                self._left = events[position:]
                break
            if number in self._streams:
                budget -= self._serve(self._streams[number], event, budget)
        self._settle()

    def _serve(self, stream: SocketStream, event: int, budget: int) -> int:
        """What epoll says of one stream; the bytes read."""
        size = 0
        try:
            if event & select.EPOLLOUT:
                stream.writable()
            if event & select.EPOLLIN:
                size = self._read(stream, min(READ_BYTES, budget))
            elif event & (select.EPOLLHUP | select.EPOLLERR):
                stream.owner.lost()
        except OSError:
            stream.owner.lost()
        return size

    def _resumed(self, stream: SocketStream) -> int:
        """Parse what was kept of a stream that is read again, then read it; the bytes read."""
        if stream.owner.closed or stream.paused:
            return 0
        stream.parse(self._arena, 0)
        return 0 if stream.owner.closed or stream.paused else self._serve(stream, select.EPOLLIN, READ_BYTES)

    def _read(self, stream: SocketStream, most: int) -> int:
        arena, kept = self._arena, len(stream.kept)
        if arena.room < kept + most:
            self._router.outgoing.flush()
        if stream.owner.closed or stream.paused:
            return 0
        start = arena.used + kept
        try:
            size = stream.read_into(arena.view[start : start + most])
        except BlockingIOError:
            return 0
        if not size:
            stream.owner.lost()
            return 0
        stream.parse(arena, size)
        self._router.received(stream.owner, size)
        if stream.more:
            self.again(stream)
        return size
