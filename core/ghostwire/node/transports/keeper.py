"""Keeps one transport running, made by a provider that core need not rely on.

    make -> start -> runs -> it fails, or raises too often -> close -> a pause -> make ...

When to start again is `health`'s to say. What nobody can bound in one process (a call that never returns, memory that
is never given back) is told by `ghostwire.node.transports.watchdog`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ghostwire import Metrics, Receive, RelayTransport, Transport
from ghostwire.engine import SECOND, Clock
from ghostwire.errors import GhostwireError, PlatformError, PluginError, Unavailable
from ghostwire.hints import one_line
from ghostwire.node.transports.faults import FAULTS, Faults, told
from ghostwire.node.transports.health import Health
from ghostwire.node.transports.inflow import Inflow
from ghostwire.node.transports.life import Life, LifeMetrics
from ghostwire.node.transports.paths import PathTable
from ghostwire.node.transports.patience import Patience
from ghostwire.node.transports.report import TransportState, TransportStatus

START: Final = 10.0
CLOSE: Final = 3.0
"""Seconds that a start and a close may take."""

Make = Callable[[Metrics, Callable[[str], object]], Transport]
"""Makes a transport that registers its metrics here, and calls this when it has failed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a transport is called, which plugin offers it, and whether it lives in a process of its own.

    ``sound``: what it delivers is formed by code that is trusted like core, and needs no closer look.
    """

    name: str
    plugin: str = ""
    isolated: bool = False
    sound: bool = False


class Keeper:
    """Of one transport, whose paths are in ``table``. ``began`` is called when one runs, and ``changed`` when one began
    or ceased to run, once what goes on here is done."""

    def __init__(self, origin: Origin, make: Make, metrics: Metrics, clock: Clock, log: logging.Logger) -> None:
        self.origin = origin
        self._make, self._metrics, self._clock = make, metrics, clock
        self.faults = Faults(origin.name, origin.plugin, clock, log)
        self.table = PathTable(origin.name, self.raised)
        self.began: Callable[[], object] = lambda: None
        self.changed: Callable[[], object] = lambda: None
        self._health = Health(clock.now())
        self._patience = Patience()
        self._life: Life | None = None
        self._receive: Receive | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: GhostwireError | None = None

    def create(self) -> bool:
        """Make the first one now, without starting it. Whether it is a relay transport, as all are from then on; one
        that cannot be made is taken for none."""
        self._life = self._made()
        if self._life is not None:
            self.table.relayed = isinstance(self._life.transport, RelayTransport)
        return self.table.relayed

    async def start(self, receive: Receive) -> None:
        """Keep one running until `close`. Returns when the first one runs; raises why it does not, which does not
        keep others from being started later."""
        self._receive = receive
        if self._task is None:
            if self._health.attempts:
                self._health = Health(self._clock.now())
            first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._task = asyncio.get_running_loop().create_task(self._keep(first))
            await first
        if not self.running:
            raise self._failure or PlatformError(self._trouble())

    async def close(self) -> None:
        """End it, and start no other; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._end()

    @property
    def running(self) -> bool:
        """Whether one runs."""
        return self._health.state is TransportState.RUNNING

    @property
    def transport(self) -> Transport | None:
        """The one that runs."""
        return self._life.transport if self._life is not None and self.running else None

    @property
    def package(self) -> str:
        """The package of the running one's code, where it runs in this process."""
        return self._life.package if self._life is not None else ""

    def status(self) -> TransportStatus:
        """What there is to say of it."""
        health, origin = self._health, self.origin
        confined = self.transport if origin.isolated else None
        return TransportStatus(
            name=origin.name,
            plugin=origin.plugin,
            isolated=origin.isolated,
            state=health.state,
            restarts=health.restarts,
            trouble=self._trouble(),
            measures=getattr(confined, "measures", ()),
            lacking=getattr(confined, "lacking", ()),
        )

    def register(self) -> None:
        """List what it did wrong among the metrics."""
        self.faults.register(self._metrics)
        self._metrics.counter(
            f"ghostwire_node_transport_{self.origin.name.replace('-', '_')}_restarts_total",
            "Attempts to start the transport again.",
            lambda: self._health.restarts,
        )

    def raised(self, where: str, error: BaseException) -> None:
        """A call of it raised this: counted, told, and too often it counts as failed. That it cannot read what some
        peer advertises is no reason to end it, nor is a metric."""
        self.faults.raised += 1
        what, now = f"raised in {where}: {told(error)}", self._clock.now()
        self.faults.say_again(where, what)
        if where in ("path", "a metric"):
            self._health.note(what, now)
        elif self._health.raised(what, now) and self.running and self._life is not None:
            self._life.end(f"raised too often, last in {where}: {told(error)}")

    def did(self, what: str) -> None:
        """Its plugin did this; it is told elsewhere already."""
        self._health.note(what, self._clock.now())

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Have this called in the event loop, from whichever thread, while there is one to keep."""
        if self._life is not None:
            self._life.post(call, *args)

    # Keeping one running

    async def _keep(self, first: asyncio.Future[None]) -> None:
        if self._health.state is TransportState.FAILED:
            _tell(first)
        try:
            while await self._due():
                if await self._begin():
                    _tell(first)
                    await self._runs()
                await self._end()
                _tell(first)
        finally:
            _tell(first)

    async def _due(self) -> bool:
        """Wait until another is to be started; False where none is ever."""
        if self._patience.exhausted:
            self._health.give_up(f"{self._trouble()}; too much of it never ended: restart ghostwire", self._clock.now())
            self.faults.say(logging.ERROR, self._trouble())
        deadline = self._health.deadline()
        if deadline is None:
            return False
        await asyncio.sleep(max(0, deadline - self._clock.now()) / SECOND)
        return True

    async def _begin(self) -> bool:
        """Make one and start it; whether it runs."""
        self._health.starting(self._clock.now())
        life = self._life = self._life or self._made()
        if life is None or life.transport is None:
            return False
        assert self._receive is not None
        inflow = life.inflow = Inflow(self.table, self._receive, self.faults, self.raised)
        deliver = inflow.take if self.origin.sound else inflow.examine
        transport = life.transport
        try:
            await self._patience.within(START, lambda: transport.start(deliver), "start")
        except FAULTS as error:
            if _cancels(error):
                raise
            self._failed(self._counted("start", error))
            return False
        self.table.begin(lambda endpoint: transport.path(endpoint))
        self._health.started(self._clock.now())
        self.began()
        if self._health.restarts:
            self.faults.say(logging.INFO, f"runs again (restart {self._health.restarts})")
        self._changed()
        return True

    async def _runs(self) -> None:
        """Until the one that runs is at its end."""
        assert self._life is not None
        await self._life.over.wait()
        self._failed(Unavailable(self._life.reason))
        self._changed()

    def _changed(self) -> None:
        """What follows is not to be a part of what goes on here."""
        asyncio.get_running_loop().call_soon(self.changed)

    async def _end(self) -> None:
        """Close what there is, and forget it; where that is interrupted, `close` does it again."""
        life = self._life
        self.table.end()
        if life is None:
            return
        if life.inflow is not None:
            life.inflow.close()
        try:
            if life.transport is not None:
                await self._patience.within(CLOSE, life.transport.close, "close")
        except FAULTS as error:
            if _cancels(error):
                raise
            self.faults.say_again("close", self._reason(self._counted("close", error)))
        life.metrics.end()
        self._life = None

    def _made(self) -> Life | None:
        """A new one; None where it could not be made."""
        life = Life(LifeMetrics(self._metrics, self.raised))
        try:
            made = self._make(life.metrics, life.failed)
            if not isinstance(made, Transport):
                raise TypeError(f"a {type(made).__name__} is no transport")
            if self._health.attempts and isinstance(made, RelayTransport) is not self.table.relayed:
                raise PlatformError("is of another kind than it was at the start: run gwctl down, gwctl up")
        except FAULTS as error:
            life.metrics.end()
            self._failed(self._counted("create", error))
            return None
        life.transport = made
        return life

    def _failed(self, failure: GhostwireError) -> None:
        self._failure, reason, now = failure, self._reason(failure), self._clock.now()
        self._health.failed(reason, now)
        pause = ((self._health.deadline() or now) - now) / SECOND
        self.faults.say(logging.WARNING, f"{reason}; trying again in {pause:.0f} s")

    def _counted(self, where: str, error: BaseException) -> GhostwireError:
        """What is wrong in one line; anything but our own errors is the plugin's fault."""
        if isinstance(error, GhostwireError):
            return error
        self.faults.raised += 1
        return PluginError(self.origin.plugin, f"{where} raised {told(error)}")

    def _reason(self, failure: GhostwireError) -> str:
        """Why it failed in one line, which is told where the names of plugin and transport stand already."""
        reason, (name, plugin) = one_line(failure), (self.origin.name, self.origin.plugin)
        if isinstance(failure, PluginError) and failure.plugin == plugin:
            reason = reason.removeprefix(f"plugin {plugin}: ")
        return reason.removeprefix(f"{name}: ")

    def _trouble(self) -> str:
        return self._health.trouble(self._clock.now())


def _tell(first: asyncio.Future[None]) -> None:
    if not first.done():
        first.set_result(None)


def _cancels(error: BaseException) -> bool:
    """Whether this is the node's own wish to end, which `Patience` passes on as it is."""
    return isinstance(error, asyncio.CancelledError)
