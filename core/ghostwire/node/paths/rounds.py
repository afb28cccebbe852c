"""When a search pings all candidates, and when it holds still.

    a burst of rounds, with `GAPS` between them     from the start, and after each stillness
    every `RETURN`                                  after the first burst, where a candidate answered of late: the
                                                    way was there, and may come back any moment
    still for `STILL` and up to `SPREAD` more       after each burst, where none ever did

Holding still is for routers that take an early ping for themselves: as long as pings come, such a router keeps that
port, and gives its own node's packets another (Linux for 30 s after the last one). After a stillness the pings of both
ends should leave at once, so that each finds the other's way open: the call goes first, and our pings follow when it
has arrived.
"""

from __future__ import annotations

from typing import Final

from ghostwire.engine import MILLISECOND, SECOND, Entropy

GAPS: Final = tuple(each * MILLISECOND for each in (300, 700, 1_000, 2_000, 4_000, 8_000, 16_000))
RETURN: Final = 25 * SECOND
STILL, SPREAD = 32 * SECOND, 4 * SECOND


class Rounds:
    """``next`` is when the next round begins."""

    __slots__ = ("_entropy", "_number", "_rested", "next")

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self.next = self._number = 0
        self._rested = False

    def restart(self, now: int) -> None:
        """A search begins: its first round is due."""
        self.next, self._number, self._rested = now, 0, False

    def begin(self, now: int, *, lost: bool) -> bool:
        """A round begins: whether it is the first after a stillness. ``lost``: a candidate answered of late."""
        first, self._rested = self._rested, False
        if self._number < len(GAPS):
            self.next = now + GAPS[self._number]
            self._number += 1
        elif lost:
            self.next = now + RETURN
        else:
            self.next = now + STILL + int.from_bytes(self._entropy(4), "little") * SPREAD // (1 << 32)
            self._number, self._rested = 0, True
        return first
