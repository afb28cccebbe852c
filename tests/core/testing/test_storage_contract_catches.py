"""The storage's contract fails for storages that break one of its rules."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

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


class _CountsFromOne(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.revision = self.database.revision or 1
        return await super().open(committed)


class _BeginsAnew(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.revision = 0
        return await super().open(committed)


class _LosesRecords(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        return replace(await super().open(committed), records=())


class _ForgetsSettings(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.database.settings.clear()
        return await super().open(committed)


class Changed:
    """A transaction in another's hands."""

    def __init__(self, inner: Any, database: MemoryDatabase) -> None:
        self.inner, self.database = inner, database

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Through(MemoryStorage):
    kind: type[Changed]

    async def write(self, work: Any) -> Any:
        return await super().write(lambda transaction: work(self.kind(transaction, self.database)))


class _SeesOnlyTheOld(_Through):
    class kind(Changed):
        def get(self, kind: Any, id_: int) -> Any:
            return self.database.records.get((kind, id_))


class _KeepsDeleted(_Through):
    class kind(Changed):
        def delete(self, kind: Any, id_: int) -> None:
            """Does nothing."""


class _FindsBackwards(_Through):
    class kind(Changed):
        def find(self, kind: Any, **equal: Any) -> Any:
            return list(self.inner.find(kind, **equal))[::-1]


BREAKERS = [
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
    (_CountsFromOne, "test_a_new_store_is_empty_at_revision_0"),
    (_SeesOnlyTheOld, "test_a_work_sees_its_own_changes"),
    (_KeepsDeleted, "test_deleting_tells_that_the_record_is_gone_and_deleting_nothing_does_no_harm"),
    (_KeepsDeleted, "test_a_unique_value_is_free_again_after_its_holder_went"),
    (_LosesRecords, "test_records_of_every_kind_come_back_as_they_were"),
    (_LosesRecords, "test_a_second_put_replaces_the_record"),
    (_LosesRecords, "test_no_value_is_held_by_any_number_of_records"),
    (_FindsBackwards, "test_records_are_found_by_their_fields_in_order_of_ids"),
    (_ForgetsSettings, "test_settings_are_kept"),
    (_LosesRecords, "test_what_was_acknowledged_is_there_at_the_next_open_with_its_revision_and_mark"),
    (_BeginsAnew, "test_revisions_go_on_after_opening_again"),
]


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name.removeprefix("test_") for _, rule_name in BREAKERS} == set(Storages.rules())


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_storage_is_caught(kind: type[MemoryStorage], rule_name: str, verdicts: Verdicts) -> None:
    contract = Storages()
    contract.kind = kind
    assert rule_name in verdicts(contract)
