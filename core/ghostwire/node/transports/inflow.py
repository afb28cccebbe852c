"""What comes in from a transport: passed on as far as it is what core takes, refused and counted where it is not.

Refused are bursts that are too long or none at all, datagrams that are empty, larger than `MOST` or no buffers, what
comes from another thread or after the end, and what exceeds `FLOOD` in one pass of the event loop, which would keep all
else from running.
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
_KINDS: Final = frozenset((bytes, bytearray, memoryview))


class Inflow:
    """Takes the deliveries of one transport from its start until `close`. ``raised`` is told of its mistakes."""

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
        self._open = False

    def __call__(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """What the transport calls."""
        try:
            if not self._open or threading.get_ident() != self._thread:
                self._out_of_place()
                return
            kind = type(datagrams)
            if not (
                (kind is list or kind is tuple)
                and 0 < len(datagrams) <= BURST
                and _KINDS.issuperset(map(type, datagrams))
                and all(datagrams)
                and max(map(len, datagrams)) <= MOST
            ):
                datagrams = self._sorted(datagrams)
            path = self._recent.get(source.endpoint)
            if path is None:
                path = self._table.heard(source)
            elif path.inner is None:
                path.inner = source
        except FAULTS as error:
            self._faults.refused += 1
            self._raised("a delivery", error)
            return
        if not datagrams:
            return
        self._room -= len(datagrams)
        if self._room > FLOOD // 2 or self._admits(len(datagrams)):
            self._receive(path, datagrams)

    def _admits(self, count: int) -> bool:
        """Whether there is room, which is made anew at the next pass of the loop."""
        if not self._refilling:
            self._refilling = True
            self._loop.call_soon(self._refill)
        if self._room >= 0:
            return True
        self._faults.refused += count
        self._faults.say_again("flood", "delivers more at once than can be handled: the rest is dropped")
        return False

    def _refill(self) -> None:
        self._room, self._refilling = FLOOD, False

    def _sorted(self, datagrams: Any) -> list[Buffer]:
        """Those of a delivery that can be taken."""
        if not isinstance(datagrams, list | tuple):
            raise TypeError(f"a {type(datagrams).__name__} instead of a list of datagrams")
        within = datagrams if len(datagrams) <= BURST else ()
        fit = [each for each in within if type(each) in _KINDS and 0 < len(each) <= MOST]
        self._refuse(len(datagrams) - len(fit) if datagrams else 1)
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
