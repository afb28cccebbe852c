"""The storage's contract fails for storages that break one of its rules."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire import Change, Commit
from ghostwire.testing import MemoryDatabase, MemoryStorage, simulate
from ghostwire.testing.contracts import Contract, StorageContract
from ghostwire.testing.storage import MemoryTransaction

Verdicts = Callable[[Contract], dict[str, str]]


class Storages(StorageContract):
    run = staticmethod(simulate)
    kind: type[MemoryStorage] = MemoryStorage

    async def make(self) -> MemoryStorage:
        if not hasattr(self, "disk"):
            self.disk = MemoryDatabase()
        return self.kind(self.disk)


class _SkipsRevisions(MemoryStorage):
    def _append(self, changes: Any) -> Commit:
        self.database.revision += 1
        return super()._append(changes)


class _TellsLate(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        loop = asyncio.get_running_loop()
        return await super().open(lambda commit: loop.call_later(1, committed, commit) and None)


class _KeepsFailed(MemoryStorage):
    def _attempt(self, work: Any, changes: Any) -> Any:
        transaction = MemoryTransaction(self.database)
        try:
            return work(transaction), None
        except Exception as error:
            return None, error
        finally:
            transaction.keep()
            changes |= transaction.changes


class _FailsTogether(MemoryStorage):
    def _commit(self) -> None:
        waiting = list(self._waiting)
        try:
            for work, _ in waiting:
                work(MemoryTransaction(self.database))
        except Exception as error:
            self._waiting.clear()
            for _, done in waiting:
                done.set_exception(error)
        else:
            super()._commit()


class _SameMark(MemoryStorage):
    def _append(self, changes: Any) -> Commit:
        commit = super()._append(changes)
        self.database.log[-1] = Commit(commit.revision, b"markmark", commit.changes)
        return self.database.log[-1]


class _ForgetsAtClose(MemoryStorage):
    async def close(self) -> None:
        self.crash()


class _NeverLocks(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.locked = False
        return await super().open(committed)


class _ReusesIds(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.last_ids.clear()
        return await super().open(committed)


class _AllowsTwins(MemoryStorage):
    def _attempt(self, work: Any, changes: Any) -> Any:
        class Loose(MemoryTransaction):
            def put(self, record: Any) -> None:
                self.changes[type(record), record.id] = record

        transaction = Loose(self.database)
        result = work(transaction)
        transaction.keep()
        changes |= transaction.changes
        return result, None


class _LogOfKinds(MemoryStorage):
    async def log(self, after: int) -> Any:
        commits = await super().log(after)
        return commits and [
            Commit(c.revision, c.mark, tuple(Change(x.kind, x.id, None) for x in c.changes)) for c in commits
        ]


class _LogWithHoles(MemoryStorage):
    async def log(self, after: int) -> Any:
        return [commit for commit in self.database.log if commit.revision > after]


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (_SkipsRevisions, "test_revisions_are_dense_and_in_order_however_many_write_at_once"),
        (_TellsLate, "test_write_returns_what_the_work_returned_after_the_commit_was_told"),
        (_KeepsFailed, "test_a_work_that_raises_undoes_only_itself"),
        (_FailsTogether, "test_a_work_that_raises_undoes_only_itself"),
        (_SameMark, "test_every_revision_has_a_mark_of_its_own"),
        (_ForgetsAtClose, "test_closing_finishes_what_was_begun_and_may_be_done_twice"),
        (_NeverLocks, "test_a_store_is_open_once"),
        (_ReusesIds, "test_ids_are_never_given_out_twice"),
        (_AllowsTwins, "test_a_unique_value_has_one_holder"),
        (_LogOfKinds, "test_the_log_tells_what_happened_after_a_revision"),
        (_LogWithHoles, "test_compacted_revisions_are_not_in_the_log"),
    ],
)
def test_a_broken_storage_is_caught(kind: type[MemoryStorage], rule_name: str, verdicts: Verdicts) -> None:
    contract = Storages()
    contract.kind = kind
    assert rule_name in verdicts(contract)
