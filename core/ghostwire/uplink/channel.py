"""A control session with the server: HTTP Upgrade, TLS where the URL asks for it, Noise, then messages."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import h11

from ghostwire.errors import AuthenticationFailed, GhostwireError, RemoteProtocolError, Unavailable, UsageError
from ghostwire.system.tls import unverified
from ghostwire.wire import messages
from ghostwire.wire.serverurl import ServerUrl
from ghostwire.wire.session import HANDSHAKE_HEADER, ControlSession
from ghostwire.wire.stream import CLOSE_GRACE, SessionStream

if TYPE_CHECKING:
    from ghostwire.capabilities.contexts import Sockets
    from ghostwire.engine import Entropy
    from ghostwire.keys import ControlKey, PrivateKey

CONNECT_TIMEOUT = 10.0
"""Seconds for name, TCP, TLS, upgrade and handshake together."""
MAX_HEAD = 16 * 1024
MAX_PENDING = 256 * 1024
"""Bytes waiting for the server above which `Channel.send` drops."""
MAX_QUEUED = 64
"""Messages waiting for `Channel.receive` above which reading pauses."""
WATCH = 5.0
"""The least seconds between two looks at whether the session is idle."""

_BUSY = frozenset({429, 502, 503, 504})


async def connect(
    url: str, machine_key: PrivateKey, server_key: ControlKey, sockets: Sockets, entropy: Entropy
) -> Channel:
    """Open a control session with the server at ``url`` that holds ``server_key``.

    Unavailable: nobody answers, or the server is busy. RemoteProtocolError: what answers is no GhostWire server.
    AuthenticationFailed: it is another one. UsageError: the URL makes no sense. Whoever sits on the path can forge
    the last two answers, so a running daemon tries again in every case.
    """
    target = _parse(url)
    session = ControlSession.initiator(machine_key, server_key, entropy)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await _open(url, target, session, sockets)
    except TimeoutError:
        raise Unavailable(f"{url}: no answer within {CONNECT_TIMEOUT:.0f} s; is the server up?") from None
    except ssl.SSLError as error:
        reason = error.reason or error
        raise Unavailable(f"{url}: TLS failed ({reason}); a server without TLS has an http:// URL") from None
    except OSError as error:
        raise Unavailable(f"{url}: {error.strerror or error}") from None


async def _open(url: str, target: ServerUrl, session: ControlSession, sockets: Sockets) -> Channel:
    tls = unverified() if target.tls else None  # the control session inside authenticates the server by its key
    transport, upgrading = await sockets.connect(
        lambda: _Upgrading(url, target, session), target.host, target.port, tls=tls
    )
    try:
        return await upgrading.done
    except BaseException:
        transport.abort()
        raise


def _parse(url: str) -> ServerUrl:
    try:
        return ServerUrl.parse(url)
    except ValueError as error:
        raise UsageError(f"{url!r}: not a server's URL: {error}") from None


class _Upgrading(asyncio.Protocol):
    """The connection until the Noise handshake is done; ``done`` gives the channel, or says why there is none."""

    def __init__(self, url: str, target: ServerUrl, session: ControlSession) -> None:
        self._url, self._target, self._session = url, target, session
        self._http: h11.Connection | None = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.done: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade, with message 1."""
        assert self._http is not None
        self._transport = cast("asyncio.Transport", transport)
        headers = [
            ("Host", self._target.authority),
            ("Connection", "Upgrade"),
            ("Upgrade", messages.UPGRADE),
            (HANDSHAKE_HEADER, b64encode(self._session.outgoing()).decode("ascii")),
        ]
        request = h11.Request(method="GET", target=self._target.prefix + messages.PATH, headers=headers)
        head = self._http.send(request) or b""
        self._transport.write(head + (self._http.send(h11.EndOfMessage()) or b""))

    def data_received(self, data: bytes) -> None:
        """The answer, then message 2."""
        if self.done.done():
            return
        try:
            rest = self._answer(data) if self._http is not None else data
            if rest:
                self._handshake(rest)
        except GhostwireError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody there, after all."""
        if self._http is not None and self._http.trailing_data[0]:
            return self._fail(self._stranger("answered something that is not HTTP"))
        hint = "" if self._target.tls or self._http is None else "; a server with TLS has an https:// URL"
        cause = f" ({exc})" if exc else ""
        return self._fail(Unavailable(f"{self._url}: closed the connection without an answer{cause}{hint}"))

    def _answer(self, data: bytes) -> bytes:
        """Read the HTTP answer; what followed it, once it is 101."""
        assert self._http is not None
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            while isinstance(event, h11.InformationalResponse) and event.status_code != 101:
                event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise self._stranger("answered something that is not HTTP") from None
        if event is h11.NEED_DATA:
            return b""
        self._check_upgraded(event)
        rest, self._http = self._http.trailing_data[0], None
        return rest

    def _check_upgraded(self, event: Any) -> None:
        if isinstance(event, h11.Response) and event.status_code in _BUSY:
            raise Unavailable(f"{self._url}: busy or restarting (answered {event.status_code}); try again later")
        if isinstance(event, h11.Response):
            raise self._stranger(f"answered {event.status_code} to the upgrade")
        if (b"upgrade", messages.UPGRADE.encode()) not in [(name, value.lower()) for name, value in event.headers]:
            raise self._stranger("upgraded to something else")

    def _stranger(self, what: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self._url}: not a GhostWire server ({what}); check the URL in the join token")

    def _handshake(self, data: bytes) -> None:
        try:
            frames = self._session.receive(data)
        except RemoteProtocolError:
            raise AuthenticationFailed(
                f"the server at {self._url} has another key than the join token named (another server, or its "
                "control.key was lost); ask for a new token"
            ) from None
        if frames:
            raise self._stranger("spoke out of turn")
        if self._session.established:
            channel = Channel(self._session, self._transport, self._url)
            self._transport.set_protocol(channel)
            self.done.set_result(channel)

    def _fail(self, error: GhostwireError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Channel(SessionStream):
    """An open control session: `send` and `receive` messages. Pings and pongs are dealt with here."""

    __slots__ = ("_lost", "_messages", "_number", "_waiter", "_watch", "url")

    def __init__(self, session: ControlSession, transport: asyncio.Transport, url: str) -> None:
        super().__init__(session, transport)
        self.url = url
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._watch: asyncio.TimerHandle = self._loop.call_later(WATCH, self._look)

    def send(self, message: Any) -> bool:
        """Send a message; False where it was dropped: the session is over, or the server reads too slowly."""
        return self._queue(messages.encode(message), MAX_PENDING)

    async def receive(self) -> Any:
        """The next message, in order; Unavailable once the session is over and all that came before is taken."""
        while not self._messages:
            if self._closing:
                raise Unavailable(f"{self.url}: {self.reason}")
            await self._arrival()
        message = self._messages.popleft()
        if len(self._messages) == MAX_QUEUED // 2 and not self._closing:
            self._transport.resume_reading()
        return message

    def prove(self, key: PrivateKey) -> bytes:
        """The first message's proof that this side holds ``key``, good for this session only."""
        return self._session.prove(key)

    async def close(self) -> None:
        """Send what was accepted, close, and wait for the end (at most `CLOSE_GRACE` s); harmless when called twice."""
        self._end("closed")
        try:
            await asyncio.wait([self._lost], timeout=CLOSE_GRACE)
        finally:
            self._transport.abort()

    async def _arrival(self) -> None:
        """Wait until a message has come or the session has ended."""
        if self._waiter is None:
            self._waiter = self._loop.create_future()
        await asyncio.wait([self._waiter])

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _look(self) -> None:
        now = self._loop.time()
        self._watch = self._loop.call_later(max(WATCH, self._idle_at() - now), self._look)
        self._keep_alive(now)

    def _take(self, frame: bytes) -> None:
        message = messages.decode_to_node(frame)
        if isinstance(message, messages.Ping):
            self.send(messages.Pong(number=message.number))
        elif not isinstance(message, messages.Pong):
            self._messages.append(message)
            if len(self._messages) == MAX_QUEUED:
                self._transport.pause_reading()
            self._wake()

    def _violated(self, reason: str) -> None:
        self._end(f"the server broke the protocol: {reason}")

    def _end(self, reason: str) -> None:
        self._watch.cancel()
        super()._end(reason)
        self._wake()

    def _over(self) -> None:
        self._watch.cancel()
        if not self._lost.done():
            self._lost.set_result(None)
        self._wake()
