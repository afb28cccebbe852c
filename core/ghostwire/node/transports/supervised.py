"""A transport that core can rely on, made of one that it need not: what that raises, hangs in, floods or says costs
only itself, and after it failed another is started.

    make -> start -> runs -> it fails, or raises too often -> close -> a pause -> make ...

Paths outlive what made them (`paths`); when to start again is `health`'s to say. What nobody can bound in one process
(a call that never returns, memory that is never given back) is told by `ghostwire.node.transports.watchdog`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ghostwire import Metrics, Path, Receive, RelayTransport, Transport
from ghostwire.engine import SECOND, Clock
from ghostwire.errors import GhostwireError, PlatformError, PluginError, Unavailable
from ghostwire.node.transports.faults import FAULTS, Faults, line, told
from ghostwire.node.transports.health import Health
from ghostwire.node.transports.inflow import Inflow
from ghostwire.node.transports.life import Life, LifeMetrics
from ghostwire.node.transports.paths import PathTable, SupervisedPath, sensible
from ghostwire.node.transports.patience import Patience
from ghostwire.node.transports.report import TransportState, TransportStatus
from ghostwire.wire.messages import MAX_ENDPOINTS

START: Final = 10.0
CLOSE: Final = 3.0
"""Seconds that a start and a close may take."""

Make = Callable[[Metrics, Callable[[str], object]], Transport]
"""Makes a transport that registers its metrics here, and calls this when it has failed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a transport is called, which plugin offers it, and whether it lives in a process of its own."""

    name: str
    plugin: str = ""
    isolated: bool = False


class Supervised(Transport):
    """``changed`` is called when one began or ceased to run, with what that means for the endpoints."""

    def __init__(self, origin: Origin, make: Make, metrics: Metrics, clock: Clock, log: logging.Logger) -> None:
        self.origin, self.name = origin, origin.name
        self._make, self._metrics, self._clock = make, metrics, clock
        self._faults = Faults(origin.name, clock, log)
        self._health = Health(clock.now())
        self._patience = Patience()
        self._table = PathTable(origin.name, self.raised)
        self._life: Life | None = None
        self._receive: Receive | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: GhostwireError | None = None
        self.changed: Callable[[], object] = lambda: None

    # What core asks of a transport

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

    def endpoints(self) -> Sequence[str]:
        """What the running one advertises, as far as it can be advertised."""
        if not self.running or self._life is None or self._life.transport is None:
            return ()
        try:
            said = self._life.transport.endpoints()
            if not isinstance(said, list | tuple):
                raise TypeError(f"endpoints() gave a {type(said).__name__} instead of a list")
            fit = [text for text in said[:MAX_ENDPOINTS] if sensible(text)]
        except FAULTS as error:
            self.raised("endpoints", error)
            return ()
        if len(fit) < len(said):
            self._faults.refused += len(said) - len(fit)
            self._faults.say_again("endpoints", "advertises endpoints that are too many, too long or no text")
        return fit

    def path(self, endpoint: str) -> SupervisedPath:
        """The path to a peer's endpoint, which outlives restarts; ValueError where the text makes no sense."""
        return self._table.path(endpoint)

    async def close(self) -> None:
        """End it, and start no other; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._end()

    # What the node asks of it

    @property
    def running(self) -> bool:
        """Whether one runs."""
        return self._health.state is TransportState.RUNNING

    @property
    def package(self) -> str:
        """The package of the running one's code, where it runs in this process."""
        return self._life.package if self._life is not None else ""

    def status(self) -> TransportStatus:
        """What there is to say of it."""
        health, origin = self._health, self.origin
        return TransportStatus(
            name=origin.name,
            plugin=origin.plugin,
            isolated=origin.isolated,
            state=health.state,
            restarts=health.restarts,
            trouble=self._trouble(),
        )

    def create(self) -> Transport | None:
        """Make the first one now, without starting it: whatever its kind, what it is shows. None where that fails."""
        self._life = self._made()
        return self._life.transport if self._life is not None else None

    def register(self) -> None:
        """List what it did wrong among the metrics."""
        self._faults.register(self._metrics)
        self._metrics.counter(
            f"ghostwire_node_transport_{self.name.replace('-', '_')}_restarts_total",
            "Attempts to start the transport again.",
            lambda: self._health.restarts,
        )

    def raised(self, where: str, error: BaseException) -> None:
        """A call of it raised this: counted, told, and too often it counts as failed. That it cannot read what some
        peer advertises is no reason to end it, nor is a metric."""
        self._faults.raised += 1
        what, now = f"raised in {where}: {told(error)}", self._clock.now()
        self._faults.say_again(where, what)
        if where in ("path", "a metric"):
            self._health.note(what, now)
        elif self._health.raised(what, now) and self.running and self._life is not None:
            self._life.end(f"raised too often, last in {where}: {told(error)}")

    def did(self, what: str) -> None:
        """Its plugin did this; it is told elsewhere already."""
        self._health.note(what, self._clock.now())

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
            self._faults.say(logging.ERROR, self._trouble())
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
        inflow = life.inflow = Inflow(self._table, self._receive, self._faults, self.raised)
        transport = life.transport
        try:
            await self._patience.within(START, lambda: transport.start(inflow), "start")
        except FAULTS as error:
            if _cancels(error):
                raise
            self._failed(self._counted("start", error))
            return False
        self._table.begin(lambda endpoint: transport.path(endpoint))
        self._health.started(self._clock.now())
        if self._health.restarts:
            self._faults.say(logging.INFO, f"runs again (restart {self._health.restarts})")
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
        self._table.end()
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
            self._faults.say_again("close", line(self._counted("close", error)))
        life.metrics.end()
        self._life = None

    def _made(self) -> Life | None:
        """A new one; None where it could not be made."""
        life = Life(LifeMetrics(self._metrics, self.raised))
        try:
            made = self._make(life.metrics, life.failed)
            if not isinstance(made, Transport):
                raise TypeError(f"a {type(made).__name__} is no transport")
            if isinstance(made, RelayTransport) and self._health.attempts:
                raise PlatformError("a relay transport can only be made at the start: run gwctl down, gwctl up")
        except FAULTS as error:
            life.metrics.end()
            self._failed(self._counted("create", error))
            return None
        life.transport = made
        return life

    def _failed(self, failure: GhostwireError) -> None:
        self._failure, reason, now = failure, line(failure), self._clock.now()
        self._health.failed(reason, now)
        pause = ((self._health.deadline() or now) - now) / SECOND
        self._faults.say(logging.WARNING, f"{reason}; trying again in {pause:.0f} s")

    def _counted(self, where: str, error: BaseException) -> GhostwireError:
        """What is wrong in one line; anything but our own errors is the plugin's fault."""
        if isinstance(error, GhostwireError):
            return error
        self._faults.raised += 1
        return PluginError(self.origin.plugin, f"{where} raised {told(error)}")

    def _trouble(self) -> str:
        return self._health.trouble(self._clock.now())


def _tell(first: asyncio.Future[None]) -> None:
    if not first.done():
        first.set_result(None)


def _cancels(error: BaseException) -> bool:
    """Whether this is the node's own wish to end, which `Patience` passes on as it is."""
    return isinstance(error, asyncio.CancelledError)


def path_of(transport: Transport, endpoint: str) -> Path | None:
    """A relay transport's path; None where it raises, which is told nowhere since it happens at every packet."""
    try:
        return transport.path(endpoint)
    except FAULTS:
        return None
