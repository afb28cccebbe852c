"""The pings over the path in use: when the next is due, and what it means that one is not answered."""

from __future__ import annotations

from ghostwire import Activity
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.carriage import patience
from ghostwire.node.paths.timing import (
    AGAIN,
    BUSY,
    BUSY_HEARTBEAT,
    BUSY_POLL,
    GRACE,
    HEARTBEAT,
    LONGEST_GRACE,
    LOST,
    POLL,
    PROMPT,
    SUSPICION,
    TOGETHER,
    TRUST,
)


class Heartbeat:
    """``asked`` is when the first ping went out since the last pong, None while none is unanswered."""

    __slots__ = ("_sent", "_wary", "asked")

    def __init__(self, now: int) -> None:
        self._sent = now
        self._wary = False
        self.asked: int | None = None

    def ping(self, now: int, *, wary: bool = False) -> None:
        """A ping goes out; ``wary``: for the peer doubts the path, so that nothing but a pong speaks for it."""
        self._sent, self._wary = now, self._wary or wary
        if self.asked is None:
            self.asked = now

    def pong(self, sent: int | None = None) -> None:
        """The path answered, or another one is in use, over which a ping was ``sent`` last."""
        self.asked, self._wary = None, False
        self._sent = sent or self._sent

    def due(self, best: Candidate, activity: Activity, now: int) -> bool:
        """Whether to ping now."""
        return now >= self._next(best, activity)

    def late(self, best: Candidate, activity: Activity, now: int) -> bool:
        """Whether a pong takes longer than it should; where packets come meanwhile, one ping may get lost."""
        if self.asked is None:
            return False
        alive = activity.heard > self.asked and activity.over == best.path and not self._wary
        return now - self.asked >= _grace(best) + (AGAIN if alive else 0)

    def lost(self, best: Candidate, activity: Activity, now: int) -> bool:
        """Whether no pong comes any more."""
        if self.asked is None or now - self.asked < _last_hope(best):
            return False
        return _busy(activity, now) or _since_pong(best, now, self.asked) >= TRUST

    def next_look(self, best: Candidate, activity: Activity, now: int) -> int:
        """When to ask again: in time for a pong that is late or lost, and for data that waits for an answer."""
        poll = _together(now + (BUSY_POLL if now - activity.sent < BUSY_POLL else POLL))
        moments = [poll, self._next(best, activity)]
        if self.asked is not None:
            grace = _grace(best)
            moments += [self.asked + each for each in (grace, grace + AGAIN, _last_hope(best))]
        if _waits(activity):
            moments.append(activity.unanswered + patience(best))
        return min(moment for moment in moments if moment > now)

    def _next(self, best: Candidate, activity: Activity) -> int:
        """When to ping, as long as nothing else happens."""
        if self.asked is not None:
            return self._sent + AGAIN
        if not _waits(activity):
            return _together(self._sent + HEARTBEAT)
        if (best.answered or 0) < activity.unanswered:
            return activity.unanswered + _suspicion(best)
        return self._sent + max(BUSY_HEARTBEAT, _suspicion(best))


def _waits(activity: Activity) -> bool:
    """Whether unanswered data waits for an answer: it was no answer itself, or more was sent since."""
    since = activity.unanswered
    return bool(since) and max(activity.sent - since, since - activity.received) >= PROMPT


def _together(moment: int) -> int:
    """That moment or a little before, with others: each wake-up of the processor costs more than what is done in it."""
    return moment - moment % TOGETHER


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


def _last_hope(best: Candidate) -> int:
    return LOST + 2 * (best.latency or 0)


def _suspicion(best: Candidate) -> int:
    return max(SUSPICION, 2 * (best.latency or 0))
