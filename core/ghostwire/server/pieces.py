"""The network map's objects, each encoded once per change, and ids in order of their last change."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, KeysView
from itertools import islice
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

    def among(self, ids: set[K], number: int) -> set[K]:
        """Those of these ids that changed after that number; costs no more than the fewer of them and of all that
        did."""
        latest = list(islice(self.since(number), len(ids)))
        if len(latest) < len(ids):
            return ids.intersection(latest)
        return {id_ for id_ in ids if self._last.get(id_, number) > number}

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

    def compact(self, number: int, alive: Container[K]) -> None:
        """Forget those of `up_to` that are not alive."""
        for id_ in self.up_to(number):
            if id_ not in alive:
                self.forget(id_)

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

    def __contains__(self, id_: object) -> bool:
        return id_ in self._held

    def __getitem__(self, id_: int) -> msgspec.Raw:
        return self._held[id_]

    def ids(self) -> KeysView[int]:
        """Of all that are seen."""
        return self._held.keys()
