"""A TCP port with TLS: handshakes are bounded in number and time before anything else is known of who knocks.

asyncio's own TLS servers tell nobody of a connection before its handshake is done, and keep its TLS to themselves; so
connections are accepted and counted here, and get a transport of ours.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from ghostwire.frontdoor.admission import Admission
from ghostwire.frontdoor.handshake import accept
from ghostwire.frontdoor.tls_transport import TlsTransport
from ghostwire.frontdoor.turnstile import Turnstile
from ghostwire.system.resources import Tide

TLS_TIMEOUT = 10.0
MAX_HANDSHAKES = 1024
MAX_HANDSHAKES_PER_ADDRESS = 256
AT_ONCE, HANDSHAKES_AT_ONCE = 64, 4
"""Connections accepted, and handshakes begun, before other work gets its turn."""
PAUSE = 1.0
"""Seconds until connections are accepted again after the system had no more descriptors."""

ANYWHERE = "0.0.0.0"
"""Every address of this machine."""

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = logging.getLogger("ghostwire.frontdoor")


class TlsListener:
    """Accepts on a listening socket, from `start` until `close`; ``protocol`` makes the protocol of each connection."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext) -> None:
        self._socket, self._protocol, self._tls = listening, protocol, tls
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._slow: dict[asyncio.Task[None], None] = {}
        self._turnstile = Turnstile(HANDSHAKES_AT_ONCE)
        self._tide = Tide(MAX_HANDSHAKES_PER_ADDRESS)
        self.admission = Admission(MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS)

    def start(self) -> None:
        """Accept from now on."""
        self._pause = None
        self._loop.add_reader(self._socket, self._accept)

    async def close(self) -> None:
        """Accept no more, and give up the handshakes under way; harmless when called twice."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, address = self._socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._exhausted(error)
                return
            self._admit(connection, address[0])

    def _admit(self, connection: socket.socket, client: str) -> None:
        if not self.admission.enter(client, self._make_room):
            connection.close()
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._shake_hands(connection))
        self._handshakes[task], self._slow[task] = client, None
        self._tide.held(len(self._handshakes))
        task.add_done_callback(self._left)

    def _make_room(self) -> None:
        """Give up the handshake of whoever keeps us waiting longest."""
        for task in self._slow:
            self._leave(task)
            task.cancel()
            break

    async def _turn(self) -> None:
        """Whoever waits for us makes no room for others."""
        task = asyncio.current_task()
        assert task is not None
        self._slow.pop(task, None)
        await self._turnstile.turn()
        self._slow[task] = None

    async def _shake_hands(self, connection: socket.socket) -> None:
        with suppress(OSError):  # strangers decide how often: no line in the log
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            TlsTransport(await accept(connection, self._tls, TLS_TIMEOUT, self._turn), self._protocol())

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._slow.pop(task, None)
        client = self._handshakes.pop(task, None)
        if client is not None:
            self.admission.leave(client)
            self._tide.held(len(self._handshakes))

    def _left(self, task: asyncio.Task[None]) -> None:
        self._leave(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a TLS handshake failed: internal error", exc_info=error)

    def _exhausted(self, error: OSError) -> None:
        _log.error("cannot accept connections: %s", error.strerror or error)
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(PAUSE, self.start)


async def listen(host: str, port: int, backlog: int, *, shared: bool = False) -> list[socket.socket]:
    """Listening sockets on every address of ``host``, on one port; OSError where one can't be had. On `ANYWHERE` that
    is IPv6's too, as far as the system has it. ``shared``: by SO_REUSEPORT."""
    found = await asyncio.get_running_loop().getaddrinfo(
        None if host == ANYWHERE else host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[socket.socket] = []
    try:
        for family, _, _, _, address in sorted(set(found)):
            port = made[0].getsockname()[1] if made else port
            try:
                made.append(_bound(family, (address[0], port, *address[2:]), shared))
            except OSError as error:
                if not made or host != ANYWHERE or error.errno not in _NO_IPV6:
                    raise
                continue
            made[-1].listen(backlog)
    except BaseException:
        for each in made:
            each.close()
        raise
    return made


def _bound(family: socket.AddressFamily, address: tuple[object, ...], shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made
