"""Whether a router still passes packets on: judged by what its tunnel answers, not by what anybody says of it.

    state       event                                             next        what is done
    ----------  ------------------------------------------------  ----------  -----------------------------------
    works       data unanswered for `PATIENCE`, and no pong for   works       ask: a handshake, again every `AGAIN`
                as long; or for `CARRIAGE`, though pongs come
                asked, and nothing authentic for `VERDICT`        dead        its prefixes go to another router
    dead        `RETRY` passed, ever longer, or a pong came       dead        ask
                an answer                                         recovering
    recovering  every `CHECK`                                     recovering  ask
                nothing authentic for `VERDICT`                   dead
                the hold passed                                   works       its prefixes come back to it

A pong shows that the router's program runs and is reached, a handshake that its tunnel is. Data that nothing answers
for 10 s is a matter of course (WireGuard itself answers it then), so silence alone decides nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from ghostwire.engine import MILLISECOND, SECOND

POLL, WAITING_POLL = SECOND, 500 * MILLISECOND
"""Time between two looks at a router that data goes to: in general, and while some waits for an answer."""
PATIENCE: Final = 2_500 * MILLISECOND
CARRIAGE, CARRIAGE_GAP = 5 * SECOND, 15 * SECOND
"""The same where pongs come, and how long a handshake that was answered speaks for the router then."""
AGAIN: Final = 800 * MILLISECOND
VERDICT: Final = 2_400 * MILLISECOND
"""All in all under six seconds, before a TCP stream's sender waits for twice as long until he tries again."""
RETRY, LONGEST_RETRY = 5 * SECOND, 60 * SECOND
CHECK: Final = 10 * SECOND
HOLD, LONGEST_HOLD = 30 * SECOND, 600 * SECOND
"""How long a router has to be well until packets go back to it; it doubles where that did not last."""
RELAPSE: Final = 300 * SECOND


class Level(IntEnum):
    """How fit a router is; a lower one goes first."""

    WORKS = 0
    RECOVERING = 1
    DEAD = 2
    DOWN = 3


class Signs(NamedTuple):
    """What is to be seen of a peer; nanoseconds of the clock, 0 for never.

    ``unanswered`` as in `Activity`; ``heard`` is when anything authentic last came through the tunnel, ``ponged`` when
    a ping was last answered. ``asleep``: no data moves, and it will be told when some does.
    """

    asleep: bool = True
    unanswered: int = 0
    heard: int = 0
    ponged: int = 0


class Hold:
    """How long to wait before going back to what failed: ever longer where it fails again soon."""

    def __init__(self) -> None:
        self._length = HOLD
        self._returned: int | None = None

    def failed(self, now: int) -> None:
        """It failed."""
        relapsed = self._returned is not None and now - self._returned < RELAPSE
        if self._returned is not None:
            self._length = min(2 * self._length, LONGEST_HOLD) if relapsed else HOLD
        self._returned = None

    def until(self, now: int) -> int:
        """It is well again from now on: until when to wait."""
        self._returned = now + self._length
        return self._returned


class Health:
    """One router's engine; ``due`` is when `advance` is to be called, None for when its data moves again."""

    def __init__(self, now: int) -> None:
        self.level = Level.WORKS
        self.since = now
        self.due: int | None = now
        self._hold = Hold()
        self._ready = self._next = self._vouched = 0
        self._retry = RETRY
        self._asked: int | None = None
        self._attempts = 0

    def awake(self, now: int) -> None:
        """Its data moves again."""
        self.due = now + POLL if self.due is None else min(self.due, now + POLL)

    def advance(self, signs: Signs, now: int) -> int | None:
        """Do what is due; where the router is to be asked, how often it was asked before in this matter."""
        if self.level is Level.RECOVERING and self._asked is None and now >= self._ready:
            self._become(Level.WORKS, now)
            self._retry = RETRY
        if self._asked is None and self._doubtful(signs, now):
            self._asked, self._attempts = now, 0
        elif self._asked is not None and signs.heard > self._asked:
            self._answered(now)
        elif self._asked is not None and now - self._asked >= VERDICT:
            self._fail(now)
        if self._asked is None:
            self._plan(signs, now)
            return None
        self._attempts += 1
        self.due = min(now + AGAIN, self._asked + VERDICT)
        return self._attempts - 1

    def _doubtful(self, signs: Signs, now: int) -> bool:
        """Whether to ask."""
        if self.level is Level.DEAD:
            ponged = signs.ponged > self.since and now >= self._vouched + RETRY
            return now >= self._next or ponged
        if self.level is Level.RECOVERING:
            return now >= self._next
        quiet = now - max(signs.unanswered, signs.heard)
        if not signs.unanswered or quiet < PATIENCE:
            return False
        carries = quiet < CARRIAGE or now - self._vouched < CARRIAGE_GAP
        return not carries or now - signs.ponged >= PATIENCE

    def _answered(self, now: int) -> None:
        self._asked, self._vouched = None, now
        if self.level is Level.DEAD:
            self._become(Level.RECOVERING, now)
            self._ready = self._hold.until(now)
        self._next = now + CHECK

    def _fail(self, now: int) -> None:
        self._asked, self._vouched = None, now
        if self.level is Level.WORKS:
            self._hold.failed(now)
        self._become(Level.DEAD, now)
        self._next = now + self._retry
        self._retry = min(2 * self._retry, LONGEST_RETRY)

    def _become(self, level: Level, now: int) -> None:
        if level is not self.level:
            self.level, self.since = level, now

    def _plan(self, signs: Signs, now: int) -> None:
        look = None if signs.asleep else now + (WAITING_POLL if signs.unanswered else POLL)
        if self.level is Level.WORKS:
            self.due = look
        elif self.level is Level.DEAD:
            self.due = self._next if look is None else min(self._next, look)
        else:
            self.due = min(self._next, self._ready)
