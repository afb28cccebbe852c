"""Which candidates are asked: those of a worse transport only once the better ones had their chance.

    a path is in use, or tested       those of its transport, and of better ones
    none is, or the one is in doubt   those of the best transport that has a candidate which is not barred; after
                                      `CHANCE`, which in a search is its third round, or a handshake in vain, all

So a worse transport's dial costs nothing where a better one works, and waits for nothing where that is filtered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ghostwire.engine import SECOND
from ghostwire.node.paths.candidate import Candidate
from ghostwire.node.paths.known import Known
from ghostwire.node.paths.timing import LOOK, UPGRADE

CHANCE: Final = SECOND
"""So long the better ones are asked alone."""


class Stages:
    """``candidates`` are those of one peer."""

    __slots__ = ("_candidates", "_since")

    def __init__(self, candidates: Known, now: int) -> None:
        self._candidates, self._since = candidates, now

    def restart(self, now: int) -> None:
        """Nothing is known any more of what works: the better ones' chance begins."""
        self._since = now

    def spend(self, now: int) -> None:
        """The better ones had their chance: what they were asked to carry is unanswered."""
        self._since = now - CHANCE

    def asked(
        self, some: Iterable[Candidate], best: Candidate | None, guess: Candidate | None, now: int, *, sure: bool
    ) -> Iterator[Candidate]:
        """Of these candidates the ones whose turn it is. ``sure``: no other transport than that of ``best``, which is
        in use, is needed; the ``guess`` worked last."""
        worst = self._worst(best if sure else None, now)
        least = best.rank if best is not None else 0
        return (each for each in some if each.rank <= max(worst, least) or each is guess)

    def first(self, candidate: Candidate) -> bool:
        """Whether no candidate is of a better transport."""
        return candidate.rank == min((each.rank for each in self._candidates), default=candidate.rank)

    def others(self, best: Candidate, now: int) -> bool:
        """Whether there may be anything to use instead: what was seen to carry large pings, or another transport."""
        others = (each for each in self._candidates if each is not best and each.barred <= now)
        return any(each.carries or each.rank > best.rank for each in others)

    def better(self, best: Candidate) -> bool:
        """Whether candidates of a better transport are known."""
        return any(each.rank < best.rank for each in self._candidates)

    def next_look(self, best: Candidate, now: int) -> int:
        """When to look for a better one than that in use: soon where a better transport's bar lapses."""
        if not self.better(best):
            return now + LOOK
        lapses = [each.barred for each in self._candidates if each.rank < best.rank and each.barred > now]
        return min(now + UPGRADE, *lapses) if lapses else now + UPGRADE

    def _worst(self, sure: Candidate | None, now: int) -> int:
        """The worst rank whose turn it is."""
        if sure is not None:
            return sure.rank
        ranks = [each.rank for each in self._candidates]
        usable = [each.rank for each in self._candidates if each.barred <= now]
        return max(ranks, default=0) if now - self._since >= CHANCE or not usable else min(usable)
