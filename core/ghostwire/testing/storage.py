"""Storage in memory that keeps the capability's promises, with power cuts and backups on demand."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ghostwire.capabilities.storage import Backup, Change, Commit, Snapshot, Storage, Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, StateError
from ghostwire.model import RECORDS, Record
from ghostwire.testing.clock import SeededEntropy

T = TypeVar("T")
R = TypeVar("R", bound=Record)
MARK_BYTES = 8

_Place = tuple[type[Record], int]


@dataclass(slots=True)
class MemoryDatabase:
    """What would be on the disk: it outlives the `MemoryStorage` objects that open it, one at a time."""

    records: dict[_Place, Record] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    last_ids: dict[type[Record], int] = field(default_factory=dict)
    log: list[Commit] = field(default_factory=list)
    revision: int = 0
    locked: bool = False

    def backup(self) -> MemoryDatabase:
        """A copy to open later, as an operator restores an older backup."""
        held = copy.copy(self)
        held.records, held.settings = dict(self.records), dict(self.settings)
        held.last_ids, held.log, held.locked = dict(self.last_ids), list(self.log), False
        return held

    @property
    def oldest(self) -> int:
        """The first revision whose log rows are kept."""
        return self.log[0].revision if self.log else self.revision + 1


class MemoryStorage(Storage):
    """A `MemoryDatabase`, opened. Works that wait at the same time share a commit."""

    def __init__(self, database: MemoryDatabase | None = None, *, entropy: Entropy | None = None) -> None:
        self.database = database or MemoryDatabase()
        self._entropy = entropy or SeededEntropy("marks")
        self._committed: Callable[[Commit], None] | None = None
        self._waiting: list[tuple[Callable[[Transaction], Any], asyncio.Future[Any]]] = []

    async def open(self, committed: Callable[[Commit], None]) -> Snapshot:
        """Take the database; StateError where another storage has it."""
        database = self.database
        if database.locked:
            raise StateError("the database is in use by another server; stop that one first")
        database.locked, self._committed = True, committed
        records = sorted(database.records.items(), key=lambda item: (RECORDS.index(item[0][0]), item[0][1]))
        mark = database.log[-1].mark if database.log else b""
        return Snapshot(database.revision, mark, database.oldest, tuple(record for _, record in records))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` with all others that wait, in the loop's next pass."""
        self._check_open()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._commit)
        return await done

    async def log(self, after: int) -> Sequence[Commit] | None:
        """The commits after that revision."""
        database = self.database
        if not database.oldest - 1 <= after <= database.revision:
            return None
        return [commit for commit in database.log if commit.revision > after]

    async def mark(self, revision: int) -> bytes | None:
        """That revision's mark."""
        return next((commit.mark for commit in self.database.log if commit.revision == revision), None)

    async def compact(self, before: int) -> None:
        """Forget older log rows; the last commit's stay."""
        keep = min(before, self.database.revision)
        self.database.log = [commit for commit in self.database.log if commit.revision >= keep]

    async def backup(self) -> Backup:
        """Everything as of the last commit."""
        database = self.database
        if self._committed is None and database.locked:
            raise StateError("the database is in use by a server; stop that one first")
        records = tuple(database.records.values())
        return Backup(database.revision, records, dict(database.settings), dict(database.last_ids))

    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        """Fill an empty database; nothing is set aside."""
        database = self.database
        if database.locked:
            raise StateError("the database is in use by another server; stop that one first")
        if database.revision or database.records or database.settings:
            raise Conflict("the database is not empty; restore into an empty one")
        values = [(type(each), name, getattr(each, name)) for each in backup.records for name in each.unique]
        held = [value for value in values if value[2] is not None]
        if len(set(held)) < len(held):
            raise Conflict("two records of the backup hold the same unique value")
        database.records = {(type(record), record.id): record for record in backup.records}
        database.settings, database.last_ids = dict(backup.settings), dict(backup.last_ids)
        database.revision = backup.revision
        self._append({})
        return ""

    async def close(self) -> None:
        """Commit what waits and give the database free."""
        if self._committed is not None:
            self._commit()
            self.crash()

    def crash(self) -> None:
        """Lose power: what was not acknowledged is gone, and nobody is told; open the database anew to go on."""
        if self._committed is not None:
            self.database.locked, self._committed = False, None
        for _, done in self._waiting:
            done.cancel()
        self._waiting.clear()

    def _check_open(self) -> None:
        if self._committed is None:
            raise StateError("the storage is not open")

    def _commit(self) -> None:
        """One commit of all works that wait, told before any of them returns."""
        waiting, self._waiting = self._waiting, []
        if self._committed is None or not waiting:
            return
        changes: dict[_Place, Record | None] = {}
        outcomes = [(done, *self._attempt(work, changes)) for work, done in waiting]
        if changes:
            self._committed(self._append(changes))
        for done, result, error in outcomes:
            if not done.done():
                done.set_result(result) if error is None else done.set_exception(error)

    def _attempt(
        self, work: Callable[[Transaction], Any], changes: dict[_Place, Record | None]
    ) -> tuple[Any, Exception | None]:
        """Run one work; only one that succeeds leaves a trace."""
        transaction = MemoryTransaction(self.database)
        try:
            result = work(transaction)
        except Exception as error:
            return None, error
        transaction.keep()
        changes |= transaction.changes
        return result, None

    def _append(self, changes: dict[_Place, Record | None]) -> Commit:
        database = self.database
        database.revision += 1
        rows = tuple(Change(kind, id_, record) for (kind, id_), record in changes.items())
        commit = Commit(database.revision, self._entropy(MARK_BYTES), rows)
        database.log.append(commit)
        return commit


class MemoryTransaction:
    """What a work reads and writes: the database, and its own changes over it."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.changes: dict[_Place, Record | None] = {}
        self._database = database
        self._settings: dict[str, str] = {}
        self._last_ids: dict[type[Record], int] = {}

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""
        place = (kind, id_)
        return self.changes.get(place, self._database.records.get(place))  # type: ignore[return-value]

    def find(self, kind: type[R], **equal: Any) -> Sequence[R]:
        """Records with these values, by id."""
        fields = {"id", *kind.__struct_fields__}
        if unknown := equal.keys() - fields:
            raise AttributeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
        return [
            record for record in self._all(kind) if all(getattr(record, name) == value for name, value in equal.items())
        ]

    def new_id(self, kind: type[Record]) -> int:
        """The next id."""
        last = self._last_ids.get(kind, self._database.last_ids.get(kind, 0))
        self._last_ids[kind] = last + 1
        return last + 1

    def put(self, record: Record) -> None:
        """Insert or replace; Conflict names the field that another record holds."""
        kind = type(record)
        unique = [name for name in kind.unique if getattr(record, name) is not None]
        for other in self._all(kind):
            for name in unique:
                if other.id != record.id and getattr(other, name) == getattr(record, name):
                    raise Conflict(f"{kind.__name__} {other.id} has the same {name.replace('_', ' ')}")
        self.changes[kind, record.id] = record

    def delete(self, kind: type[Record], id_: int) -> None:
        """Remove."""
        if self.get(kind, id_) is not None:
            self.changes[kind, id_] = None

    def setting(self, name: str) -> str | None:
        """A named value."""
        return self._settings.get(name, self._database.settings.get(name))

    def set_setting(self, name: str, value: str) -> None:
        """Store a named value."""
        self._settings[name] = value

    def keep(self) -> None:
        """Make the changes part of the database."""
        for place, record in self.changes.items():
            if record is None:
                self._database.records.pop(place, None)
            else:
                self._database.records[place] = record
        self._database.settings |= self._settings
        self._database.last_ids |= self._last_ids

    def _all(self, kind: type[R]) -> list[R]:
        merged = {**self._database.records, **self.changes}
        found = [record for (of, _), record in merged.items() if of is kind and record is not None]
        return sorted(found, key=lambda record: record.id)  # type: ignore[arg-type]
