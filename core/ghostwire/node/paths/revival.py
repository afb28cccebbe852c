"""When to begin a handshake with a peer that is reached over the relay alone: one that restarted has lost its session.

    data unanswered for `FORGOTTEN`, and more sent since    a handshake over the relay, and another whenever the silence
                                                            has doubled, until they are `LONGEST_TEST_GAP` apart
    data came since the last one                            the same from the start, but `TEST_GAP` after that at least

So a peer's absence is felt for no more than twice as long; the tunnel by itself waits for 15 s. Who was never heard is
none of this: the tunnel repeats a first handshake. One-way traffic, which nothing answers, looks the same at first.
"""

from __future__ import annotations

from typing import Final

from ghostwire import Activity
from ghostwire.engine import SECOND
from ghostwire.node.paths.timing import INSISTENCE, LONGEST_TEST_GAP, TEST_GAP

FORGOTTEN: Final = 2 * SECOND
"""Data unanswered for this long makes a handshake; also the time between two looks."""


class Revival:
    """The handshakes with one peer."""

    __slots__ = ("_begun", "_gap")

    def __init__(self) -> None:
        self._begun = self._gap = 0

    def due(self, activity: Activity, now: int) -> bool:
        """Whether one is to begin now, which then counts as begun."""
        answered = activity.received > self._begun
        if now - self._begun < (TEST_GAP if answered else self._gap) or not _insists(activity, now):
            return False
        self._gap = FORGOTTEN if answered else min(LONGEST_TEST_GAP, max(FORGOTTEN, 2 * self._gap))
        self._begun = now
        return True

    def next_look(self, activity: Activity, now: int) -> int:
        """When to ask again: at moments that all peers have in common, since each wake-up costs, and in time."""
        moments = [now - now % FORGOTTEN + FORGOTTEN]
        if activity.unanswered:
            moments += [activity.unanswered + FORGOTTEN, self._begun + self._gap]
        return min(moment for moment in moments if moment > now)


def _insists(activity: Activity, now: int) -> bool:
    """Whether data waits for an answer, since a last packet that needs none looks the same."""
    since = activity.unanswered
    return bool(since and activity.heard) and now - since >= FORGOTTEN and activity.sent - since >= INSISTENCE
