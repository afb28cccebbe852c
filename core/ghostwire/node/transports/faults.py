"""What a transport did wrong: counted, and told in log lines that are never more than somebody can read."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ghostwire import Metrics
from ghostwire.engine import SECOND, Clock
from ghostwire.hints import LONGEST, one_line, raised

FAULTS: Final = (Exception, SystemExit, asyncio.CancelledError)
"""What a call of a plugin may raise without ending more than itself."""
LINES: Final = 10
EVERY: Final = 30 * SECOND
"""How many lines are told at once, and after which time one more."""


class Faults:
    """Of one transport. ``raised`` counts calls that raised, ``refused`` what it brought or said that nobody takes."""

    def __init__(self, name: str, plugin: str, clock: Clock, log: logging.Logger) -> None:
        self._name, self._clock, self._log = name, clock, log
        self._whose = f"transport {name} of plugin {plugin}" if plugin else f"transport {name}"
        self._room, self._filled, self._silent = LINES, clock.now(), 0
        self._last: dict[str, int] = {}
        self.raised = self.refused = 0

    def register(self, metrics: Metrics) -> None:
        """List both counters."""
        prefix = f"ghostwire_node_transport_{self._name.replace('-', '_')}"
        metrics.counter(f"{prefix}_raised_total", "Calls of the transport that raised.", lambda: self.raised)
        metrics.counter(
            f"{prefix}_refused_total",
            "Datagrams and endpoints of the transport that were refused: too many, too large, or none at all.",
            lambda: self.refused,
        )

    def say(self, level: int, text: str) -> None:
        """Log a line, if there is room for one."""
        now = self._clock.now()
        refill, self._filled = (now - self._filled) // EVERY, now - (now - self._filled) % EVERY
        self._room = min(LINES, self._room + refill)
        if not self._room:
            self._silent += 1
            return
        more = f" ({self._silent} lines left out)" if self._silent else ""
        self._room, self._silent = self._room - 1, 0
        self._log.log(level, "%s: %s%s", self._whose, text, more)

    def say_again(self, key: str, text: str) -> None:
        """Log a warning, at most once in `EVERY` for the same key."""
        now = self._clock.now()
        if now - self._last.get(key, -EVERY) >= EVERY:
            self._last[key] = now
            self.say(logging.WARNING, text)


def told(error: BaseException) -> str:
    """What a plugin raised and where, as one short line; its own text may raise, too."""
    try:
        return raised(error)
    except FAULTS:
        return type(error).__name__


def line(text: object) -> str:
    """A plugin's text as one short line."""
    try:
        return one_line(text)[:LONGEST]
    except FAULTS:
        return "unreadable text"
