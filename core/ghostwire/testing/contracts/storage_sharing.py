"""What a storage must do that several servers share: one history, the newest state for every work, and an exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from ghostwire.capabilities.storage import Commit, Exchange, Notice, Storage, Transaction
from ghostwire.errors import Conflict
from ghostwire.model import User
from ghostwire.testing.contracts.base import rule
from ghostwire.testing.contracts.samples import user
from ghostwire.testing.contracts.storage import StorageContract

T = TypeVar("T")
ROUNDS = 30
PATIENCE = 20.0


class Told(Generic[T]):
    """What a callback was told, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[T] = []
        self._news = asyncio.Event()

    def __call__(self, item: T) -> None:
        """Take what is told."""
        self.all.append(item)
        self._news.set()

    async def until(self, done: Callable[[list[T]], bool], what: str) -> None:
        """Wait until what was told so far is as it should be."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not done(self.all):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"within {PATIENCE:.0f} s {what}; told was {str(self.all)[:300]}") from None


class SharedStorageContract(StorageContract):
    """For storages with an `Exchange`; all that `make` gives within one test share a store."""

    async def one(self) -> tuple[Storage, Told[Commit]]:
        """An open storage, and what it is told."""
        storage, told = await self.make(), Told[Commit]()
        await storage.open(told)
        self.cleanup.push_async_callback(storage.close)
        return storage, told

    # One history

    @rule
    async def test_servers_see_each_others_commits_dense_and_in_one_order(self) -> None:
        """Though both write at once, each is told one history: the same marks under the same revisions."""
        (one, first), (other, second) = await self.one(), await self.one()

        async def write(storage: Storage, start: int) -> None:
            for number in range(start, start + ROUNDS):
                await self.put(storage, user(number))

        await asyncio.gather(write(one, 1), write(other, 1001))
        for told in (first, second):
            await told.until(lambda commits: len(_changed(commits)) == 2 * ROUNDS, "each must be told of all")
            revisions = [commit.revision for commit in told.all]
            assert revisions == list(range(1, len(revisions) + 1)), f"revisions must be 1, 2, 3..., not {revisions}"
        assert first.all == second.all, "both must be told the same commits"
        assert list(await other.log(0) or ()) == first.all, "and the log must hold them"

    @rule
    async def test_a_write_returns_after_all_that_came_before_it_was_told(self) -> None:
        """Whoever wrote finds the server's memory up to date, with what other servers did before."""
        (one, _), (other, told) = await self.one(), await self.one()
        for number in range(1, ROUNDS, 2):
            await self.put(one, user(number))
            await self.put(other, user(number + 1))
            assert _changed(told.all)[-2:] == [number, number + 1], "another's earlier commit was not told before"

    @rule
    async def test_a_work_sees_what_other_servers_committed(self) -> None:
        """Records and settings alike: no update is lost though both change one record all the time."""
        (one, _), (other, _) = await self.one(), await self.one()
        await self.put(one, replace(user(1), subject="0"))
        await one.write(lambda transaction: transaction.set_setting("count", "0"))

        def count(transaction: Transaction) -> None:
            held = transaction.get(User, 1)
            assert held is not None, "another server's record is not seen"
            transaction.put(replace(held, subject=str(int(held.subject) + 1)))
            transaction.set_setting("count", str(int(transaction.setting("count") or 0) + 1))

        async def write(storage: Storage) -> None:
            for _ in range(ROUNDS):
                await storage.write(count)

        await asyncio.gather(write(one), write(other))
        for storage in (one, other):
            held = await storage.write(lambda transaction: (transaction.get(User, 1), transaction.setting("count")))
            counted = (held[0].subject if held[0] else None, held[1])
            expected = (str(2 * ROUNDS),) * 2
            assert counted == expected, f"of {2 * ROUNDS} updates by two servers, {counted} are left"

    @rule
    async def test_a_unique_value_has_one_holder_among_all_servers(self) -> None:
        """Two nodes that enrol at two servers never get one name or address."""
        (one, _), (other, _) = await self.one(), await self.one()
        for number in range(1, ROUNDS):
            twin = replace(user(number), id=1000 + number, stable_id=f"twin{number}")
            works = (self.put(one, user(number)), self.put(other, twin))
            outcomes = await asyncio.gather(*works, return_exceptions=True)
            refused = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
            assert len(refused) == 1, f"of two servers that give out one name, one is refused, not {outcomes}"

    @rule
    async def test_ids_are_never_given_out_twice_among_all_servers(self) -> None:
        """Also where no record was written."""
        (one, _), (other, _) = await self.one(), await self.one()

        def work(transaction: Transaction) -> int:
            return transaction.new_id(User)

        ids = await asyncio.gather(*(storage.write(work) for _ in range(ROUNDS) for storage in (one, other)))
        assert len(set(ids)) == 2 * ROUNDS, f"ids were given out twice: {sorted(ids)}"

    @rule
    async def test_a_server_that_opens_later_reads_the_others_commits_and_is_told_what_follows(self) -> None:
        """Nothing falls between the snapshot and the first commit told."""
        one, _ = await self.one()

        async def write() -> None:
            for number in range(1, 4 * ROUNDS):
                await self.put(one, user(number))

        writing = asyncio.ensure_future(write())
        late, told = await self.make(), Told[Commit]()
        snapshot = await late.open(told)
        self.cleanup.push_async_callback(late.close)
        await writing
        had = {record.id for record in snapshot.records}
        await told.until(lambda commits: len(had | set(_changed(commits))) == 4 * ROUNDS - 1, "all must be seen")
        revisions = [commit.revision for commit in told.all]
        expected = list(range(snapshot.revision + 1, snapshot.revision + 1 + len(revisions)))
        assert revisions == expected, f"after revision {snapshot.revision} were told {revisions}"

    # The exchange

    @rule
    async def test_what_a_server_posts_is_heard_by_the_others_and_not_by_itself(self) -> None:
        """Under each key the last post, with its counter; what is erased is told as None."""
        (one, _), (other, _) = await self.one(), await self.one()
        own, heard = Told[Notice](), Told[Notice]()
        _exchange(one).join("one", own)
        _exchange(other).join("other", heard)
        _exchange(one).post(1, {"a": b"1", "b": b"1"})
        await heard.until(lambda notices: _held(notices) == {"a": b"1", "b": b"1"}, "a post must be heard")
        _exchange(one).post(2, {"a": None, "c": b""})
        _exchange(one).post(3, {"b": b"3"})
        await heard.until(lambda notices: _held(notices) == {"b": b"3", "c": b""}, "later posts must be heard")
        counters = [notice.counter for notice in heard.all if notice.server == "one"]
        assert counters == sorted(counters), f"posts must be heard in order, not {counters}"
        assert counters[-1] == 3, f"the last post's counter is 3, told was {counters[-1]}"
        assert not any(notice.server == "one" for notice in own.all), "a server must not hear its own posts"

    @rule
    async def test_a_server_that_joins_hears_all_that_others_have(self) -> None:
        """As a whole: it knows then what they do not have."""
        (one, _), (other, _) = await self.one(), await self.one()
        _exchange(one).join("one", Told[Notice]())
        _exchange(one).post(1, {str(number): bytes([number]) for number in range(100)})
        _exchange(one).post(2, {"0": None})
        heard = Told[Notice]()
        _exchange(other).join("other", heard)
        expected = {str(number): bytes([number]) for number in range(1, 100)}
        await heard.until(lambda notices: _held(notices) == expected, "all that another has must be heard")
        first = next(notice for notice in heard.all if notice.server == "one")
        assert first.whole, "the first notice of a server is whole"

    @rule
    async def test_a_server_that_closes_is_gone_at_once(self) -> None:
        """Its nodes need not wait until it is missed."""
        (one, _), (other, _) = await self.one(), await self.one()
        heard = Told[Notice]()
        _exchange(other).join("other", heard)
        _exchange(one).join("one", Told[Notice]())
        _exchange(one).post(1, {"a": b"1"})
        await heard.until(lambda notices: _held(notices) == {"a": b"1"}, "a post must be heard")
        async with asyncio.timeout(5):
            await one.close()
            await heard.until(lambda notices: notices[-1].gone, "a server that closed must be told as gone")


def _exchange(storage: Storage) -> Exchange:
    exchange = storage.exchange
    assert exchange is not None, "a storage that servers share has an exchange once it is open"
    return exchange


def _changed(commits: list[Commit]) -> list[int]:
    return [change.id for commit in commits for change in commit.changes]


def _held(notices: list[Notice], server: str = "one") -> dict[str, Any]:
    """What a listener holds of that server by now."""
    held: dict[str, Any] = {}
    for notice in notices:
        if notice.server == server:
            held = dict(notice.entries) if notice.whole or notice.gone else {**held, **notice.entries}
    return {key: body for key, body in held.items() if body is not None}
