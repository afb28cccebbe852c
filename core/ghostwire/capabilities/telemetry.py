"""Telemetry carries metrics, traces and logs out of the program; `Metrics` is where all parts register theirs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """A value read at scrape time; hot paths only add to plain ints. ``kind`` is ``counter`` or ``gauge``."""

    name: str
    help: str
    kind: str
    read: Callable[[], float]


class Metrics:
    """The program's metrics, in order of registration."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._scopes: list[Metrics] = []

    def scope(self) -> Metrics:
        """Metrics of a part that comes and goes; they are listed here too until `drop`."""
        scope = Metrics()
        self._scopes.append(scope)
        return scope

    def drop(self, scope: Metrics) -> None:
        """List a scope's metrics no longer, so that its names are free again; harmless when called twice."""
        self._scopes = [held for held in self._scopes if held is not scope]

    def counter(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a value that only grows."""
        self._register(Metric(name, help, "counter", read))

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a value that goes up and down."""
        self._register(Metric(name, help, "gauge", read))

    def _register(self, metric: Metric) -> None:
        if metric.name in self._metrics:
            raise ValueError(f"metric {metric.name} is registered twice")
        self._metrics[metric.name] = metric

    def __iter__(self) -> Iterator[Metric]:
        yield from self._metrics.values()
        for scope in self._scopes:
            yield from scope

    def values(self) -> dict[str, float]:
        """Every metric's value now."""
        return {metric.name: metric.read() for metric in self}


class Telemetry(ABC):
    """An exporter of metrics, traces or logs."""

    name: str

    @abstractmethod
    async def start(self, metrics: Metrics) -> None:
        """Begin exporting; waits for nobody who takes the values. Read ``metrics`` anew each time, as they come and go;
        one that raises costs only itself."""

    @abstractmethod
    async def close(self) -> None:
        """Flush and stop; harmless when called twice."""
