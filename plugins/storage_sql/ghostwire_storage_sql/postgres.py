"""PostgreSQL, which several servers share: one counter row is locked by whoever writes, and the log tells the others.

Works run while the row is locked, on a memory that has caught up with the log: they see the newest state, run once, and
revisions are dense and in the order of commits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg as dialects

from ghostwire.capabilities.storage import Backup, Change, Commit, Snapshot
from ghostwire.engine import Entropy
from ghostwire.errors import StateError, Unavailable
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.backup import fill, kept
from ghostwire_storage_sql.database import MARK_BYTES, Outcome, Read
from ghostwire_storage_sql.follower import Follower
from ghostwire_storage_sql.link import LOCKS, Link, Target, explained, granted, looking
from ghostwire_storage_sql.sharing import Shared, SharedDatabase
from ghostwire_storage_sql.statements import REVISION
from ghostwire_storage_sql.writer import Writer

CHANNEL = "ghostwire_log"
"""Where each commit is told."""
PATIENCE = 10.0
"""Seconds out of reach after which nothing waits for the database any more."""
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between two attempts to reach it; the last one's for all further."""
MIGRATING = 600.0
"""Seconds that a migration may take."""
NEWEST_ONE = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresDatabase(SharedDatabase):
    """The database of ``target``; ``entropy`` makes the marks, and the ``name`` under which our commits are told."""

    def __init__(self, target: Target, entropy: Entropy) -> None:
        super().__init__(dialects.dialect(paramstyle="format"), entropy)  # type: ignore[no-untyped-call]
        self.target, self.where, self.place = target, target.where, target.where
        self.name = entropy(MARK_BYTES).hex()
        self._link: Link | None = None
        self._answered = time.monotonic()

    def open(self, *, existing: bool = False) -> Snapshot:
        """Migrate and read."""
        try:
            self._migrate(lambda connection: schema.prepare(connection, self.where, existing=existing))
            link = self._connected()
            with looking(link, NEWEST_ONE):
                snapshot = self.snapshot()
            self._answered = time.monotonic()
            return snapshot
        except Exception as error:
            self.close()
            raise self._unusable(error) from None

    def close(self) -> None:
        """Give the connection back."""
        if self._link is not None:
            self._link.close()
            self._link = self.cursor = None

    def claim(self) -> None:
        """Hold the lock that every server shares, so that none is there."""
        if not granted(self._connected(), "pg_try_advisory_lock"):
            raise StateError(f"{self.where}: a server uses it; stop it first")

    def backup(self) -> Backup:
        """Everything as of one moment, out of the database: others may have written what our memory lacks."""
        with looking(self._connected(), NEWEST_ONE):
            counters = self.stored_counters()
            return kept(self.stored_records(), self.stored_settings(), counters, counters.pop(REVISION))

    def restore(self, backup: Backup, *, replace: bool) -> str:
        """Fill the database, which must be empty: there is no place beside it where the old one could go."""
        try:
            self._migrate(lambda connection: fill(connection, backup, self.entropy, self.where), alone=True)
        except (psycopg.Error, sa.exc.DBAPIError) as error:
            raise self._unusable(error) from None
        return ""

    def share(self, writer: Writer, following: Callable[[bool], None], log: logging.Logger) -> Shared:
        """Follow the log, and meet the other servers."""
        from ghostwire_storage_sql.meeting import Meeting

        meeting = Meeting(self.target, self.name, writer.poke, log)
        return Shared(meeting, Follower(writer, meeting, following, self.where, log))

    def follow(self) -> list[Commit]:
        """What the log has that we have not; by way of the lock where the log can't tell."""
        self._connected()
        commits = self.logged(self.revision)
        if not self._is_next(commits):
            commits = self._lock()
            self._end()
        else:
            self._apply(commits)
        self._answered = time.monotonic()
        return commits

    def read(self, read: Read) -> Outcome:
        """Run a read, again if the connection turns out to be lost."""
        for last in (False, True):
            try:
                self._connected()
                return read(self), None
            except Exception as error:
                if last or not self._lost(error):
                    return None, self.told(error)
        raise AssertionError

    def told(self, error: Exception) -> Exception:
        """PostgreSQL's errors: Unavailable where it may go another time, else StateError."""
        if isinstance(error, psycopg.OperationalError) or self._lost(error):
            return Unavailable(f"{self.where}: {explained(error)}")
        return self._unusable(error)

    def _begin(self) -> list[Commit]:
        """Lock the counter row and catch up; while it is out of reach for less than our patience, again and again."""
        attempt = 0
        while True:
            try:
                return self._lock()
            except psycopg.Error as error:
                if not self._lost(error) and not isinstance(error, psycopg.OperationalError):
                    raise
                if not self._rest(attempt):
                    raise
                attempt += 1

    @contextmanager
    def _storing(self, commit: Commit | None) -> Iterator[None]:
        """Statement by statement: in a pipeline the database would not notice that we stopped while we hold the lock.
        Where the answer to COMMIT is lost, the mark tells whether it came through."""
        told = [f"NOTIFY {CHANNEL}, '{self.name}'"] if commit is not None else []
        try:
            yield
            _rows(self._connected(), *told, "COMMIT")
        except psycopg.Error as error:
            if not self._lost(error) or not self._came_through(commit):
                raise
        self._answered = time.monotonic()

    def _end(self) -> None:
        link = self._link
        if link is None or link.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return
        try:
            link.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def _connected(self) -> Link:
        if self._link is None or self._link.closed:
            self._link = self.target.link()
            self.cursor = self._link.cursor()
            try:
                self._check(self._link)
            except BaseException:
                self.close()  # the next use would take it for checked
                raise
        return self._link

    def _check(self, link: Link) -> None:
        if not granted(link, "pg_try_advisory_lock_shared"):
            raise StateError(f"{self.where}: a backup is being restored; try again when that is done")
        self._check_history()

    def _check_history(self) -> None:
        """That the database still has the newest revision that we have: neither a backup of it nor a standby that was
        behind may come in its place."""
        if not self.newest:
            return
        self._check_revision(self.stored_counters()[REVISION])  # first: another may commit our revision in between
        if self.mark(self.revision) not in (self.newest, None):  # None: compacted away
            self._refuse()

    def _check_revision(self, stored: int) -> None:
        if stored < self.revision:
            self._refuse()

    def _refuse(self) -> NoReturn:
        self.close()
        raise StateError(f"{self.where}: is no longer the database that was opened; restart this server")

    def _lost(self, error: BaseException) -> bool:
        """Whether it is the connection that failed; the next use makes a new one."""
        if self._link is not None and self._link.closed:
            self.close()
        return self._link is None and isinstance(error, psycopg.Error)

    def _lock(self) -> list[Commit]:
        """Begin a transaction that holds the counter row, and bring the memory to what is committed."""
        link = self._connected()
        try:
            return self._caught_up(link)
        except BaseException:
            self._end()  # else it stays open, maybe with the row: whoever asks now and then is never idle for long
            raise

    def _caught_up(self, link: Link) -> list[Commit]:
        held, settings = _rows(link, "BEGIN", self.sql.lock, self.sql.counters, self.sql.settings)[2:]
        revision = held.pop(REVISION)
        self._check_revision(revision)
        commits = self.logged(self.revision) if revision != self.revision else []
        if not self._is_next(commits) or revision != (commits[-1].revision if commits else self.revision):
            commits = [self._reload(revision)]
        self._apply(commits)
        self.memory.take(settings, held)
        self._answered = time.monotonic()
        return commits

    def _is_next(self, commits: Sequence[Commit]) -> bool:
        return not commits or commits[0].revision == self.revision + 1

    def _apply(self, commits: Sequence[Commit]) -> None:
        for commit in commits:
            self.memory.follow(commit.changes)
            self.revision, self.newest = commit.revision, commit.mark

    def _reload(self, revision: int) -> Commit:
        """All that is different from our memory, where the log was compacted past us, as one commit."""
        held = {(type(record), record.id): record for record in self.memory.records}
        stored = {(type(record), record.id): record for record in self.stored_records()}
        places = [place for place in {**held, **stored} if held.get(place) != stored.get(place)]
        changes = tuple(Change(kind, id_, stored.get((kind, id_))) for kind, id_ in places)
        return Commit(revision, self.mark(revision) or b"", changes)

    def _came_through(self, commit: Commit | None) -> bool:
        """Whether a commit is stored whose answer never came: certain once we hold the lock that it held."""
        if commit is None:
            return False
        attempt = 0
        while True:
            try:
                link = self._connected()
                with looking(link):
                    link.execute(self.sql.lock)
                    return self.mark(commit.revision) == commit.mark
            except psycopg.Error as error:
                self._lost(error)
                if not self._rest(attempt):
                    text = "no answer to COMMIT: it may be stored or not, the log will tell"
                    raise Unavailable(f"{self.where}: {text}") from error
                attempt += 1

    def _rest(self, attempt: int) -> bool:
        """Pause before the next attempt to reach the database; False, at once, where our patience would end in it."""
        pause = PAUSES[min(attempt, len(PAUSES) - 1)]
        if time.monotonic() + pause > self._answered + PATIENCE:
            return False
        time.sleep(pause)
        return True

    def _migrate(self, prepare: Any, *, alone: bool = False) -> None:
        """Run ``prepare`` with an SQLAlchemy connection in a transaction that one server at a time has."""
        options = {"creator": self._migrating_link, "poolclass": sa.pool.NullPool, "paramstyle": "format"}
        engine = sa.create_engine("postgresql+psycopg://", **options)
        with engine.begin() as connection:
            if alone and not connection.scalar(sa.text(f"SELECT pg_try_advisory_xact_lock({LOCKS}, 1)")):
                raise StateError(f"{self.where}: a server uses it; stop it first")
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCKS}, 2)"))
            prepare(connection)

    def _migrating_link(self) -> Link:
        link = self.target.link()
        self.target.check(link)
        link.patience = MIGRATING
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            link.execute(f"SET {name} = '{MIGRATING:.0f}s'")
        link.autocommit = False
        return link

    def _unusable(self, error: Exception) -> Exception:
        cause = getattr(error, "orig", None) or error
        return StateError(f"{self.where}: {explained(cause)}") if isinstance(cause, psycopg.Error) else error


def _rows(link: Link, *statements: str) -> list[dict[Any, Any]]:
    """Run statements without values in one message; the first two columns of each one's rows, as a dict."""
    cursor = link.execute("; ".join(statements))
    found = []
    for _ in statements:
        found.append(dict(row[:2] for row in cursor.fetchall() if len(row) > 1) if cursor.description else {})
        cursor.nextset()
    return found
