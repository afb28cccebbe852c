"""What every storage must do about backups: whole while others write, put back whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from ghostwire.capabilities.storage import Backup, Commit, Storage, Transaction
from ghostwire.errors import Conflict, GhostwireError
from ghostwire.model import RECORDS, Node, Record, User
from ghostwire.testing.contracts.base import harmless, refused, rule
from ghostwire.testing.contracts.samples import SAMPLES, node, user
from ghostwire.testing.contracts.storage_scene import StorageScene

EVERYTHING: tuple[Record, ...] = tuple(SAMPLES[kind](1) for kind in RECORDS)
PAIRS = 60


def sample_backup(records: tuple[Record, ...] = EVERYTHING) -> Backup:
    """A backup of one record of each kind at revision 41, in which the last node that there ever was is 17."""
    return Backup(41, records, {"ipv6": "fd12::/48", "empty": ""}, {User: 1, Node: 17})


class StorageBackup(StorageScene):
    """Rules about backups; part of `StorageContract`. A storage that makes none declares them."""

    @rule
    async def test_a_backup_has_all_records_settings_and_last_ids(self) -> None:
        """As of the last commit."""
        storage, _ = await self.opened()
        await self.put(storage, *EVERYTHING)

        def more(transaction: Transaction) -> int:
            transaction.set_setting("ipv6", "fd12::/48")
            return [transaction.new_id(Node) for _ in range(3)][-1]

        last = await storage.write(more)
        backup = await storage.backup()
        assert set(backup.records) == set(EVERYTHING), "the backup's records are not those that were written"
        assert backup.settings.get("ipv6") == "fd12::/48", f"the backup's settings are {dict(backup.settings)}"
        assert backup.last_ids.get(Node) == last, f"the last node's id is {last}, in the backup {backup.last_ids}"
        assert backup.revision >= 1, "a backup has the revision that it was made at"

    @rule
    async def test_a_backup_under_writes_holds_all_of_a_transaction_or_nothing(self) -> None:
        """Two records that are written together are both there, or neither; settings with them."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)

        def pair(number: int) -> Callable[[Transaction], None]:
            def work(transaction: Transaction) -> None:
                transaction.put(user(number))
                transaction.set_setting("last", str(number))
                transaction.put(user(1000 + number))

            return work

        async def write() -> None:
            for number in range(1, PAIRS):
                await storage.write(pair(number))

        writing = asyncio.ensure_future(write())
        backups = [await storage.backup()]
        while not writing.done():
            backups.append(await storage.backup())
            await asyncio.sleep(0)
        await writing
        for backup in backups:
            ids = {record.id for record in backup.records}
            firsts, seconds = {each for each in ids if each < 1000}, {each - 1000 for each in ids if each > 1000}
            assert firsts == seconds, "a backup holds half of what one transaction wrote"
            last = int(backup.settings.get("last", "0"))
            assert last == max(firsts, default=0), f"a setting of write {last} beside the records of {len(firsts)}"
            told = {change.id for commit in commits if commit.revision <= backup.revision for change in commit.changes}
            assert ids == told, f"a backup of revision {backup.revision} holds what another one had"

    @rule
    async def test_a_restored_store_has_what_the_backup_had(self) -> None:
        """Every kind, every field, the settings; at a revision after the backup's that has a mark."""
        await self.restored(sample_backup())
        storage, snapshot = await self.opened()
        assert set(snapshot.records) == set(EVERYTHING), "the records that were restored are not those of the backup"
        assert snapshot.revision > 41, f"restored from revision 41, the store is at {snapshot.revision}"
        assert len(set(snapshot.mark)) > 1, "the revision of a restore has a random mark: it begins another history"
        assert await storage.mark(snapshot.revision) == snapshot.mark
        setting = await storage.write(lambda transaction: transaction.setting("ipv6"))
        assert setting == "fd12::/48", f"a setting is {setting!r} after the restore"

    @rule
    async def test_a_restored_store_goes_on_where_the_backup_ended(self) -> None:
        """No id twice, dense revisions, a log that says what happened since, and nothing of before."""
        await self.restored(sample_backup())
        commits: list[Commit] = []
        storage, snapshot = await self.opened(commits)
        assert await storage.write(lambda transaction: transaction.new_id(Node)) == 18, "17 was the last id of a node"
        await self.put(storage, user(50))
        assert [commit.revision for commit in commits][-1] == snapshot.revision + len(commits)
        assert [commit.revision for commit in await storage.log(snapshot.revision) or ()] == [
            commit.revision for commit in commits
        ]
        assert await storage.log(40) is None, "what happened before the backup is not in the log"
        again = await storage.backup()
        assert set(again.records) == {*EVERYTHING, user(50)}

    @rule
    async def test_a_store_with_data_in_it_is_not_restored_into(self) -> None:
        """Nothing of it is changed."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))
        await storage.close()
        with refused(Conflict, "a restore into a store that is not empty"):
            await self.restored(sample_backup())
        assert (await self.opened())[1].records == (user(1),)

    @rule
    async def test_what_is_replaced_is_set_aside_or_kept(self) -> None:
        """With ``replace``: a storage that can't set it aside refuses, and changes nothing."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))
        await storage.close()
        fresh = await self.make()
        try:
            aside = await fresh.restore(sample_backup(), replace=True)
        except GhostwireError:
            assert (await self.opened())[1].records == (user(1),), "a restore that was refused changed something"
            return
        assert aside, "restore() must say where what was there is now"
        assert set((await self.opened())[1].records) == set(EVERYTHING)

    @rule
    async def test_a_store_in_use_is_not_restored_into(self) -> None:
        """A server runs on it."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))
        for replacing in (False, True):
            with refused(GhostwireError, "a restore into a store that is open"):
                await (await self.make()).restore(sample_backup(), replace=replacing)
        await self.put(storage, user(2))
        assert len((await self.reopened(storage)).records) == 2

    @rule
    async def test_a_store_that_nobody_has_open_can_be_backed_up_and_one_in_use_not_from_outside(self) -> None:
        """Before it is moved, say."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))
        with refused(GhostwireError, "a backup of a store that somebody else has open"):
            await (await self.make()).backup()
        await storage.close()
        backup = await (await self.make()).backup()
        assert backup.records == (user(1),)
        with harmless("opening a store after a backup of it"):
            await self.opened()

    @rule
    async def test_a_backup_whose_records_contradict_each_other_is_refused_whole(self) -> None:
        """Somebody wrote it by hand."""
        twin = replace(node(2), name=node(1).name)
        with refused(GhostwireError, "a restore of two nodes of one name"):
            await self.restored(sample_backup((user(1), node(1), twin)))
        _, snapshot = await self.opened()
        assert snapshot.records == (), "a restore that was refused left something"
        assert snapshot.revision == 0

    async def restored(self, backup: Backup) -> Storage:
        """The store, filled."""
        storage = await self.make()
        aside = await storage.restore(backup)
        assert aside == "", f"nothing was there that could be set aside, yet restore() says {aside!r}"
        return storage
