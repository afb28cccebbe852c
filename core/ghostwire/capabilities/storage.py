"""Storage keeps the server's records and its change log; everything else is list + watch.

Each commit has one revision, dense and in commit order, and one random mark. The rows a commit wrote to the log
say which records changed under which revision. Several servers may share a database that allows it: each follows the
log, and they tell each other of what is no record through an `Exchange`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from ghostwire.errors import StateError

if TYPE_CHECKING:
    from ghostwire.model import Record

T = TypeVar("T")
R = TypeVar("R", bound="Record")

MAX_ENTRY = 16 * 1024
"""Bytes of one entry of an `Exchange`."""


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


class Backup(msgspec.Struct, frozen=True):
    """Everything but the log at one revision; ``last_ids`` are the last of each kind: none is given out again."""

    revision: int
    records: tuple[Record, ...]
    settings: Mapping[str, str]
    last_ids: Mapping[type[Record], int]


class Notice(msgspec.Struct, frozen=True):
    """What another server posted up to its ``counter``: ``entries`` by key (None: erased), all that it has if
    ``whole``. ``gone``: it ended, or was not heard of for too long; it may come back with a whole notice."""

    server: str
    counter: int
    entries: Mapping[str, bytes | None] = {}
    whole: bool = False
    gone: bool = False


class Exchange(ABC):
    """What the servers of one database tell each other that is no record: each posts entries under keys of its own, and
    hears of the others'. Its posts arrive in order, and of several under one key the last does, if not all."""

    @abstractmethod
    def join(self, server: str, heard: Callable[[Notice], None]) -> None:
        """Begin as this server (a random id per start). ``heard`` is called on the loop, first for what others have."""

    @abstractmethod
    def post(self, counter: int, entries: Mapping[str, bytes | None]) -> None:
        """Write or erase (None) entries, each of at most `MAX_ENTRY` bytes; never waits. ``counter`` grows with every
        post: it is this server's in the vector clock."""


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

    async def backup(self) -> Backup:
        """Everything as of one revision, while others write; of a storage that is not open, while nobody has it open.

        StateError where it is in use then, or where this storage makes none (the default).
        """
        raise StateError("this storage makes no backups; use its database's own tools")

    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        """Of a storage that is not open: fill its empty database, at a revision of its own after the backup's, whose
        mark is new. All of it is there afterwards or nothing.

        Conflict where the database is not empty; with ``replace`` it is set aside instead, and the answer says where it
        is now (empty: there was none). StateError where the database is in use, or can't be used (the default).
        """
        raise StateError("this storage restores no backups; use its database's own tools")

    @property
    def place(self) -> str:
        """Which database it is, open or not: the same for all storages that have the same one; empty where nobody can
        say (the default)."""
        return ""

    @property
    def exchange(self) -> Exchange | None:
        """Where the servers of this database meet, once it is open; None where one server alone can use it."""
        return None

    def follow(self, following: Callable[[bool], None]) -> None:
        """Call this on the loop with False when the database has been out of reach for 10 s, so that other servers'
        commits are not seen, and with True when it was caught up with; until then works are refused (Unavailable). A
        storage of one server never does."""
        return

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun; harmless when called twice."""
