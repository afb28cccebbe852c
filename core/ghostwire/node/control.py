"""The control session with the server: kept open, reopened with backoff, resumed where it was.

connect -> Hello -> Welcome -> the session lasts; reports and interests go, map changes come
                 -> Refused    asked again after the time the server named, or `REFUSED_DELAY`
nobody there, cut off, silent  asked again after the backoff, or as soon as a link changes
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import AuthenticationFailed, Conflict, GhostwireError, RemoteProtocolError, Unavailable
from ghostwire.errors import Refused as RefusedError
from ghostwire.model import MapChange
from ghostwire.node.backoff import Backoff
from ghostwire.node.parts import Channel
from ghostwire.node.session import Session
from ghostwire.wire.messages import Hello, PeerEndpoints, Refused, Welcome

ANSWER_TIMEOUT = 20.0
"""Seconds for connecting, and for the answer to Hello."""
REFUSED_DELAY = 60.0
"""Seconds until a server that said no is asked again: its operator may have changed his mind."""
MAX_DELAY = 3600.0
STABLE = 30 * SECOND
"""A session that lasted this long was a success: its loss begins a new backoff."""

T = TypeVar("T")


class ControlEvents(Protocol):
    """What the control session asks and tells; called on the loop, must not block."""

    def hello(self, channel: Channel) -> Hello:
        """The Hello for this channel."""

    def welcomed(self, welcome: Welcome) -> None:
        """The server took the node in: the session is open."""

    def changed(self, change: MapChange) -> None:
        """The map changed."""

    def peer_endpoints(self, message: PeerEndpoints) -> None:
        """A peer's current endpoints."""

    def refused(self, error: RefusedError) -> None:
        """The server said no; ``error.code`` is the message's."""

    def failed(self, error: GhostwireError) -> None:
        """The server is not reached, or the session ended."""


class Control:
    """Keeps one session from `start` to `close`; ``connect`` opens a channel to the server."""

    def __init__(
        self, connect: Callable[[], Awaitable[Channel]], events: ControlEvents, clock: Clock, entropy: Entropy
    ) -> None:
        self._connect, self._events, self._clock = connect, events, clock
        self._backoff = Backoff(entropy)
        self._session: Session | None = None
        self._hurry = asyncio.Event()
        self._retry_after = 0.0
        self._task: asyncio.Task[None] | None = None
        self.attempts = 0

    @property
    def connected(self) -> bool:
        """Whether a session is open: the server has sent its Welcome."""
        return self._session is not None

    def start(self) -> None:
        """Begin, and go on until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, message: Any) -> bool:
        """Tell the server now; False where no session is open, or one that is clogged."""
        return self._session is not None and self._session.send(message)

    def links_changed(self) -> None:
        """This machine's links changed: reconnect at once, or find out soon whether the session survived."""
        if self._session is not None:
            self._session.probe()
        self._hurry.set()

    async def close(self, goodbye: Any = None) -> None:
        """End the session, after a last message where one is open; harmless when called twice."""
        if goodbye is not None:
            self.send(goodbye)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            began = self._clock.now()
            self._hurry.clear()
            try:
                await self._attempt()
            except RefusedError as error:
                self._events.refused(error)
            except GhostwireError as error:
                self._events.failed(error)
            if self._clock.now() - began >= STABLE:
                self._backoff.reset()
            await self._pause(self._delay())

    def _delay(self) -> float:
        wait, self._retry_after = min(self._retry_after, MAX_DELAY), 0.0
        return wait + self._backoff.within(wait / 4) if wait else self._backoff.next()

    async def _pause(self, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._hurry.wait()

    async def _attempt(self) -> None:
        self.attempts += 1
        channel = await _answered(self._connect())
        try:
            channel.send(self._events.hello(channel))
            welcome = self._welcome(await _answered(channel.receive()))
            self._session = Session(channel, self._clock)
            self._events.welcomed(welcome)
            await self._session.converse(self._dispatch)
        finally:
            self._session = None
            await channel.close()

    def _welcome(self, answer: Any) -> Welcome:
        if isinstance(answer, Refused):
            raise self._refusal(answer)
        if not isinstance(answer, Welcome):
            raise RemoteProtocolError(f"the server answered Hello with {type(answer).__name__}; is it newer than this?")
        return answer

    def _dispatch(self, message: Any) -> None:
        if isinstance(message, MapChange):
            self._events.changed(message)
        elif isinstance(message, PeerEndpoints):
            self._events.peer_endpoints(message)
        elif isinstance(message, Refused):
            raise self._refusal(message)
        else:
            raise RemoteProtocolError(f"the server sent {type(message).__name__} out of turn; is it newer than this?")

    def _refusal(self, message: Refused) -> RefusedError:
        self._retry_after = message.retry_after or REFUSED_DELAY
        kind = {"authentication-failed": AuthenticationFailed, "conflict": Conflict}.get(message.code, RefusedError)
        return kind(message.message, message.code)


async def _answered(answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await answer
    except TimeoutError:
        raise Unavailable(f"the server did not answer within {ANSWER_TIMEOUT:.0f} s") from None
