"""Where a peer is heard besides its attached paths, told at most once a second for each source."""

from __future__ import annotations

from typing import Final

from ghostwire import Path
from ghostwire.engine import SECOND

REMEMBERED: Final = 8
"""Sources a peer may have at once; whoever replaces an honest datagram's source can make up any number."""


class Sources:
    """When each source was last told. The one told first makes room for another, but not within its second."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[Path, int] = {}

    def due(self, source: Path, now: int) -> bool:
        """Whether to tell of this source now."""
        told = self._told.get(source)
        if told is not None and now - told < SECOND:
            return False
        self._told.pop(source, None)
        if len(self._told) >= REMEMBERED:
            first = next(iter(self._told))
            if now - self._told[first] < SECOND:
                return False
            del self._told[first]
        self._told[source] = now
        return True
