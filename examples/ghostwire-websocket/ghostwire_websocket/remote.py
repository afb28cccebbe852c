"""One node at the other end: its connections, what waits for one, and when to dial."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ghostwire import BURST, Buffer, Receive
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.hints import one_line
from ghostwire.uplink.backoff import Backoff
from ghostwire_websocket.connection import Connection
from ghostwire_websocket.counters import Counters
from ghostwire_websocket.fresh import Fresh
from ghostwire_websocket.messages import MAX_DATAGRAM
from ghostwire_websocket.path import WebSocketPath
from ghostwire_websocket.session import LATELY, Dialling

if TYPE_CHECKING:
    from ghostwire import TransportContext
    from ghostwire_websocket.dialler import Dialler

FIRST_DELAY, MOST_DELAY = 0.5, 20.0
"""Seconds of the back-off."""
CONNECT_TIMEOUT = 10.0
"""Seconds for the stream and its TLS."""


class Remote:
    """Dials the ``path``'s target when there is something to send, and again where a connection in use broke.

    There may be two connections for a while, where both ends dialled at once; the one that opened last is used, the
    other ends by idleness.
    """

    def __init__(
        self, path: WebSocketPath, dialler: Dialler, context: TransportContext, counters: Counters, deliver: Receive
    ) -> None:
        self._path, self.target = path, path.target
        self._dialler, self._context, self._counters, self._deliver = dialler, context, counters, deliver
        self._links: list[Connection] = []
        self._waiting = Fresh(counters)
        self._backoff = Backoff(context.entropy, FIRST_DELAY, MOST_DELAY)
        self._not_before = 0
        self._moved = 0
        self._dialling: asyncio.Task[None] | None = None
        self._shaking: Connection | None = None
        self._again: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        busy = self._links or self._dialling or self._shaking or self._again
        return not busy and self._context.clock.now() >= self._not_before

    @property
    def connected(self) -> bool:
        """Whether a connection is open."""
        return bool(self._links)

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Write now, or keep for a moment; False where any of it was dropped."""
        kept = [each for each in datagrams if 0 < len(each) <= MAX_DATAGRAM]
        self._counters.dropped_size += len(datagrams) - len(kept)
        return bool(not kept or self._send(kept)) and len(kept) == len(datagrams)

    def take(self, connection: Connection) -> None:
        """Own a connection that this node accepted and whose other end proved to be this one."""
        for link in [link for link in self._links if not isinstance(link.session, Dialling)]:
            self._links.remove(link)
            link.close()
        connection.owner = self
        self._counters.accepted += 1
        self._use(connection)

    def close(self) -> None:
        """End all connections; harmless when called twice."""
        self._waiting.drop()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._again is not None:
            self._again.cancel()
        shaking = [self._shaking] if self._shaking is not None else []
        for connection in [*self._links, *shaking]:
            connection.close()
        self._links, self._shaking, self._dialling, self._again = [], None, None, None

    # What connections call

    def opened(self, connection: Connection) -> None:
        """What was dialled is there."""
        self._shaking = None
        self._counters.dialled += 1
        self._use(connection)

    def received(self, connection: Connection, datagrams: Sequence[Buffer]) -> None:
        """Hand them on, a burst at a time: one read may bring several messages."""
        self._counters.received += len(datagrams)
        for start in range(0, len(datagrams), BURST):
            self._deliver(self._path, datagrams[start : start + BURST])

    def writable(self, connection: Connection) -> None:
        """Send what waits."""
        while self._waiting and connection.ready:
            burst = self._waiting.take()
            connection.send(burst)
            self._counters.sent += len(burst)

    def ended(self, connection: Connection, reason: GhostwireError) -> None:
        """A connection is over: dial again where data moved lately, for the other end may be unable to."""
        if connection in self._links:
            self._links.remove(connection)
            self._counters.lost += 1
            self._moved = max(self._moved, connection.session.moved)
            if not self._links and isinstance(connection.session, Dialling):
                self._broke(connection)
        elif connection is self._shaking:
            self._shaking = None
            self._failed(reason)

    # Inside

    def _send(self, datagrams: Sequence[Buffer]) -> bool:
        self._moved = self._context.clock.now()
        link = self._links[-1] if self._links else None
        if link is not None and link.ready and not self._waiting:
            link.send(datagrams)
            self._counters.sent += len(datagrams)
            return True
        if link is None and not self._dial():
            self._counters.dropped_away += len(datagrams)
            return False
        return self._waiting.add(datagrams)

    def _use(self, connection: Connection) -> None:
        self._links.append(connection)
        self.writable(connection)

    def _dial(self) -> bool:
        """Whether a connection is under way."""
        if self._dialling is not None or self._shaking is not None:
            return True
        if self.target.url is None or self._context.clock.now() < self._not_before:
            return False
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._dialling = asyncio.get_running_loop().create_task(self._connect())
        return True

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await self._dialler.dial(self.target, self)
            if connection.over and not connection.opened:
                self._failed(connection.reason)
            elif not connection.opened:
                self._shaking = connection
        except TimeoutError:
            self._failed(Unavailable("no answer"))
        except GhostwireError as error:
            self._failed(error)
        finally:
            self._dialling = None

    def _broke(self, connection: Connection) -> None:
        """Dial soon after a connection that lasted; pause like after a failure where it did not: there may be too many
        nodes for the other end, which then push each other out."""
        self._waiting.drop()
        if self._context.clock.now() >= connection.session.began + LATELY:
            self._backoff.reset()
        self._pause(self._backoff.next())

    def _failed(self, reason: GhostwireError) -> None:
        """Pause, longer each time; what waited is too old by then."""
        self._waiting.drop()
        self._counters.failures += 1
        delay = FIRST_DELAY + self._backoff.next()
        host = self.target.url.host if self.target.url else ""  # the path may be what outsiders shall not guess
        self._context.log.info("websocket: %s: %s; not again for %.1f s", host, one_line(reason), delay)
        self._pause(delay)

    def _pause(self, delay: float) -> None:
        """Dial no more for so many seconds; then anew, where data moved lately."""
        self._not_before = self._context.clock.now() + round(delay * SECOND)
        if self._again is None and self._context.clock.now() < self._moved + LATELY:
            self._again = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._again, self._not_before = None, 0
        if not self._links:
            self._dial()
