"""Keeps the network map whole and true: asks for nodes that it lacks, and about once a day for all of it, to compare.

    a change names nodes that are not held    Lacking, at once and every `AGAIN` while some are lacking still
    `DAY` x (0.5 to 1.5) after the last       Refresh; where the server is away, within `SOON` of trying

What differs from the server's map is logged, counted, and put right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.model import Cursor, MapChange, NetworkMap
from ghostwire.node.comparison import differences, mended, said
from ghostwire.wire.messages import MAX_LACKING, NAMING, Lacking, Refresh

DAY = 24 * 3600.0
SOON = 3600.0
AGAIN = 60.0
"""Seconds, as those above."""
_RANGE = 1 << 32


class MapStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the map fares. It is as of that ``revision`` (None: there is none yet), and ``lacks`` so many nodes.

    It was compared with the server's whole one so often since the start, last when it was ``compared`` (Unix seconds),
    and so often it ``differed``, last in this.
    """

    revision: int | None = None
    lacks: int = 0
    comparisons: int = 0
    divergences: int = 0
    compared: int | None = None
    differed: str = ""


class Upkeep:
    """Of one node's map, while it is in contact with its server; ``send`` says whether the server will hear it."""

    def __init__(
        self,
        network: NetworkMap,
        send: Callable[[Lacking | Refresh], bool],
        clock: Clock,
        entropy: Entropy,
        log: logging.Logger,
    ) -> None:
        self._network, self._send, self._clock, self._entropy, self._log = network, send, clock, entropy, log
        self._protocol = 0
        self._asked = False
        self._refreshing: asyncio.TimerHandle | None = None
        self._lacking: asyncio.TimerHandle | None = None
        self._status = MapStatus()

    @property
    def status(self) -> MapStatus:
        """How the map fares."""
        held, cursor = self._network, self._network.cursor
        return msgspec.structs.replace(
            self._status, revision=cursor.revision if cursor else None, lacks=len(held.lacking)
        )

    def start(self) -> None:
        """Refresh now and then from now on; harmless where that is so already."""
        if self._refreshing is None:
            self._refresh_in(DAY * (0.5 + self._chance()))

    def stop(self) -> None:
        """Ask for nothing more; harmless when called twice."""
        for timer in (self._refreshing, self._lacking):
            if timer is not None:
                timer.cancel()
        self._refreshing = self._lacking = None

    def began(self, protocol: int) -> None:
        """A session that speaks this protocol began."""
        self._protocol, self._asked = protocol, False

    def examine(self, change: MapChange) -> MapChange | None:
        """What to make of a change from the server: None where it is the whole map, asked for, and equal."""
        if not (self._asked and change.full):
            return change
        self._asked = False
        held = self._network.cursor
        if held is None or self._network.lacking or _position(held) != _position(change.cursor):
            return change
        return self._compared(change)

    def followed(self) -> None:
        """The map was changed: ask for what it lacks."""
        if self._network.lacking and self._lacking is None:
            self._ask()

    def _ask(self) -> None:
        self._lacking = None
        nodes = sorted(self._network.lacking)
        for start in range(0, len(nodes), MAX_LACKING):
            self._send(Lacking(nodes=tuple(nodes[start : start + MAX_LACKING])))
        if nodes:
            self._lacking = asyncio.get_running_loop().call_later(AGAIN, self._ask)

    def _refresh_in(self, seconds: float) -> None:
        self._refreshing = asyncio.get_running_loop().call_later(seconds, self._refresh)

    def _refresh(self) -> None:
        self._asked = self._protocol >= NAMING and self._send(Refresh())
        self._refresh_in(DAY * (0.5 + self._chance()) if self._asked else SOON * self._chance())

    def _compared(self, whole: MapChange) -> MapChange | None:
        differing, counts = differences(self._network, whole), self._status
        self._status = msgspec.structs.replace(
            counts,
            comparisons=counts.comparisons + 1,
            compared=self._clock.wall() // SECOND,
            divergences=counts.divergences + bool(differing),
            differed=said(differing) or counts.differed,
        )
        if not differing:
            return None
        revision = whole.cursor.revision
        self._log.warning("the map differed from the server's at revision %d: %s; healed", revision, said(differing))
        return mended(self._network, whole)

    def _chance(self) -> float:
        """Evenly from 0 to 1."""
        return int.from_bytes(self._entropy(4)) / _RANGE


def _position(cursor: Cursor) -> Cursor:
    """Where in the history, whatever is seen from there."""
    return msgspec.structs.replace(cursor, view=0)
