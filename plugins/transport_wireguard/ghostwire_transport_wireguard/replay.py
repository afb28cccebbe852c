"""The replay window: which of the last counters were seen."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 8_128
"""How far behind the greatest counter a datagram may arrive."""
_ALL_SEEN: Final = (1 << WINDOW) - 1


class ReplayWindow:
    """Accepts each counter once.

    Bit i of ``_seen`` stands for the counter ``_anchor - 1 - i``. Counters that arrive in order only move ``next``:
    everything from ``_anchor`` up to it has been seen, and the bitmap is moved there when one is out of order.
    """

    __slots__ = ("_anchor", "_seen", "next")

    def __init__(self) -> None:
        self.next = 0
        """One above the greatest counter accepted. Whoever sees exactly this counter may add 1 instead of asking."""
        self._anchor = 0
        self._seen = 0

    def accept(self, counter: int) -> bool:
        """Whether this counter is new and not too old; it is seen from now on."""
        if counter == self.next:
            self.next += 1
            return True
        self._shift(self.next - self._anchor, filled=True)
        if counter > self.next:
            self._shift(counter - self.next, filled=False)
            self.next = counter
            return self.accept(counter)
        bit = 1 << (self.next - 1 - counter) if self.next - counter <= WINDOW else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True

    def _shift(self, count: int, filled: bool) -> None:
        """Move the anchor up by ``count`` counters that were all seen, or not."""
        self._anchor += count
        count = min(count, WINDOW)
        entered = (1 << count) - 1 if filled else 0
        self._seen = (self._seen << count | entered) & _ALL_SEEN
