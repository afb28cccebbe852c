"""When a search pings all candidates, and when it holds still.

    a burst of rounds, with `GAPS` between them     from the start, and after each stillness
    every `RETURN`                                  after the first burst, where a candidate answered of late: the
                                                    way was there, and may come back any moment
    still for `STILL` and up to `SPREAD` more       after each burst, where none ever did, and after each ping

Some routers take a ping that comes before their own node has sent anything for one to themselves: as long as such
pings come, they keep that port, and give their node's packets another, those to this peer and then to all others
(Linux for 30 s after the last one, and up to 60 s more until it looks for what is over). So the first round of a
burst only knocks: its pings die behind this side's routers, which lets the peer's in. Who is called does the same and
calls back, and then both ping.

Machines may be busy, and whoever calls may not know yet where to knock. So a ping over the relay follows each call:
one who never answered is pinged when its pong, or any other word of the peer, says that the call was heard, and
without it after `PATIENCE`. Where that was in vain (a burst's other rounds reach the far side) a third node may see
the other port, which calls then name. Else only stillness helps, and of both: who is called while it is still, by a
peer that says nothing new, is still for longer.
"""

from __future__ import annotations

from typing import Final

from ghostwire.engine import MILLISECOND, SECOND, Entropy

GAPS: Final = tuple(each * MILLISECOND for each in (300, 700, 1_000, 2_000, 4_000, 8_000, 16_000))
AFTER_KNOCKS: Final = 700 * MILLISECOND
"""By then calls have gone both ways, and pings have come."""
AFTER_CALL: Final = 300 * MILLISECOND
"""By then who called has heard the call back, and let our pings in."""
PATIENCE: Final = 5 * SECOND
"""The same where nothing says so, for those who never answered."""
RETURN: Final = 20 * SECOND
REMEMBERED: Final = 92 * SECOND
"""So long a router may give a port that it once had to give."""
STILL, SPREAD = 95 * SECOND, 4 * SECOND
LATE: Final = 6
NEAREST, FARTHEST = 2, 4
"""Times to live of knocks, in turn: behind one router, two, three."""


class Rounds:
    """``next`` is when the next round begins."""

    __slots__ = ("_entropy", "_number", "_pinged", "_soonest", "_ttl", "next")

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self.next = self._number = self._pinged = self._soonest = 0
        self._ttl = NEAREST

    @property
    def calls(self) -> bool:
        """Whether a call goes with the round that began last: with the first of a burst and the late ones. A stock peer
        calls back only where it was left in peace for 5 s."""
        return self._number in (0, 1) or self._number >= LATE

    def restart(self, now: int) -> None:
        """A search begins: its first round is due."""
        self.next, self._number, self._ttl = now, 0, NEAREST

    def still(self, now: int) -> bool:
        """Whether the search holds still, and a router may yet remember its pings."""
        return self._number == 0 and now < self.next and now - self._pinged < REMEMBERED

    def hurry(self, now: int, *, lost: bool) -> None:
        """The peer was knocked at and called back: ping it soon."""
        if lost or self._number > 1:
            self.next = min(self.next, now + AFTER_CALL)
        else:
            self.next, self._number, self._soonest = now + PATIENCE, 1, now

    def heard(self, now: int) -> None:
        """The peer lets pings in, or cannot be asked to: who knocked waits no longer. Or it goes on pinging, or is
        pinged: who is still stays so."""
        if self._number == 1:
            self.next = min(self.next, max(now, self._soonest))
        elif self._number == 0:
            self.next, self._pinged = max(self.next, now + STILL), now

    def begin(self, now: int, *, lost: bool, knocks: bool) -> int | None:
        """A round begins: the time to live of its pings where it knocks, if at all. ``lost``: a candidate answered of
        late."""
        ttl = self._ttl if self._number == 0 and knocks else None
        self._pinged = self._pinged if ttl is not None else now
        if ttl is not None:
            self._number, self._soonest = 1, now + AFTER_KNOCKS
            self.next = self._soonest if lost else now + PATIENCE
        elif self._number < len(GAPS):
            self.next = now + GAPS[self._number]
            self._number += 1
        elif lost:
            self.next = now + RETURN
        else:
            self.next = now + STILL + int.from_bytes(self._entropy(4), "little") * SPREAD // (1 << 32)
            self._number = 0
            self._ttl = NEAREST if self._ttl == FARTHEST else self._ttl + 1
        return ttl
