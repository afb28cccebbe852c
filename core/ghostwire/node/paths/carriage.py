"""Whether a path that answers pings carries packets, too: some middleboxes know WireGuard and drop it.

    data unanswered, though pongs come    a handshake over that path alone, and once more; unanswered, it fails
    it was completed                      a probation: packets go over the relay (or the worse transport used before)
                                          as well, and which way the peer's data comes back decides, since even
                                          handshakes may pass where data does not
    the peer's packets come by the relay  a probation as well, and then a handshake

One-way traffic, which nothing answers, looks the same at first: its path passes, and is tested ever more rarely. A last
packet that waits for no answer, such as an answer itself or an acknowledgement, is no reason for a test.
"""

from __future__ import annotations

from ghostwire import Activity, Path
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.timing import (
    AGAIN,
    BACKED,
    BUSY,
    CARRIAGE,
    INSISTENCE,
    LONGEST_TEST_GAP,
    RELAPSE,
    TEST_GAP,
)


class Carriage:
    """The tests of one peer's paths, one at a time."""

    __slots__ = (
        "_begun",
        "_doubted",
        "_gap",
        "_helped",
        "_next",
        "_patience",
        "_repeat",
        "_since",
        "_tested",
        "_until",
        "testing",
    )

    def __init__(self, now: int) -> None:
        self.testing: Candidate | None = None
        """The candidate over which a handshake is under way."""
        self._until = 0
        self._repeat: int | None = None
        self._since: int | None = None
        self._tested = False
        self._patience = CARRIAGE
        self._helped: int | None = None
        self._begun, self._next, self._gap = now - TEST_GAP, now, TEST_GAP
        self._doubted = now

    @property
    def undecided(self) -> bool:
        """Whether a test or a probation is under way."""
        return self.testing is not None or self._since is not None

    def ready(self, now: int) -> bool:
        """Whether a test may begin."""
        return self.testing is None and now >= self._next

    def begin(self, candidate: Candidate, now: int) -> None:
        """A handshake goes out over this candidate."""
        self._patience = patience(candidate)
        self.testing, self._until, self._since = candidate, now + self._patience, None
        near = candidate.latency is not None and candidate.latency < AGAIN // 2
        self._repeat = now + AGAIN if near else None
        self._gap = TEST_GAP if now - self._next >= LONGEST_TEST_GAP else self._gap
        self._begun, self._next = now, now + self._gap
        self._gap = min(LONGEST_TEST_GAP, 2 * self._gap)

    def passed(self, candidate: Candidate | None) -> bool:
        """A handshake was completed over this candidate: whether that was the one under way."""
        if candidate is None or candidate is not self.testing:
            return False
        self.testing = None
        return True

    def repeat(self, now: int) -> Candidate | None:
        """The candidate whose handshake may have got lost and goes out once more."""
        if self.testing is None or self._repeat is None or now < self._repeat:
            return None
        self._repeat = None
        return self.testing

    def failed(self, now: int) -> Candidate | None:
        """The candidate whose handshake is unanswered for too long."""
        if self.testing is None or now < self._until:
            return None
        failed, self.testing = self.testing, None
        return failed

    def go_on(self, candidate: Candidate, now: int) -> None:
        """The test that failed was no fair one: await its answer further."""
        self.testing, self._until = candidate, now + CARRIAGE

    def watch(self, now: int, *, tested: bool, backed: bool = False) -> None:
        """A probation begins; whether after a handshake that was completed, and whether a path that is trusted carries
        packets meanwhile: then the peer has time to find out, too, what this one carries."""
        self._since, self._tested = now, tested
        self._patience += BACKED if backed else 0

    def decided(self, activity: Activity, now: int) -> bool:
        """Whether a probation is over: data was sent since it began, and had time to be answered, or came all the
        while."""
        if self._since is None or now - self._since < self._patience or activity.sent <= self._since:
            return False
        if activity.received - self._since >= self._patience:
            return True
        return not activity.unanswered or now - max(activity.unanswered, self._since) >= self._patience

    def verdict(self, activity: Activity, now: int, path: Path) -> bool | None:
        """What a probation showed, which ends with it: whether the path carries data; None: it is to be tested."""
        since, self._since = self._since or 0, None
        self._helped = now if activity.received > since else None
        over = activity.over
        if activity.received <= since or over is None or over.transport == path.transport:
            return True
        if over.relayed and activity.direct > since:
            return True
        return False if self._tested else None

    def doubt(self, now: int) -> None:
        """Data insists on an answer."""
        self._doubted = now

    def carried(self, now: int) -> None:
        """Data comes back over the path in use: where it has done so for a while, the path is soon tested again."""
        if now - self._doubted >= BUSY:
            self._gap, self._next = TEST_GAP, min(self._next, self._begun + TEST_GAP)

    def relapsed(self, now: int) -> bool:
        """Whether data was answered as long as the relay helped, a moment ago: who drops one direction's data alone
        shows by this."""
        return self._helped is not None and now - self._helped < RELAPSE

    def another(self, now: int) -> None:
        """Another path is in use, to be tested as soon as there is reason."""
        self._gap, self._next, self._helped = TEST_GAP, now, None

    def stop(self) -> None:
        """What is under way shows nothing any more."""
        self.testing = self._since = None

    def deadline(self, now: int) -> int | None:
        """When a test or a probation may be over."""
        if self.testing is not None:
            return self._until if self._repeat is None else min(self._repeat, self._until)
        over = self._since + self._patience if self._since is not None else 0
        return over if over > now else None


def patience(candidate: Candidate) -> int:
    """How long data may stay unanswered, and a handshake."""
    return CARRIAGE + 2 * (candidate.latency or 0)


def unheard(candidate: Candidate, activity: Activity, now: int) -> bool:
    """Whether data waits for an answer for too long, though the path answered a ping meanwhile."""
    since = activity.unanswered
    insists = since and now - since >= patience(candidate) and activity.sent - since >= INSISTENCE
    return bool(insists) and (candidate.answered or 0) > since
