"""What relays see of this node, one answer a relay; the answers of one round are compared with each other.

A translator may map by destination: each relay then sees another port, and a new one whenever a mapping has timed out.
Peers have little use for these ports, so `steady` does not follow them while the address stays.

Some translators give all new flows of a port another outer one as long as one flow had to take that, since its own was
taken (Linux), while what relays see stays. Only peers see that; their word counts for ports of an address that relays
see, unless the mapping varies anyway.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ghostwire.engine import SECOND
from ghostwire.node.endpoints.advertised import IPV4, IPV6, host_of
from ghostwire.node.netcheck.round import Mapped
from ghostwire.wire.endpoint import format_endpoint

ROUND = 5 * SECOND
"""How far apart the answers of one round may be."""
MEMORY = 630 * SECOND
"""How long an answer counts that is not renewed: two full looks may be lost."""
MOST = 256
"""Answers remembered of each IP version."""
LATELY, FEW = 120 * SECOND, 2
"""How long what peers see counts, and of how many endpoints: a router keeps a flow that is answered for so long."""


@dataclass(slots=True)
class _Family:
    """The answers over one IP version: relay -> endpoint it saw, and when it said so; the oldest first."""

    answers: dict[str, tuple[str, int]]
    best: str = ""
    steady: str = ""
    varies: bool | None = None


class Observed:
    """Takes answers as they come."""

    def __init__(self) -> None:
        self._families = {version: _Family({}) for version in (IPV4, IPV6)}
        self._seen: dict[str, int] = {}

    @property
    def varies(self) -> bool | None:
        """Whether what IPv4 relays see differs by relay; None where too few have answered to tell."""
        return self._families[IPV4].varies

    def answered(self, relay: str, mapped: Mapped, now: int) -> bool:
        """A relay said so; whether that changed anything."""
        before = self.endpoints(), self.steady(), self.varies
        family = self._families[IPV6 if ":" in mapped[0] else IPV4]
        family.answers.pop(relay, None)
        family.answers[relay] = format_endpoint(*mapped), now
        _settle(family, now)
        for each in self._families.values():
            if each.answers and now - _newest(each) > MEMORY:
                each.answers.clear()
                each.best = each.steady = ""
        return (self.endpoints(), self.steady(), self.varies) != before

    def seen(self, endpoint: str, now: int) -> None:
        """A peer sees this node there."""
        if self._elsewhere(endpoint):
            self._seen.pop(endpoint, None)
            self._seen = dict([*self._seen.items(), (endpoint, now)][-FEW:])

    def lately(self, now: int) -> tuple[str, ...]:
        """Where peers, and no relays, have seen this node lately; the last first."""
        fresh = (text for text, at in self._seen.items() if now - at < LATELY)
        return tuple(text for text in fresh if self._elsewhere(text))[::-1]

    def _elsewhere(self, endpoint: str) -> bool:
        """Whether it is another port of an address that relays see."""
        if self.varies:
            return False
        best = [family.best for family in self._families.values()]
        return endpoint not in best and host_of(endpoint) in [host_of(text) for text in best if text]

    def forget(self) -> None:
        """This machine is elsewhere."""
        self._seen = {}
        self._families = {version: _Family({}) for version in (IPV4, IPV6)}

    def endpoints(self) -> tuple[str, ...]:
        """As last seen: the endpoint of each IP version that most relays see, then others that several see."""
        best = [family.best for family in self._families.values()]
        counts = Counter(text for family in self._families.values() for text, _ in family.answers.values())
        several = [text for text, count in counts.items() if count > 1]
        return tuple(dict.fromkeys(text for text in (*best, *several) if text))

    def steady(self) -> tuple[str, ...]:
        """The same without ports that come and go."""
        steady = [family.steady for family in self._families.values()]
        several = [text for text in self.endpoints() if text not in {each.best for each in self._families.values()}]
        return tuple(dict.fromkeys(text for text in (*steady, *several) if text))


def _settle(family: _Family, now: int) -> None:
    """Of all answers keep those of this round, and see what they say."""
    recent = {relay: each for relay, each in family.answers.items() if now - each[1] <= ROUND}
    family.answers = dict(list(recent.items())[-MOST:])
    counts = Counter(text for text, _ in family.answers.values())
    if len(family.answers) > 1:
        family.varies = len(counts) > 1
    if counts[family.best] < max(counts.values()):
        family.best = max(counts, key=lambda text: counts[text])
    if not (family.varies and family.steady and host_of(family.steady) == host_of(family.best)):
        family.steady = family.best


def _newest(family: _Family) -> int:
    return max(at for _, at in family.answers.values())
