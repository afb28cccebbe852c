"""What every database does alike: read whole, run works on the memory, store what they changed, tell its log.

Everything here blocks and belongs to the writer's thread. How a database is opened and shared is its subclass's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from ghostwire.capabilities.storage import Backup, Change, Commit, Snapshot
from ghostwire.engine import Entropy
from ghostwire.model import Record, pack, unpacker
from ghostwire_storage_sql.backup import taken
from ghostwire_storage_sql.memory import Memory, Place
from ghostwire_storage_sql.statements import REVISION, Statements, in_bulk
from ghostwire_storage_sql.tables import BY_NAME, MAPPED

MARK_BYTES = 8

Changes = Mapping[Place, Record | None]
Work = Callable[[Memory], Any]
Read = Callable[["Database"], Any]
Outcome = tuple[Any, Exception | None]

_decoders = {name: unpacker(mapped.kind) for name, mapped in BY_NAME.items()}


class Database(ABC):
    """``where`` names it in errors, without a password; ``place`` is the same for all that are this database;
    ``entropy`` makes the marks.

    ``cursor`` is the driver's, outside any transaction but within `commit`. `memory` holds what is committed up to
    `revision`, whose mark is `newest`.
    """

    where: str
    place: str
    cursor: Any = None
    memory: Memory
    revision = 0
    newest = b""

    def __init__(self, dialect: sa.Dialect, entropy: Entropy) -> None:
        self.entropy, self.sql = entropy, Statements(dialect)

    @abstractmethod
    def open(self, *, existing: bool = False) -> Snapshot:
        """Connect, migrate and read; StateError in one line where any of it can't be done, or where it is to be
        ``existing`` and nothing was ever made there."""

    @abstractmethod
    def close(self) -> None:
        """Give back what `open` took; harmless when called twice."""

    def commit(self, works: Sequence[Work]) -> tuple[list[Commit], list[Outcome]]:
        """Run the works and commit those that did not raise; all fail where storing them does.

        The commits are those of other servers that came before, and then this one's.
        """
        try:
            commits = self._begin()
        except Exception as error:
            return [], [(None, self.told(error))] * len(works)
        outcomes = [self._run(work) for work in works]
        try:
            self._keep(commits)
        except Exception as error:
            return commits, [(None, self.told(error))] * len(works)
        return commits, outcomes

    def follow(self) -> list[Commit]:
        """Other servers' commits that were not told yet, now applied to the memory."""
        return []

    def read(self, read: Read) -> Outcome:
        """Run a read; its result, or why there is none."""
        try:
            return read(self), None
        except Exception as error:
            return None, self.told(error)

    def log(self, after: int) -> list[Commit] | None:
        """The commits after that revision up to ours; None where they are no longer all kept."""
        if not self.oldest() - 1 <= after <= self.revision:
            return None
        return [commit for commit in self.logged(after) if commit.revision <= self.revision]

    def logged(self, after: int) -> list[Commit]:
        """All that the log has after that revision. Kinds that a newer version added are left out."""
        found: dict[int, tuple[bytes, list[Change]]] = {}
        for revision, mark, name, id_, blob in self.cursor.execute(self.sql.read_log, (after,)).fetchall():
            changes = found.setdefault(revision, (mark, []))[1]
            if name in BY_NAME:
                record = _decoders[name].decode(blob) if blob is not None else None
                changes.append(Change(BY_NAME[name].kind, id_, record))
        return [Commit(revision, mark, tuple(changes)) for revision, (mark, changes) in found.items()]

    def mark(self, revision: int) -> bytes | None:
        """The mark of that revision, or None where it is not kept."""
        row = self.cursor.execute(self.sql.mark, (revision,)).fetchone()
        return row[0] if row else None

    def compact(self, before: int) -> None:
        """Forget log rows before that revision; the newest revision's always stay."""
        self.cursor.execute(self.sql.compact, (min(before, self.revision),))

    def claim(self) -> None:
        """Have it alone until it is closed; StateError where others have it open."""
        return

    def backup(self) -> Backup:
        """Everything as of the last commit."""
        return taken(self.memory, self.revision)

    @abstractmethod
    def restore(self, backup: Backup, *, replace: bool) -> str:
        """Of a database that is not open: fill it, or one in its place; where the old one is now."""

    def oldest(self) -> int:
        """The first revision that the log still has."""
        oldest: int | None = self.cursor.execute(self.sql.oldest).fetchone()[0]
        return self.revision + 1 if oldest is None else oldest

    def snapshot(self) -> Snapshot:
        """Read everything, and hold it as the memory."""
        records = self.stored_records()
        counters, settings = self.stored_counters(), self.stored_settings()
        self.revision = counters.pop(REVISION)
        self.memory, self.newest = Memory(records, settings, counters), self.mark(self.revision) or b""
        return Snapshot(self.revision, self.newest, self.oldest(), tuple(records))

    def stored_records(self) -> list[Record]:
        """All records, by kind and then by id."""
        return [
            mapped.record(row)
            for kind, mapped in MAPPED.items()
            for row in self.cursor.execute(self.sql.all[kind]).fetchall()
        ]

    def stored_counters(self) -> dict[str, int]:
        """The last revision, and the last id of each kind by its table's name."""
        return dict(self.cursor.execute(self.sql.counters).fetchall())

    def stored_settings(self) -> dict[str, str]:
        """All settings."""
        return dict(self.cursor.execute(self.sql.settings).fetchall())

    def store(self, changes: Changes, settings: Mapping[str, str], counters: Mapping[str, int]) -> None:
        """Write rows, within a transaction. Old ones go before new ones come, so that a unique value may pass over."""
        for kind, mapped in MAPPED.items():
            changed = {id_: record for (of, id_), record in changes.items() if of is kind}
            self._execute(self.sql.delete[kind], [(id_,) for id_ in changed])
            rows = [mapped.row(record) for record in changed.values() if record is not None]
            self._execute(self.sql.insert[kind], rows)
        self._put(self.sql.put_setting, settings.items())
        self._put(self.sql.put_counter, counters.items())

    def add_log(self, commit: Commit) -> None:
        """Write a commit's rows to the log."""
        rows = [
            (commit.revision, position, commit.mark, MAPPED[of.kind].name, of.id, of.record and pack(of.record))
            for position, of in enumerate(commit.changes)
        ]
        self._execute(self.sql.add_log, rows)

    def next_commit(self, changes: Changes) -> Commit:
        """These changes as the revision after ours."""
        listed = tuple(Change(kind, id_, record) for (kind, id_), record in changes.items())
        return Commit(self.revision + 1, self.entropy(MARK_BYTES), listed)

    @abstractmethod
    def told(self, error: Exception) -> Exception:
        """The error as its caller gets it: the database's own in one line for people."""

    @abstractmethod
    def _begin(self) -> list[Commit]:
        """Before works run: make sure that the memory is the newest state; what came to it meanwhile."""

    @abstractmethod
    def _storing(self, commit: Commit | None) -> AbstractContextManager[None]:
        """The transaction in which works are stored; all of it is durable at its end, or it raises."""

    @abstractmethod
    def _end(self) -> None:
        """After works ran, of which nothing was stored: end what `_begin` began."""

    def _run(self, work: Work) -> Outcome:
        before = len(self.memory.journal)
        try:
            return work(self.memory), None
        except Exception as error:
            self.memory.undo(before)
            return None, error

    def _keep(self, commits: list[Commit]) -> None:
        """Store what the works changed and add its commit; undo it in memory where that fails."""
        memory = self.memory
        try:
            if memory.journal or memory.changed_counters:
                self._store(commits)
            else:
                self._end()
        except Exception:
            memory.undo()
            self._end()
            raise
        finally:
            memory.settle()

    def _store(self, commits: list[Commit]) -> None:
        memory, counters = self.memory, dict(self.memory.changed_counters)
        commit = self.next_commit(memory.changes) if memory.changes else None
        if commit is not None:
            counters[REVISION] = commit.revision
        with self._storing(commit):
            self.store(memory.changes, memory.changed_settings, counters)
            if commit is not None:
                self.add_log(commit)
        if commit is not None:
            self.revision, self.newest = commit.revision, commit.mark
            commits.append(commit)

    def _execute(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        for text, values in in_bulk(statement, rows):
            self.cursor.execute(text, values)

    def _put(self, statement: str, items: Iterable[tuple[str, Any]]) -> None:
        for item in items:
            self.cursor.execute(statement, item)
