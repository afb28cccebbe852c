"""What the system lets a program have: as many descriptors as it may, and memory only as long as it needs it."""

from __future__ import annotations

import asyncio
import gc
import resource
from contextlib import suppress
from typing import Final

QUARTER: Final = 4
EBB: Final = 1.0
"""Seconds until what the last of them held is free too."""


def raise_descriptors() -> None:
    """Have as many descriptors as the system allows at most: a shell gives 1024, and each connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_back() -> None:
    """Give memory that nothing needs back to the system; without glibc that is left to its C library.

    Takes some milliseconds.
    """
    import ctypes  # few programs ever see a flood

    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class Tide:
    """Gives memory back soon after a flood of at least ``flood`` things, connections say, has ebbed to a quarter.

    Used within the event loop.
    """

    def __init__(self, flood: int) -> None:
        self._flood, self._highest = flood, 0

    def held(self, count: int) -> None:
        """So many are held now."""
        if count > self._highest:
            self._highest = count
        elif self._highest >= self._flood and count * QUARTER <= self._highest:
            self._highest = count
            asyncio.get_running_loop().call_later(EBB, give_back)
