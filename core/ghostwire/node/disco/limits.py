"""How much disco a node takes and gives: of one peer, and of all together."""

from __future__ import annotations

from enum import Enum

from ghostwire.engine import SECOND


class Bucket:
    """A token bucket: ``burst`` at once, then ``rate`` a second."""

    __slots__ = ("_full_at", "_interval", "_slack")

    def __init__(self, rate: int, burst: int) -> None:
        self._interval = SECOND // rate
        self._slack = (burst - 1) * self._interval
        self._full_at = 0

    def take(self, now: int) -> bool:
        """Take one token, if there is one."""
        full_at = max(now, self._full_at)
        if full_at - now > self._slack:
            return False
        self._full_at = full_at + self._interval
        return True


class Standing(Enum):
    """What a source is to this node, as far as nobody else can make it so.

    Disco keys are no secret, since they stand in the clear in every datagram, and what was overheard may be replayed
    from anywhere. So only those count as `ASKED` that this node pinged itself: whoever would use up their allowance
    must forge that very source. `RELAYED` ones are at a relay's mercy, and nobody else's.
    """

    ASKED = 0
    RELAYED = 1
    UNASKED = 2


class Allowance:
    """A bucket for all sources of each standing: rate and burst in this order."""

    __slots__ = ("_buckets",)

    def __init__(self, asked: tuple[int, int], relayed: tuple[int, int], unasked: tuple[int, int]) -> None:
        self._buckets = Bucket(*asked), Bucket(*relayed), Bucket(*unasked)

    def take(self, standing: Standing, now: int) -> bool:
        """Take one datagram's token, if there is one."""
        return self._buckets[standing.value].take(now)
