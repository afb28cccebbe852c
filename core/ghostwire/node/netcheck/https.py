"""Requests to a relay's front door: its round trip where STUN does not get through."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import h11

from ghostwire import Sockets
from ghostwire.engine import Clock
from ghostwire.errors import RemoteProtocolError, Unavailable
from ghostwire.model import MapRelay
from ghostwire.node.netcheck.names import NONE

PATH = "/derp/latency-check"
MAX_HEAD = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's head, and how long it took: nanoseconds from the request, on a connection that stands. Names of
    headers are in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    took: int


async def round_trip(relay: MapRelay, sockets: Sockets, clock: Clock) -> int:
    """Nanoseconds that a relay takes to answer; raises as `ask`, also where it is no relay that answers."""
    answer = await ask(relay, PATH, sockets, clock)
    if answer.status > 299:
        raise RemoteProtocolError(f"no relay: it answers {answer.status}")
    return answer.took


async def ask(
    relay: MapRelay, path: str, sockets: Sockets, clock: Clock, headers: Sequence[tuple[str, str]] = ()
) -> Answer:
    """One GET request. Unavailable, RemoteProtocolError or AuthenticationFailed where no relay answers."""
    from ghostwire.system.tls import check_relay, relay_tls, untrusted  # needed where UDP is blocked alone

    try:
        transport, asking = await sockets.connect(
            lambda: _Asking(clock), _address(relay), relay.port, tls=relay_tls(relay), server_name=relay.host
        )
    except ssl.SSLError as error:
        raise untrusted(relay, error) from None
    try:
        check_relay(transport, relay)
        return await asking.ask(path, [("Host", f"{relay.host}:{relay.port}"), ("Connection", "close"), *headers])
    finally:
        transport.abort()


def _address(relay: MapRelay) -> str:
    """One will do: IPv4's where the map gives it, the name where a family is left to DNS, else IPv6's."""
    if relay.ipv4 not in ("", NONE):
        return relay.ipv4
    return relay.host if "" in (relay.ipv4, relay.ipv6) or relay.ipv6 == NONE else relay.ipv6


class _Asking(asyncio.Protocol):
    """One GET request."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._began = clock, 0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def ask(self, path: str, headers: Sequence[tuple[str, str]]) -> Answer:
        """Ask, and wait for the answer's head."""
        request = h11.Request(method="GET", target=path, headers=list(headers))
        self._began = self._clock.now()
        self._transport.write((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The answer's head ends it."""
        if self._answer.done():
            return
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._answer.set_exception(RemoteProtocolError(f"no HTTP: {error}"))
            return
        if isinstance(event, h11.Response):
            took = self._clock.now() - self._began
            self._answer.set_result(Answer(event.status_code, dict(event.headers), took))
        elif event is not h11.NEED_DATA:
            self._answer.set_exception(RemoteProtocolError(f"no relay: {type(event).__name__}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """No answer."""
        if not self._answer.done():
            self._answer.set_exception(Unavailable("closed the connection"))
            self._answer.exception()
