"""All sockets of the relay behind one epoll, which the event loop watches as a single reader."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from ghostwire.engine import SECOND, Clock
from ghostwire.system.resources import Tide
from ghostwire_derp.relay.router import Router
from ghostwire_derp.relay.sockets import SocketStream, TlsStream, tune

EVENTS: Final = 256
"""Streams looked at in one pass."""
SHARE: Final = SECOND // 20
"""Nanoseconds after which others get their turn in any case."""
FLOOD, QUEUED = 1024, 16 * 1024 * 1024
"""Streams, and bytes waiting for them, whose end leaves enough memory free to give it back."""
UNBOUNDED: Final = 1 << 40
"""More bytes than a pass can read."""
KEPT: Final = 1 << 16
"""Beside epoll's own events: parse what was kept before more is read."""

Turn = tuple[SocketStream, int]
"""A stream, and what there is to do for it."""


class Poller:
    """Reads whatever is readable, then lets the router write: a round. A pass is one round of at most ``budget`` bytes.

    Without a budget (0) a pass has as many rounds as take as long as what else the loop did since the last one: so a
    storm of strangers' handshakes leaves half of the time for passing frames on.
    """

    def __init__(self, router: Router, clock: Clock, budget: int, settle: Callable[[], None]) -> None:
        self._router, self._arena, self._counters, self._clock = router, router.arena, router.counters, clock
        self._budget, self._settle = budget, settle
        self._streams: dict[int, SocketStream] = {}
        self._again: dict[SocketStream, None] = {}
        self._left: list[Turn] = []
        self._tide, self._queues = Tide(FLOOD), Tide(QUEUED)
        self._ended = clock.now()
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
        self._tide.held(len(self._streams))
        return stream

    def forget(self, stream: SocketStream) -> None:
        """The stream is about to be closed."""
        self._again.pop(stream, None)
        if self._streams.pop(stream.number, None) is not None:
            self.epoll.unregister(stream.number)
            self._tide.held(len(self._streams))
            self._queues.held(self._router.outgoing.queued)

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
        now = self._clock.now()
        until = now + min(now - self._ended, SHARE)
        while self._round(now) and not self._budget and (now := self._clock.now()) < until:
            pass
        self._ended = now

    def _round(self, now: int) -> bool:
        """One turn for all who have something to read or room to write; whether there was anybody."""
        self._router.begin(now)
        budget, turns = self._budget or UNBOUNDED, self._turns()
        for position, (stream, event) in enumerate(turns):
            if budget <= 0:
                self._leave(turns[position:])
                break
            if not stream.owner.closed:
                budget -= self._serve(stream, event, budget)
        self._settle()
        return bool(turns)

    def _turns(self) -> list[Turn]:
        """Whose turn it is: those that the last pass left, before anybody has another; else all who have something."""
        if self._left:
            left, self._left = self._left, []
            return left
        streams, again, self._again = self._streams, self._again, {}
        named = [(streams[number], event) for number, event in self.epoll.poll(0, EVENTS)]
        if not again:
            return named
        turns = dict.fromkeys(again, select.EPOLLIN | KEPT)
        for stream, event in named:
            turns[stream] = turns.get(stream, 0) | event
        return list(turns.items())

    def _leave(self, turns: list[Turn]) -> None:
        """These have to wait for the next pass, of which epoll may not know."""
        self._left = turns
        if self._handle is None:
            self._handle = self._loop.call_soon(self._pass)

    def _serve(self, stream: SocketStream, event: int, budget: int) -> int:
        """One stream's turn; the bytes read. A fault of ours costs that stream alone."""
        size = 0
        try:
            if event & select.EPOLLOUT:
                stream.writable()
            if event & KEPT:
                self._parse_kept(stream)
            if event & select.EPOLLIN:
                size = self._read(stream, min(stream.most, budget))
            elif event & (select.EPOLLHUP | select.EPOLLERR):
                stream.owner.lost()
        except OSError:
            stream.owner.lost()
        except Exception as error:
            self._loop.call_exception_handler({"message": "a relayed stream failed", "exception": error})
            stream.owner.lost()
        return size

    def _parse_kept(self, stream: SocketStream) -> None:
        """Parse what was kept of a stream that is read again."""
        if self._arena.room < len(stream.kept):
            self._router.outgoing.flush()
        if not stream.owner.closed and not stream.paused:
            stream.parse(self._arena, 0)

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
        before = self._counters.frames
        stream.parse(arena, size)
        stream.fed(self._counters.frames - before)
        self._router.received(stream.owner, size)
        if stream.more:
            self.again(stream)
        return size
