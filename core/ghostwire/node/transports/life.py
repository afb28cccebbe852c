"""One object that a provider made, from its making to its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ghostwire import Metrics, Transport
from ghostwire.node.transports.faults import FAULTS, line

if TYPE_CHECKING:
    from ghostwire.node.transports.inflow import Inflow

MOST_METRICS: Final = 256


class LifeMetrics(Metrics):
    """What the object registers, listed under ``whole`` until `end`; reading what raises gives 0."""

    def __init__(self, whole: Metrics, raised: Callable[[str, BaseException], object]) -> None:
        super().__init__()
        self._whole, self._listed, self._raised = whole, whole.scope(), raised
        self._count = 0

    def counter(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a value that only grows."""
        if self._admits():
            self._listed.counter(name, help, self._guarded(read))

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a value that goes up and down."""
        if self._admits():
            self._listed.gauge(name, help, self._guarded(read))

    def end(self) -> None:
        """List them no longer."""
        self._whole.drop(self._listed)

    def _admits(self) -> bool:
        self._count += 1
        return self._count <= MOST_METRICS

    def _guarded(self, read: Callable[[], float]) -> Callable[[], float]:
        def guarded() -> float:
            try:
                return float(read())
            except FAULTS as error:
                self._raised("a metric", error)
                return 0.0

        return guarded


class Life:
    """``transport`` is the object, once it is made; ``over`` is set when it said that it carries nothing any more, and
    ``reason`` why."""

    def __init__(self, metrics: LifeMetrics) -> None:
        self.metrics = metrics
        self.transport: Transport | None = None
        self.inflow: Inflow | None = None
        self.over, self.reason = asyncio.Event(), ""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def failed(self, reason: object) -> None:
        """What the transport calls, from whichever thread."""
        if not self.over.is_set():
            self.post(self.end, line(reason) or "it said that it failed")

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Call this in the event loop's thread: at once, where that is this one."""
        if threading.get_ident() == self._thread:
            call(*args)
        else:
            self._loop.call_soon_threadsafe(call, *args)

    def end(self, reason: str) -> None:
        """Its end has come; the first reason counts."""
        if not self.over.is_set():
            self.reason = reason
            self.over.set()

    @property
    def package(self) -> str:
        """The package of the transport's code; empty where that is core's, which stands for another process's."""
        package = type(self.transport).__module__.partition(".")[0] if self.transport is not None else ""
        return "" if package == "ghostwire" else package
