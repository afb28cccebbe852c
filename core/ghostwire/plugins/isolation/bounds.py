"""What a plugin's process may make the daemon do: so much at once, so much a second."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Final

from ghostwire.capabilities.telemetry import Metrics
from ghostwire.engine import SECOND, Clock
from ghostwire.hints import one_line
from ghostwire.plugins.isolation.protocol import MAX_ENDPOINTS, MAX_METRICS, Sample, is_endpoint

MAX_NAME: Final = 100
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_]+")


class Bucket:
    """Lets ``burst`` things through at once and ``rate`` a second."""

    def __init__(self, clock: Clock, rate: float, burst: int) -> None:
        self._clock, self._rate, self._burst = clock, rate, burst
        self._left, self._filled = float(burst), clock.now()

    def take(self) -> bool:
        """Whether one more may pass."""
        now = self._clock.now()
        self._left = min(self._burst, self._left + (now - self._filled) * self._rate / SECOND)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Lines:
    """Passes a process's lines on to the daemon's log, as far as they are few and short."""

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log, self._bucket = log, Bucket(clock, 2, 40)
        self.left_out = 0
        """Lines that were too many."""

    def say(self, level: int, text: str) -> None:
        """Log one line, or count it."""
        if not self._bucket.take():
            self.left_out += 1
            return
        left_out, self.left_out = self.left_out, 0
        if left_out:
            self._log.warning("%d lines were left out", left_out)
        self._log.log(min(max(level, logging.DEBUG), logging.ERROR), "%s", one_line(text[:2000]))


class Gauges:
    """A process's metrics among the daemon's, under names that are the plugin's own."""

    def __init__(self, plugin: str, metrics: Metrics) -> None:
        self._prefix = f"ghostwire_plugin_{plain(plugin)}_"
        self._metrics, self._scope = metrics, metrics.scope()
        self._values: dict[str, float] = {}

    def measured(self, samples: Sequence[Sample]) -> None:
        """Take new values; names beyond `MAX_METRICS` are not listed."""
        for sample in samples[:MAX_METRICS]:
            name = self._prefix + plain(sample.name.removeprefix(self._prefix))[:MAX_NAME]
            if name not in self._values:
                if len(self._values) >= MAX_METRICS:
                    continue
                self._register(name, sample)
            self._values[name] = sample.value if math.isfinite(sample.value) else 0.0

    def drop(self) -> None:
        """List them no longer."""
        self._metrics.drop(self._scope)

    def _register(self, name: str, sample: Sample) -> None:
        register = self._scope.counter if sample.counter else self._scope.gauge
        register(name, one_line(sample.help[:400]), lambda: self._values[name])


def endpoints_of(said: Sequence[str]) -> tuple[str, ...]:
    """Those texts that can be advertised, no more than may be."""
    return tuple(text for text in said[:MAX_ENDPOINTS] if is_endpoint(text))


def plain(name: str) -> str:
    """A name as metrics have it."""
    return _NOT_IN_NAMES.sub("_", name[:400].lower()).strip("_") or "unnamed"
