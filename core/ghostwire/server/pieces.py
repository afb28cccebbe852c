"""The network map's objects, each encoded once per change, and which of them changed since when."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from ghostwire.model import pack

K = TypeVar("K", bound=Hashable)


class Recency(Generic[K]):
    """Ids in order of their last change."""

    def __init__(self) -> None:
        self._last: dict[K, int] = {}

    def touch(self, id_: K, number: int) -> None:
        """This id changed under this number, which is not below any before."""
        self._last.pop(id_, None)
        self._last[id_] = number

    def since(self, number: int) -> Iterator[K]:
        """Ids that changed after that number, the latest first."""
        for id_, changed in reversed(self._last.items()):
            if changed <= number:
                return
            yield id_

    def forget(self, id_: K) -> None:
        """It need not be told any more."""
        self._last.pop(id_, None)

    def up_to(self, number: int) -> list[K]:
        """Ids that last changed at that number or before."""
        found = []
        for id_, changed in self._last.items():
            if changed > number:
                break
            found.append(id_)
        return found

    def trim(self, most: int) -> int:
        """Forget the oldest but for ``most``; the number of the last forgotten, 0 for none."""
        forgotten = 0
        while len(self._last) > most:
            forgotten = self._last.pop(next(iter(self._last)))
        return forgotten


class Pieces:
    """The encoded objects of one kind, by id; those that viewers do not see are absent."""

    def __init__(self) -> None:
        self._held: dict[int, msgspec.Raw] = {}
        self.changed: Recency[int] = Recency()
        """By the revision of the commit."""

    def show(self, id_: int, seen: object) -> bool:
        """Viewers see this from now on; False where they did before."""
        content = pack(seen)
        held = self._held.get(id_)
        if held is not None and bytes(held) == content:
            return False
        self._held[id_] = msgspec.Raw(content)
        return True

    def hide(self, id_: int) -> bool:
        """Viewers see it no longer; False where they did not before."""
        return self._held.pop(id_, None) is not None

    def __contains__(self, id_: int) -> bool:
        return id_ in self._held

    def all(self) -> list[msgspec.Raw]:
        """All that is seen."""
        return list(self._held.values())

    def pick(self, ids: Iterable[int]) -> tuple[list[msgspec.Raw], list[int]]:
        """Those of these ids that are seen, and the ids of those that are not; by id."""
        ordered = sorted(ids)
        return [self._held[id_] for id_ in ordered if id_ in self._held], [i for i in ordered if i not in self._held]

    def compact(self, before: int) -> None:
        """Forget what went before that revision: who is older than that begins anew."""
        for id_ in self.changed.up_to(before - 1):
            if id_ not in self._held:
                self.changed.forget(id_)
