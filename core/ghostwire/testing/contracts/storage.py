"""What every storage must do: dense revisions, marks, unique values, nothing acknowledged lost, nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from ghostwire.capabilities.storage import Commit, Transaction
from ghostwire.errors import Conflict, StateError
from ghostwire.model import RECORDS, Node, Relay, User
from ghostwire.testing.contracts.base import harmless, refused, rule
from ghostwire.testing.contracts.samples import SAMPLES, node, user
from ghostwire.testing.contracts.storage_backup import StorageBackup
from ghostwire.testing.contracts.storage_limits import StorageLimits


class StorageContract(StorageLimits, StorageBackup):
    """Subclass it as ``Test...`` and implement `make`."""

    # Writing

    @rule
    async def test_a_new_store_is_empty_at_revision_0(self) -> None:
        """Revisions count commits."""
        _, snapshot = await self.opened()
        assert snapshot.revision == 0, f"a new store is at revision {snapshot.revision} instead of 0"
        assert snapshot.records == (), f"a new store has records: {snapshot.records[:2]}"

    @rule
    async def test_write_returns_what_the_work_returned_after_the_commit_was_told(self) -> None:
        """Whoever wrote finds the server's memory up to date."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)

        def work(transaction: Transaction) -> str:
            transaction.put(user(1))
            return "result"

        assert await storage.write(work) == "result"
        assert [commit.revision for commit in commits] == [1], "committed() must be called before write() returns"
        (change,) = commits[0].changes
        assert (change.kind, change.id, change.record) == (User, 1, user(1))

    @rule
    async def test_revisions_are_dense_and_in_order_however_many_write_at_once(self) -> None:
        """A follower who sees n+2 after n reloads everything."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        await asyncio.gather(*(self.put(storage, user(number)) for number in range(1, 101)))
        revisions = [commit.revision for commit in commits]
        assert revisions == list(range(1, len(commits) + 1)), f"revisions must be 1, 2, 3..., not {revisions[:10]}"
        assert {change.id for commit in commits for change in commit.changes} == set(range(1, 101)), (
            "committed() did not tell all"
        )

    @rule
    async def test_every_revision_has_a_mark_of_its_own(self) -> None:
        """Marks tell a restored backup's history from the one that followed it."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        for number in range(1, 6):
            await self.put(storage, user(number))
        marks = [commit.mark for commit in commits]
        assert len(set(marks)) == 5, f"marks repeat: {marks}"
        assert min(map(len, marks)) >= 8, "a mark needs 8 random bytes"

    @rule
    async def test_a_work_that_raises_undoes_only_itself(self) -> None:
        """Though others share its commit."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)

        def fails(transaction: Transaction) -> None:
            transaction.put(user(2))
            transaction.set_setting("name", "value")
            transaction.delete(User, 1)
            raise ZeroDivisionError

        works = (self.put(storage, user(1)), storage.write(fails), self.put(storage, user(3)))
        outcomes = await asyncio.gather(*works, return_exceptions=True)
        assert isinstance(outcomes[1], ZeroDivisionError), (
            f"the caller must get what the work raised, not {outcomes[1]!r}"
        )
        assert [outcomes[0], outcomes[2]] == [None, None], f"the other works must succeed: {outcomes}"
        told = {change.id for commit in commits for change in commit.changes}
        assert told == {1, 3}, f"committed() told of {told}; what a work that raised had put is undone"
        kept = await storage.write(lambda transaction: transaction.setting("name"))
        assert kept is None, "a setting of a work that raised was kept"
        stored = [record.id for record in (await self.reopened(storage)).records]
        assert stored == [1, 3], f"stored are {stored}; what a work that raised had put or deleted is undone"

    @rule
    async def test_a_work_sees_its_own_changes(self) -> None:
        """And those of works before it."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))

        def work(transaction: Transaction) -> list[object]:
            transaction.put(user(2))
            seen: list[object] = [transaction.get(User, 2), transaction.find(User, name="user2")]
            transaction.delete(User, 1)
            return [*seen, transaction.get(User, 1), transaction.find(User)]

        got, found, gone, rest = await storage.write(work)
        assert (got, gone) == (user(2), None), f"get() must see the work's own put and delete, not {got} and {gone}"
        own = [list(found), list(rest)]  # type: ignore[call-overload]
        assert own == [[user(2)], [user(2)]], f"find() must see the work's own put and delete, not {own}"

    @rule
    async def test_deleting_tells_that_the_record_is_gone_and_deleting_nothing_does_no_harm(self) -> None:
        """A change without a record is a deletion."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        await self.put(storage, user(1))
        await storage.write(lambda transaction: transaction.delete(User, 1))
        await storage.write(lambda transaction: transaction.delete(User, 77))
        assert len(commits) == 2, f"a put, a delete and a delete of nothing made {len(commits)} commits instead of 2"
        (change,) = commits[1].changes
        assert (change.kind, change.id, change.record) == (User, 1, None), "a deletion is a change without a record"
        assert (await self.reopened(storage)).records == (), "a deleted record is there again after opening"

    # Records

    @rule
    async def test_records_of_every_kind_come_back_as_they_were(self) -> None:
        """From the transaction, and after opening again; by kind, then by id."""
        storage, _ = await self.opened()
        records = [SAMPLES[kind](number) for kind in RECORDS for number in (1, 2)]
        await self.put(storage, *records)
        for record in records:
            kind, id_ = type(record), record.id
            assert await storage.write(lambda transaction, k=kind, i=id_: transaction.get(k, i)) == record  # type: ignore[misc]
        differ = set(map(repr, (await self.reopened(storage)).records)) ^ set(map(repr, records))
        assert not differ, f"after opening again, {len(differ)} records are missing or changed: {min(differ)[:200]}"

    @rule
    async def test_a_second_put_replaces_the_record(self) -> None:
        """And the last state is what viewers are told."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        renamed = User(id=1, stable_id="u1", name="other")
        await self.put(storage, user(1))
        await self.put(storage, User(id=1, stable_id="u1", name="between"), renamed)
        states = {(change.kind, change.id): change.record for change in commits[-1].changes}
        assert states == {(User, 1): renamed}, f"committed() told {states} instead of the last state"
        stored = (await self.reopened(storage)).records
        assert stored == (renamed,), f"after opening again there is {stored} instead of the last state"

    @rule
    async def test_a_unique_value_has_one_holder(self) -> None:
        """Conflict, for each unique field of each kind; the holder itself may be put again."""
        storage, _ = await self.opened()
        await self.put(storage, user(1), node(1))
        for kind in RECORDS:
            holder, other = SAMPLES[kind](5), SAMPLES[kind](6)
            await self.put(storage, holder)
            await self.put(storage, holder)
            for field in kind.unique:
                values = {name: getattr(other, name) for name in kind.__struct_fields__}
                twin = kind(**{**values, field: getattr(holder, field)})
                with refused(Conflict, f"a second {kind.__name__} with the same {field}"):
                    await self.put(storage, twin)

    @rule
    async def test_a_unique_value_is_free_again_after_its_holder_went(self) -> None:
        """Names and addresses are given out again."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))
        await storage.write(lambda transaction: transaction.delete(User, 1))
        with harmless("using a deleted record's name again"):
            await self.put(storage, User(id=2, stable_id="u1", name="user1"))

    @rule
    async def test_no_value_is_held_by_any_number_of_records(self) -> None:
        """A relay that has yet to enrol has no machine key, and is not alone in that."""
        storage, _ = await self.opened()
        relays = [Relay(id=n, name=f"r{n}", region=900, region_name="north", host="h") for n in (1, 2)]
        await self.put(storage, *relays)
        await self.put(storage, *relays)
        found = await storage.write(lambda transaction: transaction.find(Relay, machine_key=None))
        assert list(found) == relays, f"records without a value are found by None, not {list(found)}"
        await storage.write(lambda transaction: transaction.delete(Relay, 1))
        stored = (await self.reopened(storage)).records
        assert stored == (relays[1],), f"after opening again there is {stored}"

    @rule
    async def test_records_are_found_by_their_fields_in_order_of_ids(self) -> None:
        """By unique ones, by others, by several, by keys."""
        storage, _ = await self.opened()
        await self.put(storage, user(1), user(2))
        await self.put(storage, *(node(number, owner=1 + number % 2) for number in (5, 3, 4, 1)))

        async def found(**equal: object) -> list[int]:
            records: Sequence[Node] = await storage.write(lambda transaction: transaction.find(Node, **equal))
            return [record.id for record in records]

        await self.finds(found(user=2), [1, 3, 5], "a field")
        await self.finds(found(name="node4", user=1), [4], "two fields")
        await self.finds(found(node_key=node(3).node_key), [3], "a key")
        await self.finds(found(addresses=node(5).addresses), [5], "a tuple")
        await self.finds(found(name="nobody"), [], "a name that nobody has")

    async def finds(self, found: Awaitable[list[int]], expected: list[int], by: str) -> None:
        """The ids found must be these, in order."""
        ids = await found
        assert ids == expected, f"by {by} the records {ids} were found instead of {expected}, in order of ids"

    @rule
    async def test_ids_are_never_given_out_twice(self) -> None:
        """Not within a work, not after the record went, not after opening again."""
        storage, _ = await self.opened()

        def work(transaction: Transaction) -> list[int]:
            ids = [transaction.new_id(User) for _ in range(3)]
            transaction.put(user(ids[-1]))
            return ids

        first = await storage.write(work)
        await storage.write(lambda transaction: transaction.delete(User, first[-1]))
        await storage.close()
        storage, _ = await self.opened()
        second = await storage.write(work)
        assert len({*first, *second}) == 6, f"{first} and then {second} were given out"
        assert min(first) > 0, "ids are positive"

    @rule
    async def test_settings_are_kept(self) -> None:
        """Values of the whole mesh."""
        storage, _ = await self.opened()
        assert await storage.write(lambda transaction: transaction.setting("prefix")) is None
        for value in ("one", "two"):
            await storage.write(lambda transaction, v=value: transaction.set_setting("prefix", v))  # type: ignore[misc]
        await storage.close()
        storage, _ = await self.opened()
        kept = await storage.write(lambda transaction: transaction.setting("prefix"))
        assert kept == "two", f"a setting is {kept!r} after opening again instead of 'two', its last value"

    # The log

    @rule
    async def test_what_was_acknowledged_is_there_at_the_next_open_with_its_revision_and_mark(self) -> None:
        """Durable before acknowledged."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        await self.put(storage, user(1))
        await self.put(storage, user(2))
        snapshot = await self.reopened(storage)
        assert (snapshot.revision, snapshot.mark) == (2, commits[-1].mark), (
            "open() must tell the last revision and mark"
        )
        assert snapshot.records == (user(1), user(2)), f"of two acknowledged records {snapshot.records} are there"
        assert snapshot.oldest == 1, f"the oldest revision in the log is {snapshot.oldest} instead of 1"

    @rule
    async def test_the_log_tells_what_happened_after_a_revision(self) -> None:
        """The same commits that were told at the time."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        for number in (1, 2, 3):
            await self.put(storage, user(number))
        await storage.write(lambda transaction: transaction.delete(User, 2))
        assert list(await storage.log(1) or ()) == commits[1:], "log(1) must give the same commits that were told"
        assert list(await storage.log(4) or ()) == [], "nothing happened after the last revision"
        assert [await storage.mark(number) for number in (1, 4)] == [commits[0].mark, commits[3].mark]
        assert await storage.mark(5) is None, "a revision that does not exist yet has no mark"

    @rule
    async def test_compacted_revisions_are_not_in_the_log(self) -> None:
        """Their followers must reload, and learn that from None."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        for number in range(1, 6):
            await self.put(storage, user(number))
        await storage.compact(4)
        assert await storage.log(2) is None, "revision 3 is gone, so what happened after 2 cannot be told"
        assert list(await storage.log(3) or ()) == commits[3:]
        assert [await storage.mark(number) for number in (3, 4)] == [None, commits[3].mark]
        snapshot = await self.reopened(storage)
        assert (snapshot.oldest, snapshot.revision, len(snapshot.records)) == (4, 5, 5)

    @rule
    async def test_revisions_go_on_after_opening_again(self) -> None:
        """Never the same number twice."""
        storage, _ = await self.opened()
        await self.put(storage, user(1))
        await storage.close()
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        await self.put(storage, user(2))
        revisions = [commit.revision for commit in commits]
        assert revisions == [2], f"after revision 1 and opening again came {revisions}"

    # Opening and closing

    @rule
    async def test_a_store_is_open_once(self) -> None:
        """Two servers must not write the same database, unless they share it by an exchange."""
        storage, _ = await self.opened()
        if storage.exchange is not None:
            return
        second = await self.make()
        with refused(StateError, "a second open of the same store"):
            await second.open(lambda commit: None)
        await self.put(storage, user(1))
        await storage.close()
        snapshot = await second.open(lambda commit: None)
        self.cleanup.push_async_callback(second.close)
        assert snapshot.records == (user(1),)

    @rule
    async def test_closing_finishes_what_was_begun_and_may_be_done_twice(self) -> None:
        """A write that waits is not lost."""
        storage, _ = await self.opened()
        writing = asyncio.ensure_future(self.put(storage, user(1)))
        await asyncio.sleep(0)
        await storage.close()
        await storage.close()
        (outcome,) = await asyncio.gather(writing, return_exceptions=True)
        assert outcome is None, f"a write that was begun before close() ended with {outcome!r}"
        assert (await self.opened())[1].records == (user(1),)
