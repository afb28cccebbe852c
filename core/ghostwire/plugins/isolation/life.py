"""One child's life in the daemon: started, watched, heard, and ended however it goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ghostwire import TransportContext
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, PluginError, RemoteProtocolError
from ghostwire.hints import one_line
from ghostwire.plugins.isolation.bounds import Bucket, Gauges, Lines, endpoints_of
from ghostwire.plugins.isolation.broker import Broker
from ghostwire.plugins.isolation.describe import revived
from ghostwire.plugins.isolation.frames import Frame
from ghostwire.plugins.isolation.protocol import (
    Addresses,
    Advertised,
    Ask,
    Close,
    Confined,
    Control,
    Failed,
    Judged,
    Measured,
    Ping,
    Pong,
    Said,
    Setup,
    Started,
    Trouble,
    encode,
    from_child,
)
from ghostwire.plugins.isolation.pump import Pump
from ghostwire.plugins.isolation.spawn import Process, spawn
from ghostwire.plugins.isolation.watch import INTERVAL, Limits, Watch

START: Final = 9.0
CLOSE: Final = 2.0
"""Seconds that a child has to start and to end."""
GRACE: Final = 1.0
"""Seconds in which a child that hung up must be gone."""
ONE_PASS: Final = 32
RATE, AT_ONCE = 200, 2000
"""Control messages a second, and at once."""
OUTPUT: Final = 4096


class Life:
    """``failed`` hears once why it ended, unless `close` ended it; ``judged`` what the child thinks of a path."""

    def __init__(
        self,
        plugin: str,
        context: TransportContext,
        limits: Limits,
        failed: Callable[[str], object],
        judged: Callable[[Judged], object],
    ) -> None:
        self._plugin, self._context, self._limits = plugin, context, limits
        self._failed, self._judged = failed, judged
        self._started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()
        self._process: Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._pidfd = -1
        clock = context.clock
        self._lines, self._flood = Lines(context.log, clock), Bucket(clock, RATE, AT_ONCE)
        self._gauges = Gauges(plugin, context.metrics)
        self._broker = Broker(context, self.tell)
        self._addresses = tuple(context.local_addresses())
        self._printed = b""
        self.endpoints: tuple[str, ...] = ()
        self.measures: tuple[str, ...] = ()
        self.lacking: tuple[str, ...] = ()
        self.moved = 0
        """Frames that went either way."""

    @property
    def process(self) -> Process:
        """The child."""
        assert self._process is not None
        return self._process

    async def start(self, setup: Setup, folder: int, take: Callable[[Frame], object]) -> Started:
        """Have it run its transport; ``take`` is called with its frames. Raises its error, and nothing is left."""
        loop = asyncio.get_running_loop()
        self._process = spawn(folder)
        self._watch = Watch(self._context.clock.now(), self._limits)
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
            loop.add_reader(self._pidfd, self._over)
            loop.add_reader(self._process.channel.control, self._hear)
            pump = Pump(self._process.channel, take, self.silent, self.fail)
            loop.add_reader(self._process.channel.data, pump.drain)
            loop.add_reader(self._process.output, self._print)
            self.tell(setup)
            async with asyncio.timeout(START):
                return await self._started
        except TimeoutError:
            raise PluginError(self._plugin, f"did not start within {START:g} s; it was stopped") from None
        finally:
            if not self._started.done() or self._started.cancelled() or self._started.exception() is not None:
                self._end("")
            else:
                self._look()

    def tell(self, message: Control, descriptor: int | None = None) -> None:
        """Tell the child; one that does not read is ended."""
        if self._process is not None and not self._process.channel.tell(encode(message), descriptor):
            self.fail("does not read what it is told")

    def fail(self, reason: str) -> None:
        """End it for this reason."""
        if self._gone.is_set() or self._closing:
            return
        reason = one_line(reason)
        if not self._started.done():
            self._started.set_exception(PluginError(self._plugin, f"its process {reason}"))
            return
        self._end(reason)

    async def close(self) -> None:
        """Let it end in good order, or at once after `CLOSE` seconds; harmless when called twice."""
        if self._process is None or self._gone.is_set():
            return
        self._closing = True
        self._process.channel.tell(encode(Close()))
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), CLOSE)
        finally:
            self._end("")

    def _over(self) -> None:
        """The process has ended."""
        if self._process is None or not self._process.gone:
            return
        if self._closing:
            self._end("")
        else:
            how = self._process.how()
            self._hear()
            self.fail(how)

    def _end(self, reason: str) -> None:
        """Release all; once."""
        process, self._process = self._process, None
        self._gone.set()
        if process is None:
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        for descriptor in (process.channel.control, process.channel.data, process.output, self._pidfd):
            if descriptor >= 0:
                loop.remove_reader(descriptor)
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._broker.close()
        process.end()
        self._gauges.drop()
        if reason:
            self._failed(reason)

    def _hear(self) -> None:
        for _ in range(ONE_PASS):
            data = self._process.channel.hear() if self._process is not None else None
            if data is None:
                return
            if not data:
                self.silent()
                return
            if not self._flood.take():
                self.fail("floods the daemon with messages")
                return
            try:
                self._heard(from_child(data))
            except (RemoteProtocolError, ValueError) as error:
                self.fail(one_line(error))
                return

    def silent(self) -> None:
        """It closed its channel. As a rule it has ended, of which `_over` tells; one that lives on is ended soon."""
        if self._process is None:
            return
        loop, channel = asyncio.get_running_loop(), self._process.channel
        loop.remove_reader(channel.control)
        loop.remove_reader(channel.data)
        loop.call_later(GRACE, self.fail, "closed its channel")

    def _heard(self, message: Any) -> None:
        if isinstance(message, Pong):
            self._watch.ponged(message.number)
        elif isinstance(message, Ask):
            self._broker.asked(message)
        elif isinstance(message, Said):
            self._lines.say(message.level, message.text)
        elif isinstance(message, Advertised):
            self.endpoints = endpoints_of(message.endpoints)
        elif isinstance(message, Judged):
            self._judged(message)
        elif isinstance(message, Measured):
            self._gauges.measured(message.samples)
        elif isinstance(message, Failed):
            self.fail(message.reason)
        else:
            self._begun(message)

    def _begun(self, message: Any) -> None:
        """What belongs to the start."""
        if isinstance(message, Confined):
            if self.measures:
                raise RemoteProtocolError("speaks of its confinement again")
            self.measures, self.lacking = _short(message.measures), _short(message.lacking)
        elif self._started.done():
            raise RemoteProtocolError("speaks out of turn")
        elif isinstance(message, Started):
            self.endpoints = endpoints_of(message.endpoints)
            self._started.set_result(message)
        elif isinstance(message, Trouble):
            self._started.set_exception(_error(message, self._plugin))

    def _print(self) -> None:
        """What it prints, by lines; a flood has to wait."""
        process = self._process
        if process is None or process.output < 0:
            return
        try:
            data = os.read(process.output, OUTPUT)
        except BlockingIOError:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(process.output)
        if not data:
            return
        *lines, rest = (self._printed + data).split(b"\n")
        self._printed = rest[:OUTPUT]
        for line in lines:
            if line.strip():
                self._lines.say(30, line.decode("utf-8", "replace"))
        loop.call_later(0.01, self._listen_to, process)

    def _listen_to(self, process: Process) -> None:
        if process is self._process and process.output >= 0:
            asyncio.get_running_loop().add_reader(process.output, self._print)

    def _look(self) -> None:
        """Judge it, ping it, and tell it of new addresses; again in a second."""
        if self._process is None:
            return
        self._timer = asyncio.get_running_loop().call_later(INTERVAL / SECOND, self._look)
        cpu, memory = self._process.cost()
        verdict = self._watch.look(self._context.clock.now(), cpu=cpu, memory=memory, moved=self.moved)
        if verdict:
            self.fail(verdict)
            return
        self.tell(Ping(number=self._watch.number))
        addresses = tuple(self._context.local_addresses())
        if addresses != self._addresses:
            self._addresses = addresses
            self.tell(Addresses(addresses=addresses))


def _short(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one_line(text[:400]) for text in texts[:64])


def _error(trouble: Trouble, plugin: str) -> GhostwireError:
    return revived(trouble, plugin)
