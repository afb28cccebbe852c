"""The daemon's side of a child's sockets: makes them as core's are made, and passes the descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any, Final, cast

from ghostwire import TransportContext
from ghostwire.capabilities.contexts import Listening
from ghostwire.capabilities.platform import PLUGIN_MARK
from ghostwire.errors import GhostwireError, PlatformError
from ghostwire.hints import one_line
from ghostwire.model import NetworkMap
from ghostwire.plugins.isolation.bounds import Bucket
from ghostwire.plugins.isolation.protocol import Accepted, Answer, Ask, Control
from ghostwire.plugins.isolation.reach import Reach
from ghostwire.system.sockets import set_mark

AT_ONCE: Final = 16
"""Questions that are being answered at a time; a quarter of the names that are looked up at a time."""
DOORS: Final = 8
"""Ports that a child may listen on."""
MAX_REST: Final = 16 * 1024

Tell = Callable[[Control, int | None], object]


class Broker:
    """Of one child; ``tell`` sends a message with a descriptor."""

    def __init__(self, context: TransportContext, tell: Tell) -> None:
        self._sockets, self._tell, clock = context.sockets, tell, context.clock
        self._reach = Reach(context.settings, context.local_addresses, lambda: _addresses(context.map), self._ports)
        self._asks, self._arrivals = Bucket(clock, 20, 100), Bucket(clock, 100, 200)
        self._tasks: set[asyncio.Task[None]] = set()
        self._doors: dict[int, Listening] = {}

    def asked(self, ask: Ask) -> None:
        """Answer a question, now or soon."""
        if ask.what == "stop":
            door = self._doors.pop(ask.number, None)
            if door is not None:
                door.close()
        elif not self._asks.take() or len(self._tasks) >= AT_ONCE or ask.number in self._doors:
            self._refuse(ask, PlatformError("this plugin asks for too many sockets; try again later"))
        elif ask.what == "udp":
            self._udp(ask)
        elif ask.what == "connect":
            self._begin(ask, self._connect(ask))
        elif ask.what == "listen":
            self._begin(ask, self._listen(ask))
        else:
            self._refuse(ask, PlatformError("no such socket"))

    def close(self) -> None:
        """Answer nothing more, and listen no more; harmless when called twice."""
        for task in self._tasks:
            task.cancel()
        for door in self._doors.values():
            door.close()
        self._doors = {}

    def _ports(self) -> Collection[int]:
        return [door.port for door in self._doors.values()]

    def _refuse(self, ask: Ask, error: Exception) -> None:
        kind = type(error).__name__ if isinstance(error, GhostwireError) else "PlatformError"
        self._tell(Answer(number=ask.number, kind=kind, error=one_line(error)), None)

    def _udp(self, ask: Ask) -> None:
        try:
            self._reach.check_opening(ask.host, ask.port)
            made = self._sockets.udp(ask.host, ask.port)
        except (GhostwireError, OSError, ValueError, OverflowError) as error:
            self._refuse(ask, error)
            return
        with made:
            set_mark(made, PLUGIN_MARK)
            self._tell(Answer(number=ask.number), made.fileno())

    def _begin(self, ask: Ask, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._answered(ask, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answered(self, ask: Ask, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (GhostwireError, OSError, ValueError, OverflowError) as error:
            self._refuse(ask, error)

    async def _connect(self, ask: Ask) -> None:
        transport, arrival = await self._sockets.bare(
            lambda: _Arrival(None),
            ask.host,
            ask.port,
            secure=ask.secure,
            server_name=ask.name,
            refusal=lambda address: self._reach.refusal(address, ask.port),
        )
        descriptor = _taken(transport)
        if descriptor is None:
            transport.abort()
            raise PlatformError("a stream through a proxy that is spoken to by TLS cannot be passed; use http://")
        with socket.socket(fileno=descriptor):
            self._tell(Answer(number=ask.number, rest=arrival.rest), descriptor)

    async def _listen(self, ask: Ask) -> None:
        if len(self._doors) >= DOORS:
            raise PlatformError(f"listens on {DOORS} ports already")
        self._reach.check_opening(ask.host, ask.port)
        opened = await self._sockets.listen(lambda: _Arrival(lambda came: self._came(ask, came)), ask.host, ask.port)
        self._doors[ask.number] = opened
        self._tell(Answer(number=ask.number, port=opened.port), None)

    def _came(self, ask: Ask, arrival: _Arrival) -> None:
        """Pass an accepted stream, unless they are too many."""
        assert arrival.transport is not None
        welcome = self._arrivals.take() and ask.number in self._doors and not self._from_mesh(arrival.transport)
        descriptor = _taken(arrival.transport) if welcome else None
        if descriptor is None:
            arrival.transport.abort()
            return
        with socket.socket(fileno=descriptor):
            self._tell(Accepted(number=ask.number, rest=arrival.rest), descriptor)

    def _from_mesh(self, transport: asyncio.Transport) -> bool:
        """Whether somebody in the mesh took this for a service of the node's."""
        return self._reach.meshed(transport.get_extra_info("sockname"))


def _addresses(network: NetworkMap) -> Collection[str]:
    """Everybody's in the mesh."""
    return {address for node in network.nodes.values() for address in node.addresses}


class _Arrival(asyncio.Protocol):
    """Holds a stream still until it is passed on."""

    def __init__(self, came: Callable[[_Arrival], object] | None) -> None:
        self._came = came
        self.transport: asyncio.Transport | None = None
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read nothing from it."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        if self._came is not None:
            asyncio.get_running_loop().call_soon(self._came, self)

    def data_received(self, data: bytes) -> None:
        """What a loop read all the same."""
        self.rest += data
        if len(self.rest) > MAX_REST and self.transport is not None:
            self.transport.abort()


def _taken(transport: asyncio.Transport) -> int | None:
    """A duplicate of the stream's descriptor; the transport is done with, and the far side notices nothing."""
    bare = transport.get_extra_info("socket")
    if bare is None or transport.get_extra_info("ssl_object") is not None or transport.is_closing():
        return None
    with suppress(OSError):
        descriptor = os.dup(bare.fileno())
        transport.abort()
        return descriptor
    return None
