"""Storage keeps the server's records and its change log; everything else is list + watch.

Each commit has one revision, dense and in commit order, and one random mark. The rows a commit wrote to the log
say which records changed under which revision.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from ghostwire.model import Record

T = TypeVar("T")
R = TypeVar("R", bound="Record")


class Change(msgspec.Struct, frozen=True):
    """One log row: the record of this ``kind`` and ``id`` was written (``record``) or deleted (``record`` None)."""

    kind: type[Record]
    id: int
    record: Record | None


class Commit(msgspec.Struct, frozen=True):
    """All changes of one revision."""

    revision: int
    mark: bytes
    changes: tuple[Change, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """Every record at one revision; ``oldest`` is the first revision whose log rows are still kept."""

    revision: int
    mark: bytes
    oldest: int
    records: tuple[Record, ...]


class Transaction(Protocol):
    """Reads and writes inside one commit; used only within the function given to `Storage.write`."""

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""

    def find(self, kind: type[R], **equal: Any) -> Sequence[R]:
        """Records whose fields have these values (an indexed lookup where the field is unique)."""

    def new_id(self, kind: type[Record]) -> int:
        """An id for this kind that no record had or will have."""

    def put(self, record: Record) -> None:
        """Insert or replace; Conflict where another record holds a unique value (None is no value)."""

    def delete(self, kind: type[Record], id_: int) -> None:
        """Remove; harmless where there is none."""

    def setting(self, name: str) -> str | None:
        """A named value of the whole mesh (the IPv6 prefix, say)."""

    def set_setting(self, name: str, value: str) -> None:
        """Store a named value."""


class Storage(ABC):
    """A durable store with one writer at a time."""

    @abstractmethod
    async def open(self, committed: Callable[[Commit], None]) -> Snapshot:
        """Migrate, take the lock, and read everything. ``committed`` is called on the loop for each later commit,
        in order of revisions, before the `write` that made it returns. StateError where it cannot be used."""

    @abstractmethod
    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` in a transaction; durable when it returns. Many waiting ones share a commit, yet one that
        raises undoes only itself. ``work`` runs outside the loop's thread and must not touch the loop's objects."""

    @abstractmethod
    async def log(self, after: int) -> Sequence[Commit] | None:
        """The commits after that revision, or None where they are no longer all kept."""

    @abstractmethod
    async def mark(self, revision: int) -> bytes | None:
        """The random mark of that revision, or None where it is not kept."""

    @abstractmethod
    async def compact(self, before: int) -> None:
        """Forget log rows of revisions before that one."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun; harmless when called twice."""
