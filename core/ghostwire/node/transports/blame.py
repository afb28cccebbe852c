"""Whose code raised what nobody caught: asyncio hands that to the loop's exception handler.

A task or callback belongs to the package whose frames the traceback passes, unless it passes core's receiving end: what
core raises while a transport delivers is core's own.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from ghostwire.node.transports import inflow

Accuse = Callable[[BaseException, frozenset[str]], bool]
"""Takes an exception, with the packages it passed; whether that was one of the accuser's."""


class Blame:
    """The exception handler of one loop while anybody listens; what no one takes goes to the one before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listeners: list[Accuse] = []
        self._before: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    @classmethod
    def listen(cls, accuse: Accuse) -> Callable[[], None]:
        """Hear of exceptions in the running loop until the answer is called."""
        loop = asyncio.get_running_loop()
        blame = _LOOPS.setdefault(loop, cls(loop))
        blame._add(accuse)
        return lambda: blame._remove(accuse)

    def _add(self, accuse: Accuse) -> None:
        if not self._listeners:
            self._before = self._loop.get_exception_handler()
            self._loop.set_exception_handler(self._handle)
        self._listeners.append(accuse)

    def _remove(self, accuse: Accuse) -> None:
        self._listeners = [each for each in self._listeners if each is not accuse]
        if not self._listeners and self._loop.get_exception_handler() == self._handle:
            self._loop.set_exception_handler(self._before)

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            passed = packages(error.__traceback__)
            if any(accuse(error, passed) for accuse in self._listeners):
                return
        (self._before or type(loop).default_exception_handler)(loop, context)


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, Blame] = WeakKeyDictionary()


def packages(trace: TracebackType | None) -> frozenset[str]:
    """The top packages whose code a traceback passes; none where it passes core's receiving end."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(trace)]
    if inflow.__name__ in modules:
        return frozenset()
    return frozenset(str(module).partition(".")[0] for module in modules)
