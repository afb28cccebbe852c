"""Handshake timestamps (TAI64N) that never go back, across restarts and jumps of the wall clock.

A file holds a time up to which stamps may have been given out. It is written a day ahead, so that handshakes cost
no write; after a crash stamps go on from there in the smallest steps until the wall clock has caught up.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, StateError
from ghostwire.keys import write_private

STAMP: Final = struct.Struct(">QI")
"""seconds(8), counted from 2^62 plus TAI's 10 s, and nanoseconds(4), big-endian"""
EPOCH: Final = (1 << 62) + 10
STEP: Final = 1 << 24
"""Nanoseconds are cut to multiples of this, so that stamps tell nobody the exact clock."""
AHEAD: Final = 86_400 * SECOND
AHEAD_OF_WALL: Final = 4_096 * STEP
"""Ahead only this much where stamps have outrun the wall, so that crashes in a row don't carry them away."""


class Timestamps:
    """Gives out stamps; ``wall`` reads nanoseconds of Unix time."""

    def __init__(self, path: Path, wall: Callable[[], int], log: logging.Logger) -> None:
        self._path, self._wall, self._log = path, wall, log
        self._opened = False
        self._last = self._reserved = 0

    def open(self) -> None:
        """Read how far stamps may have been given out, and reserve more; harmless when called twice.

        StateError where the file is damaged or cannot be written, PermissionDenied where it may not be.
        """
        if self._opened:
            return
        try:
            self._last = int(self._path.read_text("ascii"))
        except FileNotFoundError:
            self._last = 0
        except (OSError, ValueError) as error:
            raise StateError(f"{self._path}: cannot read the handshake timestamp: {error}; remove it") from None
        self._reserve(self._end())
        self._opened = True

    def __call__(self) -> bytes:
        """The next stamp's 12 bytes: the larger of the wall clock and the last stamp plus one step."""
        self.open()
        following = self._following()
        if following > self._reserved:
            self._reserve_late()
        self._last = following
        seconds, nanoseconds = divmod(following, SECOND)
        return STAMP.pack(EPOCH + seconds, nanoseconds)

    def close(self) -> None:
        """Give the unused part of the reservation back."""
        if self._opened and self._last < self._reserved:
            self._reserve(self._last)

    def _following(self) -> int:
        time = max(self._wall(), self._last + STEP)
        return time - time % SECOND % STEP

    def _end(self) -> int:
        return self._following() + (AHEAD if self._wall() >= self._last + STEP else AHEAD_OF_WALL)

    def _reserve(self, until: int) -> None:
        write_private(self._path, b"%d\n" % until)
        self._reserved = until

    def _reserve_late(self) -> None:
        """Reserve while packets flow: a disk that fails now must not stop them."""
        until = self._end()
        try:
            self._reserve(until)
        except GhostwireError as error:
            self._log.warning("handshake timestamps may repeat after a crash: %s", error)
            self._reserved = until
