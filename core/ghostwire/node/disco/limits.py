"""How much disco a node takes: of one peer, and of all together."""

from __future__ import annotations

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


class Allowance:
    """A bucket for sources that are known, and one for all others.

    Disco keys are no secret, since they stand in the clear in every datagram: whoever forges them from elsewhere uses
    up the other bucket alone, and established paths stay.
    """

    __slots__ = ("_known", "_others")

    def __init__(self, rate: int, burst: int) -> None:
        self._known, self._others = Bucket(rate, burst), Bucket(rate, burst)

    def take(self, known: bool, now: int) -> bool:
        """Take one datagram's token, if there is one."""
        return (self._known if known else self._others).take(now)
