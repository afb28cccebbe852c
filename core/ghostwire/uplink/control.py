"""The control session with the server: kept open, reopened with backoff.

    connect -> hello -> welcome -> the session lasts, messages go both ways
                     -> Refused    asked again after the time the server named, or `REFUSED_DELAY`
    nobody there, cut off, silent  asked again after the backoff
    `hurry`, in any of these       asked again at once

The channel itself pings, answers pings, and ends when the server has gone silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import AuthenticationFailed, Conflict, GhostwireError, RemoteProtocolError, Unavailable
from ghostwire.errors import Refused as RefusedError
from ghostwire.hints import one_line
from ghostwire.uplink.backoff import Backoff
from ghostwire.wire.messages import Refused

ANSWER_TIMEOUT = 20.0
"""Seconds for connecting, and for the answer to Hello."""
REFUSED_DELAY = 60.0
"""Seconds until a server that said no is asked again: its operator may have changed his mind."""
MAX_DELAY = 3600.0
SPREAD = 1.0
"""Seconds over which those at least come back whom the server sent away to the same second."""
STABLE = 30 * SECOND
"""A session that lasted this long was a success: its loss begins a new backoff."""

if TYPE_CHECKING:
    from ghostwire.capabilities.contexts import Sockets
    from ghostwire.keys import ControlKey, PrivateKey

_REFUSALS = {"authentication-failed": AuthenticationFailed, "conflict": Conflict}

T = TypeVar("T")


class Channel(Protocol):
    """An open control channel: the Noise session with the server, carrying messages."""

    def send(self, message: Any, /) -> bool:
        """Queue a message; False where the server reads too slowly."""

    async def receive(self) -> Any:
        """The server's next message; Unavailable when the channel has ended. A cancelled call loses nothing."""

    def prove(self, key: PrivateKey, /) -> bytes:
        """The proof that this side holds the key, for the first message."""

    async def close(self) -> None:
        """End the channel; harmless when called twice."""


class Connect(Protocol):
    """Opens a channel: `ghostwire.uplink.channel.connect`."""

    def __call__(
        self, url: str, machine_key: PrivateKey, server_key: ControlKey, sockets: Sockets, entropy: Entropy, /
    ) -> Awaitable[Channel]:
        """Unavailable where nobody answers; RemoteProtocolError or AuthenticationFailed where another server does."""


class ControlEvents(Protocol):
    """What the control session asks and tells; called on the loop, must not block."""

    def hello(self, channel: Channel) -> Any:
        """The first message on this channel."""

    def welcomed(self, welcome: Any) -> None:
        """The server let this side in: the session is open."""

    def received(self, message: Any) -> None:
        """Any later message; RemoteProtocolError where it makes no sense."""

    def refused(self, error: RefusedError) -> None:
        """The server said no; ``error.code`` is the message's."""

    def failed(self, error: GhostwireError) -> None:
        """The server is not reached, or the session ended."""


class _SaidNo(Exception):
    """The server's Refused, unlike a refusal that somebody on the way could have made up."""

    def __init__(self, message: Refused) -> None:
        text = one_line(message.message)
        super().__init__(text)
        self.error = _REFUSALS.get(message.code, RefusedError)(text, message.code)
        self.delay = min(message.retry_after or REFUSED_DELAY, MAX_DELAY)


class Control:
    """Keeps one session from `start` to `close`; ``connect`` opens a channel, ``welcome`` is what lets this side in."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Channel]],
        events: ControlEvents,
        welcome: type,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._connect, self._events, self._welcome, self._clock = connect, events, welcome, clock
        self._backoff = Backoff(entropy)
        self._channel: Channel | None = None
        self._patience: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None
        self._closings: set[asyncio.Task[None]] = set()
        self.attempts = 0

    @property
    def connected(self) -> bool:
        """Whether a session is open: the server has sent its Welcome."""
        return self._channel is not None

    def start(self) -> None:
        """Begin, and go on until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, message: Any) -> bool:
        """Tell the server now; False where no session is open, or one that is clogged."""
        return self._channel is not None and self._channel.send(message)

    def hurry(self) -> None:
        """Begin a new session at once: links changed, or there is something new to say in Hello."""
        if self._task is not None and self._patience is not None and self._patience.when() is None:
            self._patience.reschedule(0)

    async def close(self, goodbye: Any = None) -> None:
        """End the session, after a last message where one is open; harmless when called twice."""
        if goodbye is not None:
            self.send(goodbye)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._closings:
            await asyncio.wait(self._closings)

    async def _run(self) -> None:
        while True:
            began = self._clock.now()
            try:
                async with asyncio.timeout(None) as self._patience:
                    delay = await self._attempt(began)
                    await asyncio.sleep(delay)
            except TimeoutError:
                self._backoff.reset()

    async def _attempt(self, began: int) -> float:
        """One session; the seconds to wait before the next."""
        try:
            return await self._until_refused()
        except GhostwireError as error:
            self._events.failed(error)
        except OSError as error:
            self._events.failed(Unavailable(f"the server is not reached: {error.strerror or error}"))
        except Exception as error:
            _surface(error)
            self._events.failed(GhostwireError(f"internal error: {type(error).__name__}; see the node's log"))
        if self._clock.now() - began >= STABLE:
            self._backoff.reset()
        return self._backoff.next()

    async def _until_refused(self) -> float:
        try:
            await self._session()
        except _SaidNo as refusal:
            self._events.refused(refusal.error)
            return refusal.delay + self._backoff.within(max(SPREAD, refusal.delay / 4))

    async def _session(self) -> NoReturn:
        self.attempts += 1
        channel = await _answered(self._connect())
        try:
            channel.send(self._events.hello(channel))
            welcome = self._welcomed(await _answered(channel.receive()))
            self._channel = channel
            self._events.welcomed(welcome)
            while True:
                self._dispatch(await channel.receive())
        finally:
            self._channel = None
            self._end(channel)

    def _end(self, channel: Channel) -> None:
        """Close without waiting: a dead link must not hold up the next session."""
        closing = asyncio.get_running_loop().create_task(channel.close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    def _dispatch(self, message: Any) -> None:
        if isinstance(message, Refused):
            raise _SaidNo(message)
        self._events.received(message)

    def _welcomed(self, answer: Any) -> Any:
        if isinstance(answer, Refused):
            raise _SaidNo(answer)
        if not isinstance(answer, self._welcome):
            raise RemoteProtocolError(f"the server answered with {type(answer).__name__}; is it newer than this?")
        return answer


def out_of_turn(message: Any) -> RemoteProtocolError:
    """What to raise for a message that makes no sense here."""
    return RemoteProtocolError(f"the server sent {type(message).__name__} out of turn; is it newer than this?")


async def _answered(answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await answer
    except TimeoutError:
        raise Unavailable(f"the server did not answer within {ANSWER_TIMEOUT:.0f} s") from None


def _surface(error: Exception) -> None:
    """Show the loop a bug; the next session may get by without it."""
    context = {"message": "the control session has ended", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)
