"""Joins one engine with one stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, cast

from ghostwire import Buffer
from ghostwire.driver import Driver
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire_derp.client.counters import Counters
from ghostwire_derp.client.engine import DerpClient
from ghostwire_derp.client.events import Event, Opened
from ghostwire_derp.frames import HEADER_BYTES, KEY_BYTES, MAX_DATA

if TYPE_CHECKING:
    from ghostwire.engine import Clock
    from ghostwire.model import MapRelay

BACKLOG = 256 * 1024
"""Bytes that a stream has not taken yet, from which on datagrams are dropped."""
UNSENT = 128 * 1024
"""Bytes that the kernel holds back before the stream counts as full: what waits there cannot be dropped, only age."""
USER_TIMEOUT = 15_000
"""Milliseconds after which the kernel gives up a connection whose other end acknowledges nothing."""
CLOSE_GRACE = 1.0
"""Seconds that a closing connection has to get rid of what was written."""

_OVERHEAD = HEADER_BYTES + KEY_BYTES


class Owner(Protocol):
    """Whom a connection tells what happens. Called on the loop, must not block."""

    def happened(self, connection: Connection, event: Event) -> None:
        """The relay sent something; what an event holds is only valid during the call."""

    def ended(self, connection: Connection, reason: GhostwireError) -> None:
        """The connection was open and is no more; not after `Connection.close`."""


class Connection(asyncio.BufferedProtocol):
    """One connection to ``relay``: `begin` once the stream is there, `opened` gives the login's end."""

    def __init__(self, relay: MapRelay, engine: DerpClient, owner: Owner, clock: Clock, counters: Counters) -> None:
        self.relay = relay
        self._engine, self._owner, self._clock, self._counters = engine, owner, clock, counters
        self._transport: asyncio.Transport | None = None
        self._driver = Driver(engine, clock, self._drain)
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()
        self._over = self._finishing = False

    @property
    def over(self) -> bool:
        """Whether it was closed or has broken."""
        return self._over

    @property
    def heard(self) -> int:
        """When the relay was last heard, in nanoseconds of the clock."""
        return self._engine.heard

    async def open(self) -> None:
        """Log in; the errors of `DerpClient.receive`, Unavailable where the connection breaks."""
        self._engine.begin(self._clock.now())
        self._driver.settle()
        await self._opened

    def send(self, peer: bytes, datagrams: Sequence[Buffer]) -> bool:
        """Write a burst to a peer with this raw node key; False where any of it was dropped."""
        counters, transport, now = self._counters, self._transport, self._clock.now()
        if transport is None or self._over or self._finishing or transport.get_write_buffer_size() > BACKLOG:
            counters.dropped_backlog += len(datagrams)
            return False
        fitting = self._fitting(datagrams, now)
        if fitting:
            packets = self._engine.packets(peer, fitting, now)
            transport.write(packets)
            counters.sent += len(fitting)
            counters.sent_bytes += len(packets) - _OVERHEAD * len(fitting)
            self._driver.settle()
        return len(fitting) == len(datagrams)

    def prefer(self, preferred: bool) -> None:
        """Tell the relay whether it is at home with the node."""
        self._engine.prefer(preferred)
        self._driver.settle()

    def ask(self, addresses: Collection[str]) -> None:
        """Find out soon whether the relay is still there; it is not for a stream from none of these addresses."""
        lost = self._lost_address(addresses)
        if lost:
            self._fail(Unavailable(f"relay {self.relay.name}: {lost} is this machine's address no longer"))
        else:
            self._engine.ask(self._clock.now())
            self._driver.settle()

    def finish(self) -> None:
        """Write nothing more, but take what is under way to the node where the stream can be half-closed; then end.

        The owner is told.
        """
        if self._over or self._transport is None:
            return
        reason = Unavailable(f"relay {self.relay.name}: another connection took over")
        if self._transport.can_write_eof():
            self._finishing = True
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(CLOSE_GRACE, self._fail, reason)
        else:
            self.close()
            self._owner.ended(self, reason)

    def close(self) -> None:
        """Send what was written, then end; tells nobody. Harmless when called twice."""
        if self._over:
            return
        self._end()
        self._opened.cancel()
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_GRACE, self._transport.abort)

    async def closed(self) -> None:
        """Wait until the stream is gone, after `close`."""
        if self._transport is not None:
            await asyncio.wait([self._lost], timeout=2 * CLOSE_GRACE)

    # What the stream calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is there; nothing is sent before `open`."""
        self._transport = cast("asyncio.Transport", transport)
        _tune(self._transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what arrives."""
        return self._engine.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Something arrived."""
        if self._over:
            return
        try:
            for event in self._engine.receive(nbytes, self._clock.now()):
                self._tell(event)
        except GhostwireError as error:
            self._fail(error)
        else:
            self._driver.settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        if not self._lost.done():
            self._lost.set_result(None)
        cause = f": {exc}" if exc else ""
        self._fail(Unavailable(f"relay {self.relay.name}: closed the connection{cause}"))

    # Inside

    def _lost_address(self, addresses: Collection[str]) -> str:
        """The stream's own address, where it is gone; a machine without any keeps what it has."""
        if self._transport is None or not addresses:
            return ""
        own = str((self._transport.get_extra_info("sockname") or ("",))[0])
        kept = not own or own in addresses or ip_address(own.partition("%")[0]).is_loopback
        return "" if kept else own

    def _fitting(self, datagrams: Sequence[Buffer], now: int) -> Sequence[Buffer]:
        """Those that DERP carries and the relay's rate allows; the others are counted."""
        if max(map(len, datagrams), default=0) > MAX_DATA:
            kept: Sequence[Buffer] = [datagram for datagram in datagrams if len(datagram) <= MAX_DATA]
            self._counters.dropped_size += len(datagrams) - len(kept)
        else:
            kept = datagrams
        affordable = self._engine.affordable(kept, now)
        self._counters.dropped_rate += len(kept) - len(affordable)
        return affordable

    def _tell(self, event: Event) -> None:
        if isinstance(event, Opened) and not self._opened.done():
            self._opened.set_result(None)
        if not self._over:
            self._owner.happened(self, event)

    def _drain(self) -> None:
        out = self._engine.outgoing()
        if out and self._transport is not None and not self._finishing:
            self._transport.write(out)
        if self._engine.failure is not None:
            self._fail(self._engine.failure)

    def _fail(self, reason: GhostwireError) -> None:
        """Give the connection up, and say why."""
        if self._over:
            return
        self._end()
        if self._transport is not None:
            self._transport.abort()
        if self._engine.opened:
            self._owner.ended(self, reason)
        elif not self._opened.done():
            self._opened.set_exception(reason)

    def _end(self) -> None:
        self._over = True
        self._driver.close()


def _tune(transport: asyncio.Transport) -> None:
    """Small packets at once; give up soon where nothing is acknowledged. A simulated stream has no socket."""
    made = transport.get_extra_info("socket")
    if made is None:
        return
    with contextlib.suppress(OSError):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
