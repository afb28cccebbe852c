"""What comes in from a transport: passed on as far as it is what core takes, refused and counted where it is not.

Refused are bursts that are too long or none at all, datagrams that are empty, larger than `MOST` or no plain bytes,
what comes from another thread or after the end, and what exceeds `FLOOD` in one pass of the event loop, which would
keep all else from running.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from ghostwire import BURST, Buffer, Path, Receive
from ghostwire.node.transports.faults import FAULTS, Faults
from ghostwire.node.transports.paths import PathTable

MOST: Final = 65_535
"""Bytes of a datagram."""
FLOOD: Final = 4_096
"""Datagrams of one pass of the event loop."""
_NO_HURRY: Final = FLOOD // 2
_ROWS: Final = (list, tuple)


class Inflow:
    """Takes the deliveries of one transport from its start until `close`, by `examine`, or by `take` where its code is
    trusted like core. ``raised`` is told of its mistakes."""

    def __init__(
        self, table: PathTable, receive: Receive, faults: Faults, raised: Callable[[str, BaseException], object]
    ) -> None:
        self._recent, self._table, self._receive = table.recent, table, receive
        self._faults, self._raised = faults, raised
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._room, self._refilling = FLOOD, False
        self._open, self._foreign = True, False

    def close(self) -> None:
        """Take nothing more."""
        self._open, self._room = False, 0

    def take(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Pass on a burst as it is."""
        path = self._recent.get(source.endpoint) or self._table.heard(source)
        self._room -= len(datagrams)
        if self._room > _NO_HURRY or self._admits(len(datagrams)):
            self._receive(path, datagrams)

    def examine(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Pass on what can be taken of a delivery by anybody."""
        if not self._open or threading.get_ident() != self._thread:
            self._out_of_place()
            return
        try:
            fit = datagrams if _is_burst(datagrams) else self._sorted(datagrams)
            path = self._recent.get(source.endpoint) or self._table.heard(source)
        except FAULTS as error:
            self._faults.refused += 1
            self._raised("a delivery", error)
            return
        if fit:
            self.take(path, fit)

    def _admits(self, count: int) -> bool:
        """Whether there is room, which is made anew at the next pass of the loop."""
        if not self._open:
            self._out_of_place()
            return False
        if not self._refilling:
            self._refilling = True
            self._loop.call_soon(self._refill)
        if self._room >= 0:
            return True
        self._faults.refused += count
        self._faults.say_again("flood", "delivers more at once than can be handled: the rest is dropped")
        return False

    def _refill(self) -> None:
        self._refilling = False
        if self._open:
            self._room = FLOOD

    def _sorted(self, datagrams: Any) -> list[Buffer]:
        """Those of a delivery that can be taken."""
        if not isinstance(datagrams, list | tuple):
            raise TypeError(f"a {type(datagrams).__name__} instead of a list of datagrams")
        within = datagrams if len(datagrams) <= BURST else ()
        fit = [each for each in within if _is_burst((each,))]
        if len(fit) < max(1, len(datagrams)):
            self._refuse(max(1, len(datagrams)) - len(fit))
        return fit

    def _refuse(self, count: int) -> None:
        self._faults.refused += count
        self._faults.say_again("garbage", "delivers what is no burst of 1 to 64 datagrams of 1 to 65535 bytes")

    def _out_of_place(self) -> None:
        self._faults.refused += 1
        if self._open and not self._foreign:
            self._foreign = True
            error = RuntimeError("deliveries must come from the event loop's own thread")
            self._loop.call_soon_threadsafe(self._raised, "a delivery", error)


def _is_burst(datagrams: Any) -> bool:
    """Whether all of it can be taken: rows of 1 to `MOST` bytes. A view may also be of numbers, or of every second
    byte. Quick, for this is asked at every delivery."""
    if not (type(datagrams) in _ROWS and 0 < len(datagrams) <= BURST):
        return False
    for each in datagrams:
        kind = type(each)
        if kind is memoryview:
            if not (each.format == "B" and each.ndim == 1 and each.c_contiguous):
                return False
        elif kind is not bytes and kind is not bytearray:
            return False
        if not 0 < len(each) <= MOST:
            return False
    return True
