"""The candidates of one peer: bounded, those that nobody speaks of any more forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from ghostwire import Path
from ghostwire.node.paths.candidate import Candidate, Learned
from ghostwire.node.paths.points import address_points
from ghostwire.node.paths.timing import LATELY

MOST: Final = 64
"""The most candidates of one peer: what two nodes may tell of it, and what was seen."""

_WORTH: Final = {Learned.PING: 0, Learned.TUNNEL: 0, Learned.SERVER: 2}


class Known:
    """``rank`` gives a transport's rank by name."""

    __slots__ = ("_candidates", "_rank")

    def __init__(self, rank: Callable[[str], int]) -> None:
        self._rank = rank
        self._candidates: dict[Path, Candidate] = {}

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates.values())

    def get(self, path: Path | None) -> Candidate | None:
        """The candidate with this path."""
        return self._candidates.get(path) if path is not None else None

    def lack(self, paths: Iterable[Path]) -> bool:
        """Whether any of these is none of the candidates."""
        return any(path not in self._candidates for path in paths)

    def lost(self, now: int) -> bool:
        """Whether a way answered of late, which may come back."""
        return any(each.answered is not None and now - each.answered < LATELY for each in self)

    def add(self, path: Path, learned: Learned, now: int) -> Candidate:
        """The candidate with this path, new or not, of which somebody speaks now."""
        found = self._candidates.get(path)
        if found is None:
            self._make_room(now)
            bonus = address_points(path.endpoint)
            found = self._candidates[path] = Candidate(path, self._rank(path.transport), bonus, learned, now)
        elif learned is Learned.SERVER:
            found.learned = learned
        found.heard_of = now
        return found

    def advertise(self, paths: Iterable[Path], now: int) -> Sequence[Candidate]:
        """The server names these, and no others any more; the new ones."""
        wanted = dict.fromkeys(paths)
        for each in self._candidates.values():
            if each.learned is Learned.SERVER and each.path not in wanted:
                each.learned = Learned.CACHE
        new = [path for path in wanted if path not in self._candidates]
        for path in wanted:
            self.add(path, Learned.SERVER, now)
        return [each for each in map(self.get, new) if each is not None]

    def prune(self, now: int) -> None:
        """Drop what is forgotten."""
        self._candidates = {path: each for path, each in self._candidates.items() if not each.forgotten(now)}

    def _make_room(self, now: int) -> None:
        """Of those that never answered the ones that were merely seen go first, since any address can be forged, and
        advertised ones last; a quarter at a time, so that a flood of new ones costs little."""
        if len(self._candidates) < MOST:
            return
        self.prune(now)
        least_first = sorted(self._candidates.values(), key=_worth)
        for each in least_first[: len(least_first) - 3 * MOST // 4]:
            del self._candidates[each.path]


def _worth(candidate: Candidate) -> tuple[int, int, int]:
    return candidate.answered or 0, _WORTH.get(candidate.learned, 1), candidate.heard_of
