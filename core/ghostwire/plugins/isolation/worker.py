"""Runs one transport in the child, from its creation to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path as FilePath
from typing import Any, Final

from ghostwire import Metrics, RelayTransport, Transport, TransportContext
from ghostwire.errors import GhostwireError, PluginError
from ghostwire.hints import one_line, raised
from ghostwire.keys import NodeKey
from ghostwire.model import NetworkMap
from ghostwire.plugins.host import Host
from ghostwire.plugins.isolation.bounds import Bucket
from ghostwire.plugins.isolation.carrier import Carrier
from ghostwire.plugins.isolation.channel import Channel
from ghostwire.plugins.isolation.child import trouble
from ghostwire.plugins.isolation.line import Line
from ghostwire.plugins.isolation.protocol import (
    MAX_ENDPOINTS,
    MAX_METRICS,
    MAX_TEXT,
    Accepted,
    Addresses,
    Advertised,
    Close,
    Failed,
    Measured,
    Ping,
    Pong,
    Said,
    Sample,
    Setup,
    Started,
)
from ghostwire.plugins.isolation.pump import Pump
from ghostwire.plugins.isolation.sockets import PassedSockets
from ghostwire.system.clock import SystemClock

LOOK: Final = 1.0
"""Seconds between two looks at endpoints and metrics."""
CLOSE_TIMEOUT: Final = 1.5
MOST_RAISED: Final = 16
"""Times that a plugin's code may raise before its transport counts as failed."""
DROPPED: Final = "dropped_by_process_total"
DROPPED_HELP: Final = "Bursts that the plugin received and the daemon did not: it takes them more slowly."
ENDPOINTS_LOOK: Final = 0.1


class Worker:
    """Of one transport."""

    def __init__(self, setup: Setup, channel: Channel, host: Host) -> None:
        self._setup, self._channel, self._host = setup, channel, host
        self._line = Line(channel, self._told)
        self._sockets = PassedSockets(self._line)
        self._metrics, self._addresses = Metrics(), setup.addresses
        self._log = _forwarding(self._line, setup)
        self._raised = 0
        self._end = asyncio.Event()
        self._said: tuple[str, ...] = ()
        self._samples: tuple[Sample, ...] = ()

    async def run(self) -> None:
        """Until the daemon says that it is over, or is gone."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._uncaught)
        self._line.open()
        try:
            transport = self._create()
            carrier = Carrier(self._channel, self._line, transport, self.raised)
            pump = Pump(self._channel, carrier.take, gone=_die, lied=_die)
            loop.add_reader(self._channel.data, pump.drain)
            await self._start(transport, carrier)
        except GhostwireError as error:
            self._line.tell(trouble(error))
            return
        looking = loop.create_task(self._look(transport, carrier))
        await self._end.wait()
        looking.cancel()
        try:
            await asyncio.wait_for(transport.close(), CLOSE_TIMEOUT)
        except (Exception, SystemExit) as error:
            self._line.tell(Said(level=logging.WARNING, text=f"close raised {raised(error)}"), urgent=False)

    def raised(self, where: str, error: BaseException) -> None:
        """Plugin's code raised; the first time and every power of two it is said, after too often it is the end."""
        self._raised += 1
        text = f"{where} raised {raised(error)}"
        if self._raised & (self._raised - 1) == 0:
            self._line.tell(Said(level=logging.WARNING, text=text), urgent=False)
        if self._raised == MOST_RAISED:
            self._failed(f"{text} (the last of {MOST_RAISED} errors)")

    def _create(self) -> Transport:
        offer = self._host.one("ghostwire_transports", self._setup.provider)
        made: Transport = self._host.create(offer, self._context)
        if isinstance(made, RelayTransport):
            raise PluginError(offer.plugin, f"{offer.name} is a relay transport, which needs trusted = true")
        if made.name != offer.name:
            raise PluginError(offer.plugin, f"{offer.name} made a transport that is named {one_line(made.name)!r}")
        return made

    async def _start(self, transport: Transport, carrier: Carrier) -> None:
        try:
            await transport.start(carrier.receive)
        except GhostwireError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(self._setup.plugin, f"start raised {raised(error)}") from None
        self._said = self._endpoints(transport)
        self._line.tell(Started(name=transport.name, endpoints=self._said))

    def _context(self, plugin: str, settings: Any) -> TransportContext:
        return TransportContext(
            settings=settings,
            clock=SystemClock(),
            entropy=os.urandom,
            metrics=self._metrics,
            log=self._log,
            sockets=self._sockets,
            state=FilePath(),
            node_key=NodeKey.parse(self._setup.node_key),
            map=NetworkMap(),
            local_addresses=lambda: self._addresses,
            failed=self._failed,
        )

    def _told(self, message: Any, came: socket.socket | None) -> None:
        if isinstance(message, Ping):
            self._line.tell(Pong(number=message.number))
        elif isinstance(message, Accepted) and came is not None:
            self._sockets.accepted(message.number, came, message.rest)
        elif isinstance(message, Addresses):
            self._addresses = message.addresses
        elif isinstance(message, Close):
            self._end.set()

    def _failed(self, reason: str) -> None:
        self._line.tell(Failed(reason=one_line(reason)))

    async def _look(self, transport: Transport, carrier: Carrier) -> None:
        """Push what is new, soon after it is."""
        looks = 0
        while True:
            await asyncio.sleep(ENDPOINTS_LOOK)
            if (said := self._endpoints(transport)) != self._said:
                self._said = said
                self._line.tell(Advertised(endpoints=said))
            looks += 1
            if looks % round(LOOK / ENDPOINTS_LOOK) == 0 and (samples := self._measure(carrier)) != self._samples:
                self._samples = samples
                self._line.tell(Measured(samples=samples), urgent=False)

    def _endpoints(self, transport: Transport) -> tuple[str, ...]:
        try:
            return tuple(str(text)[: MAX_TEXT + 1] for text in transport.endpoints()[:MAX_ENDPOINTS])
        except (Exception, SystemExit) as error:
            self.raised("endpoints", error)
            return ()

    def _measure(self, carrier: Carrier) -> tuple[Sample, ...]:
        dropped = Sample(DROPPED, DROPPED_HELP, True, carrier.dropped)
        try:
            return dropped, *(
                Sample(metric.name[:100], metric.help[:200], metric.kind == "counter", float(metric.read()))
                for metric, _ in zip(self._metrics, range(MAX_METRICS - 1), strict=False)
            )
        except (Exception, SystemExit) as error:
            self.raised("a metric", error)
            return (dropped,)

    def _uncaught(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.raised("its own code", error)
        else:
            self._line.tell(Said(level=logging.WARNING, text=one_line(context.get("message"))), urgent=False)


def _die(why: str = "") -> None:
    """The daemon is gone."""
    os._exit(0)


class _Forward(logging.Handler):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line, self._bucket = line, Bucket(SystemClock(), 20, 200)

    def emit(self, record: logging.LogRecord) -> None:
        """Say it in the daemon's log."""
        if self._bucket.take():  # the daemon would take a flood for hostile
            self._line.tell(Said(level=record.levelno, text=one_line(self.format(record))), urgent=False)


def _forwarding(line: Line, setup: Setup) -> logging.Logger:
    """What plugins log, by ``context.log`` or by loggers of their own, at the daemon's level."""
    root = logging.getLogger()
    root.addHandler(_Forward(line))
    root.setLevel(setup.level)
    return logging.getLogger(f"ghostwire.node.{setup.plugin}")
