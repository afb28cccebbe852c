"""Notices from a thread of its own when the event loop stands still, and says which plugin holds it.

Nobody can end a call in one process that does not return. So this only tells: which plugin, where, and that one which
is not trusted would run in a process of its own, where it can be ended.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final

EVERY: Final = 2.0
"""Seconds between two looks."""
HELD: Final = 1.0
"""Seconds without a sign of life that are told."""

Held = Callable[[str, str], object]
"""Is called in the loop, once it runs again: the plugin's name, and what it did."""


class Watchdog:
    """Watches the running loop from `start` to `close`. ``plugins`` are plugins' names by their packages."""

    def __init__(
        self,
        plugins: Mapping[str, str],
        log: logging.Logger,
        told: Held = lambda plugin, what: None,
        *,
        every: float = EVERY,
        held: float = HELD,
    ) -> None:
        self._plugins, self._log, self._told = plugins, log, told
        self._every, self._held = every, held
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.holds = 0
        """How often the loop stood still in a plugin's code."""

    def start(self) -> None:
        """Begin, in the loop's thread."""
        loop, watched = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=self._watch, args=(loop, watched), name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer; harmless when called twice."""
        self._stop.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, watched: int) -> None:
        while not self._stop.wait(self._every):
            alive = threading.Event()
            try:
                loop.call_soon_threadsafe(alive.set)
                if not alive.wait(self._held):
                    self._wait_out(loop, watched, alive)
            except RuntimeError:  # the loop is closed
                return

    def _wait_out(self, loop: asyncio.AbstractEventLoop, watched: int, alive: threading.Event) -> None:
        began = time.monotonic() - self._held
        plugin, place = self._culprit(sys._current_frames().get(watched))
        if not plugin:
            self._log.info("the event loop stands still for %.1f s in %s", self._held, place)
        else:
            self.holds += 1
            self._log.error(
                "plugin %s holds the event loop for %.1f s in %s: nothing moves until it returns (trusted = true means "
                "trusted: only a plugin in a process of its own can be ended)", plugin, self._held, place,
            )  # fmt: skip
        while not alive.wait(self._held) and not self._stop.is_set():
            pass
        if plugin and alive.is_set():
            took = f"held the event loop for {time.monotonic() - began:.1f} s in {place}"
            self._log.warning("plugin %s %s", plugin, took)
            loop.call_soon_threadsafe(self._told, plugin, took)

    def _culprit(self, frame: FrameType | None) -> tuple[str, str]:
        """The plugin whose code is innermost on the stack, and where that is; without one, where the loop is."""
        stack = list(traceback.walk_stack(frame)) if frame is not None else []
        for each, line in stack:
            package = str(each.f_globals.get("__name__", "")).partition(".")[0]
            if package in self._plugins:
                return self._plugins[package], _place(each, line)
        return "", _place(*stack[0]) if stack else "nowhere"


def _place(frame: FrameType, line: int) -> str:
    return f"{frame.f_code.co_qualname} ({frame.f_globals.get('__name__', '?')}:{line})"
