"""When a transport is to be started again: an engine that is told what happens to it.

failed          another is started after a pause of `FIRST`, which doubles up to `LONGEST`
raised          so often that it is in its callers' way (`MOST_RAISES` within `WINDOW`): as failed
ran `HEALTHY`   the pause begins at `FIRST` again, and what went wrong before is told no more
given up        what it left behind cannot be ended, and more of that would pile up: no other is started
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ghostwire.engine import SECOND
from ghostwire.node.transports.report import TransportState

FIRST: Final = SECOND
LONGEST: Final = 60 * SECOND
HEALTHY: Final = 60 * SECOND
MOST_RAISES: Final = 32
WINDOW: Final = 10 * SECOND


class Health:
    """Of one transport; due at once. Times in nanoseconds."""

    def __init__(self, now: int) -> None:
        self.state = TransportState.STARTING
        self.attempts = 0
        self._pause = FIRST
        self._due: int | None = now
        self._since = self._troubled = now
        self._trouble = ""
        self._raises: deque[int] = deque(maxlen=MOST_RAISES)

    @property
    def restarts(self) -> int:
        """The attempts after the first."""
        return max(0, self.attempts - 1)

    def deadline(self) -> int | None:
        """When the next attempt is due; None while one is under way, runs, or is never made."""
        return self._due

    def starting(self, now: int) -> None:
        """An attempt begins."""
        if self.state is not TransportState.RESTARTING:
            self.state = TransportState.STARTING
        self.attempts, self._due = self.attempts + 1, None
        self._since = now
        self._raises.clear()

    def started(self, now: int) -> None:
        """It runs."""
        self.state, self._since = TransportState.RUNNING, now

    def failed(self, reason: str, now: int) -> None:
        """It carries nothing, or could not be started."""
        ran = self.state is TransportState.RUNNING
        if ran and now - self._since >= HEALTHY:
            self._pause = FIRST
        self.state = TransportState.RESTARTING if ran else TransportState.FAILED
        self._due, self._pause = now + self._pause, min(LONGEST, 2 * self._pause)
        self.note(reason, now)

    def raised(self, what: str, now: int) -> bool:
        """A call of it raised something; whether that makes it fail."""
        self.note(what, now)
        self._raises.append(now)
        return len(self._raises) == MOST_RAISES and now - self._raises[0] <= WINDOW

    def give_up(self, reason: str, now: int) -> None:
        """No other may be started."""
        self.state, self._due = TransportState.FAILED, None
        self.note(reason, now)

    def trouble(self, now: int) -> str:
        """What went wrong last; empty once it has run well for long enough."""
        well = self.state is TransportState.RUNNING and now - max(self._since, self._troubled) >= HEALTHY
        return "" if well else self._trouble

    def note(self, trouble: str, now: int) -> None:
        """Something went wrong that costs no more than itself."""
        self._trouble, self._troubled = trouble, now
