"""The storage's contract fails for storages that break one of its rules."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from ghostwire import Change, Commit
from ghostwire.capabilities.storage import Backup
from ghostwire.errors import Conflict
from ghostwire.model import RECORDS, Relay
from ghostwire.testing import MemoryDatabase, MemoryStorage, simulate
from ghostwire.testing.contracts import StorageContract
from ghostwire.testing.storage import MemoryTransaction

from .catching import failure


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


class _StopsWhenCancelled(MemoryStorage):
    async def write(self, work: Any) -> Any:
        try:
            return await super().write(work)
        except asyncio.CancelledError:
            self._committed = None
            raise


class _TakesWorkWhenClosed(MemoryStorage):
    async def write(self, work: Any) -> Any:
        if self._committed is None:
            return None
        return await super().write(work)


class _CutsTexts(_Through):
    class kind(Changed):
        def set_setting(self, name: str, value: str) -> None:
            self.inner.set_setting(name, value[:255])


class _CommitsOneByOne(MemoryStorage):
    def _commit(self) -> None:
        waiting = list(self._waiting)
        for each in waiting:
            self._waiting[:] = [each]
            super()._commit()


class _LeavesATask(MemoryStorage):
    async def open(self, committed: Callable[[Commit], None]) -> Any:
        self.task = asyncio.create_task(asyncio.sleep(3600))
        return await super().open(committed)


class _BacksUpNoSettings(MemoryStorage):
    async def backup(self) -> Backup:
        return replace(await super().backup(), settings={})


class _BacksUpInTwoSteps(MemoryStorage):
    async def backup(self) -> Backup:
        before = await super().backup()
        while self.database.revision == before.revision and self.database.revision < 50:
            await asyncio.sleep(0)
        return replace(await super().backup(), settings=before.settings)


class _RestoresNoRelays(MemoryStorage):
    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        left = tuple(record for record in backup.records if not isinstance(record, Relay))
        return await super().restore(structs.replace(backup, records=left), replace=replace)


class _RestoresNoIds(MemoryStorage):
    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        return await super().restore(structs.replace(backup, last_ids={}), replace=replace)


class _RestoresOverData(MemoryStorage):
    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        self._empty()
        return await super().restore(backup, replace=replace)

    def _empty(self) -> None:
        self.database.records, self.database.settings, self.database.revision = {}, {}, 0


class _ReplacesSilently(_RestoresOverData):
    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        if not replace:
            return await MemoryStorage.restore(self, backup)
        return await super().restore(backup)


class _RestoresInUse(_RestoresOverData):
    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        self.database.locked = False
        return await super().restore(backup)


class _BacksUpInUse(MemoryStorage):
    async def backup(self) -> Backup:
        database = self.database
        return Backup(database.revision, tuple(database.records.values()), {}, {})


class _RestoresTwins(MemoryStorage):
    async def restore(self, backup: Backup, *, replace: bool = False) -> str:
        self.database.records = {(type(each), each.id): each for each in backup.records}
        raise Conflict("too late")


BREAKERS = [
    (
        _SkipsRevisions,
        "revisions_are_dense_and_in_order_however_many_write_at_once",
        "revisions must be 1, 2, 3..., not [2]",
    ),
    (
        _TellsLate,
        "write_returns_what_the_work_returned_after_the_commit_was_told",
        "committed() must be called before write() returns",
    ),
    (
        _KeepsFailed,
        "a_work_that_raises_undoes_only_itself",
        "committed() told of {1, 2, 3}; what a work that raised had put is undone",
    ),
    (_FailsTogether, "a_work_that_raises_undoes_only_itself", "the other works must succeed"),
    (_SameMark, "every_revision_has_a_mark_of_its_own", "marks repeat"),
    (
        _ForgetsAtClose,
        "closing_finishes_what_was_begun_and_may_be_done_twice",
        "a write that was begun before close() ended with CancelledError('')",
    ),
    (
        _NeverLocks,
        "a_store_is_open_once",
        "a second open of the same store must be refused with StateError, but nothin",
    ),
    (_ReusesIds, "ids_are_never_given_out_twice", "[1, 2, 3] and then [1, 2, 3] were given out"),
    (
        _AllowsTwins,
        "a_unique_value_has_one_holder",
        "a second User with the same stable_id must be refused with Conflict, but no",
    ),
    (_LogOfKinds, "the_log_tells_what_happened_after_a_revision", "log(1) must give the same commits that were told"),
    (
        _LogWithHoles,
        "compacted_revisions_are_not_in_the_log",
        "revision 3 is gone, so what happened after 2 cannot be told",
    ),
    (_CountsFromOne, "a_new_store_is_empty_at_revision_0", "a new store is at revision 1 instead of 0"),
    (
        _SeesOnlyTheOld,
        "a_work_sees_its_own_changes",
        "get() must see the work's own put and delete, not None and User(id=1, stabl",
    ),
    (
        _KeepsDeleted,
        "deleting_tells_that_the_record_is_gone_and_deleting_nothing_does_no_harm",
        "a put, a delete and a delete of nothing made 1 commits instead of 2",
    ),
    (
        _KeepsDeleted,
        "a_unique_value_is_free_again_after_its_holder_went",
        "using a deleted record's name again must do no harm, but raised Conflict: U",
    ),
    (
        _LosesRecords,
        "records_of_every_kind_come_back_as_they_were",
        f"after opening again, {2 * len(RECORDS)} records are missing or changed: ",
    ),
    (_LosesRecords, "a_second_put_replaces_the_record", "after opening again there is () instead of the last state"),
    (_LosesRecords, "no_value_is_held_by_any_number_of_records", "after opening again there is ()"),
    (
        _FindsBackwards,
        "records_are_found_by_their_fields_in_order_of_ids",
        "by a field the records [5, 3, 1] were found instead of [1, 3, 5], in order",
    ),
    (_ForgetsSettings, "settings_are_kept", "a setting is None after opening again instead of 'two', its last value"),
    (
        _LosesRecords,
        "what_was_acknowledged_is_there_at_the_next_open_with_its_revision_and_mark",
        "of two acknowledged records () are there",
    ),
    (_BeginsAnew, "revisions_go_on_after_opening_again", "after revision 1 and opening again came [1]"),
    (
        _StopsWhenCancelled,
        "a_write_that_is_cancelled_is_whole_or_nothing_and_the_next_goes_on",
        "a write after one that was cancelled must do no harm, but raised StateError",
    ),
    (
        _TakesWorkWhenClosed,
        "a_storage_that_is_not_open_refuses_work_in_one_line",
        "a write before open() must be refused with GhostwireError, but nothing was",
    ),
    (
        _CutsTexts,
        "texts_of_any_kind_come_back_as_they_were",
        "a setting of 200000 characters ('xxxxxxxxxxxxxxxxxxxx') came back as 'xxxxx",
    ),
    (
        _CommitsOneByOne,
        "many_writes_at_once_share_commits_and_take_bounded_time",
        "2000 writes at once made 2000 commits: all that wait share one, as each wai",
    ),
    (_LeavesATask, "opening_and_closing_leave_nothing_behind", "close() left tasks behind: Task-"),
    (
        _BacksUpNoSettings,
        "a_backup_has_all_records_settings_and_last_ids",
        "the backup's settings are {}",
    ),
    (
        _BacksUpInTwoSteps,
        "a_backup_under_writes_holds_all_of_a_transaction_or_nothing",
        "a setting of write ",
    ),
    (
        _RestoresNoRelays,
        "a_restored_store_has_what_the_backup_had",
        "the records that were restored are not those of the backup",
    ),
    (_RestoresNoIds, "a_restored_store_goes_on_where_the_backup_ended", "17 was the last id of a node"),
    (
        _RestoresOverData,
        "a_store_with_data_in_it_is_not_restored_into",
        "a restore into a store that is not empty must be refused with Conflict",
    ),
    (
        _ReplacesSilently,
        "what_is_replaced_is_set_aside_or_kept",
        "restore() must say where what was there is now",
    ),
    (
        _RestoresInUse,
        "a_store_in_use_is_not_restored_into",
        "a restore into a store that is open must be refused",
    ),
    (
        _BacksUpInUse,
        "a_store_that_nobody_has_open_can_be_backed_up_and_one_in_use_not_from_outside",
        "a backup of a store that somebody else has open must be refused",
    ),
    (
        _RestoresTwins,
        "a_backup_whose_records_contradict_each_other_is_refused_whole",
        "a restore that was refused left something",
    ),
]


@pytest.mark.parametrize(("kind", "rule_name", "words"), BREAKERS)
def test_a_broken_storage_is_caught_in_words(kind: type[MemoryStorage], rule_name: str, words: str) -> None:
    assert words in failure(Storages, kind, rule_name)


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name, _ in BREAKERS} == set(Storages.rules())


@pytest.mark.parametrize("rule_name", Storages.rules())
def test_a_right_storage_is_not_caught(rule_name: str) -> None:
    assert failure(Storages, MemoryStorage, rule_name) == ""
