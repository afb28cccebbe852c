"""The pings over the path in use: when the next is due, and what it means that one is not answered."""

from __future__ import annotations

from ghostwire import Activity
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.carriage import patience
from ghostwire.node.paths.timing import (
    AGAIN,
    BUSY,
    BUSY_HEARTBEAT,
    GRACE,
    HEARTBEAT,
    LONGEST_GRACE,
    LOST,
    POLL,
    SUSPICION,
    TRUST,
)


class Heartbeat:
    """``asked`` is when the first ping went out since the last pong, None while none is unanswered."""

    __slots__ = ("_sent", "asked")

    def __init__(self, now: int) -> None:
        self._sent = now
        self.asked: int | None = None

    def ping(self, now: int) -> None:
        """A ping goes out."""
        self._sent = now
        if self.asked is None:
            self.asked = now

    def pong(self, sent: int | None = None) -> None:
        """The path answered, or another one is in use, over which a ping was ``sent`` last."""
        self.asked = None
        self._sent = sent or self._sent

    def due(self, best: Candidate, activity: Activity, now: int) -> bool:
        """Whether to ping now."""
        if self.asked is not None:
            return now - self._sent >= AGAIN
        unanswered = now - activity.unanswered if activity.unanswered else 0
        if min(unanswered, _since_pong(best, now)) >= _suspicion(best):
            return True
        return now - self._sent >= (BUSY_HEARTBEAT if _busy(activity, now) else HEARTBEAT)

    def late(self, best: Candidate, activity: Activity, now: int) -> bool:
        """Whether a pong takes longer than it should; where packets come meanwhile, one ping may get lost."""
        if self.asked is None:
            return False
        alive = activity.heard > self.asked and activity.over == best.path
        return now - self.asked >= _grace(best) + (AGAIN if alive else 0)

    def lost(self, best: Candidate, activity: Activity, now: int) -> bool:
        """Whether no pong comes any more."""
        if self.asked is None or now - self.asked < LOST + 2 * (best.latency or 0):
            return False
        return _busy(activity, now) or _since_pong(best, now, self.asked) >= TRUST

    def next_look(self, best: Candidate, activity: Activity, now: int) -> int:
        """When to ask again: in time for a late pong, and for what an unanswered packet may call for."""
        moments = [now + POLL]
        if self.asked is not None:
            moments += [self.asked + _grace(best), self.asked + _grace(best) + AGAIN]
        if activity.unanswered:
            moments += [activity.unanswered + _suspicion(best), activity.unanswered + patience(best)]
        return min(moment for moment in moments if moment > now)


def _busy(activity: Activity, now: int) -> bool:
    """Whether data leaves."""
    return bool(activity.sent) and now - activity.sent < BUSY


def _since_pong(best: Candidate, now: int, asked: int | None = None) -> int:
    if best.answered is not None:
        return now - best.answered
    return TRUST if asked is None else now - asked


def _grace(best: Candidate) -> int:
    latency = best.latency or 0
    return max(GRACE, min(3 * latency, latency + LONGEST_GRACE))


def _suspicion(best: Candidate) -> int:
    return max(SUSPICION, 2 * (best.latency or 0))
