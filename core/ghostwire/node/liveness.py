"""The engine that keeps a control session alive, and notices when the other side is gone.

sent nothing for KEEPALIVE        a Ping is due
heard nothing for IDLE_TIMEOUT    dead
`probe`                           a Ping is due now; dead unless something is heard within PROBE
"""

from __future__ import annotations

from ghostwire.engine import SECOND
from ghostwire.wire.messages import IDLE_TIMEOUT, KEEPALIVE, Ping

PROBE = 5 * SECOND
_KEEPALIVE, _IDLE = KEEPALIVE * SECOND, IDLE_TIMEOUT * SECOND


class Liveness:
    """When to ping and when to give up. ``dead`` says that the other side was silent for too long."""

    def __init__(self, now: int) -> None:
        self._sent = self._heard = now
        self._probe: int | None = None
        self._pings: list[Ping] = []
        self._number = 0
        self.dead = False

    def sent(self, now: int) -> None:
        """A message was sent."""
        self._sent = now

    def heard(self, now: int) -> None:
        """A message was received."""
        self._heard, self._probe = now, None

    def probe(self, now: int) -> None:
        """Something happened that may have cut the session off: find out soon."""
        if self._probe is None:
            self._probe = now + PROBE
        self._ping(now)

    def deadline(self) -> int | None:
        """When the next Ping is due, or the patience ends."""
        return None if self.dead else min(self._sent + _KEEPALIVE, self._patience())

    def advance(self, now: int) -> None:
        """Ping or give up, where it is time."""
        if now >= self._patience():
            self.dead = True
        elif now >= self._sent + _KEEPALIVE:
            self._ping(now)

    def drain(self) -> list[Ping]:
        """The Pings to send."""
        pings, self._pings = self._pings, []
        return pings

    def _patience(self) -> int:
        idle = self._heard + _IDLE
        return idle if self._probe is None else min(idle, self._probe)

    def _ping(self, now: int) -> None:
        self._sent = now
        self._number += 1
        self._pings.append(Ping(number=self._number))
