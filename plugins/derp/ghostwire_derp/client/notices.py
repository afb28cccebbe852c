"""Log lines that come at most once a minute each, however often there is cause."""

from __future__ import annotations

import logging

from ghostwire.engine import SECOND, Clock

INTERVAL = 60 * SECOND
MOST = 256
"""Kinds of lines remembered."""


class Notices:
    """Writes to ``log``; ``kind`` says which lines are the same."""

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._said: dict[object, int] = {}

    def say(self, level: int, kind: object, text: str, *values: object) -> None:
        """Log this line unless one of its kind was logged within the last minute."""
        now = self._clock.now()
        if now - self._said.get(kind, now - INTERVAL) < INTERVAL:
            return
        if len(self._said) >= MOST:
            self._said.clear()
        self._said[kind] = now
        self._log.log(level, text, *values)
