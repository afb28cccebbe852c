"""What every storage must do when it is pressed: cancelling, hostile texts, many at once, closing in use."""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace

from ghostwire.capabilities.storage import Commit
from ghostwire.errors import GhostwireError
from ghostwire.model import Node
from ghostwire.testing.contracts.base import harmless, leaves_nothing, refused, rule
from ghostwire.testing.contracts.samples import node, user
from ghostwire.testing.contracts.storage_scene import StorageScene

WRITES, COMMITS, SPAN = 2000, 500, 30.0
"""So many writes at once share no more commits than this, and take no more seconds."""

TEXTS = (
    "",
    " ",
    "'; DROP TABLE users; --",
    "100%_\\",
    "line\nbreak\r\ttab",
    "ключ 鍵 🗝",
    "\u202e\x1b[2J",
    "x" * 200_000,
)
"""What nodes may call themselves, and operators write."""


class StorageLimits(StorageScene):
    """Rules about limits; part of `StorageContract`."""

    @rule
    async def test_a_write_that_is_cancelled_is_whole_or_nothing_and_the_next_goes_on(self) -> None:
        """Its caller left: a client hung up."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        for passes in (0, 1, 2):
            writing = asyncio.ensure_future(self.put(storage, user(2 * passes + 1), user(2 * passes + 2)))
            for _ in range(passes):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        with harmless("a write after one that was cancelled"):
            await self.within(self.put(storage, user(100)), "a write after one that was cancelled")
        ids = {record.id for record in (await self.reopened(storage)).records}
        halves = [n for n in (1, 3, 5) if (n in ids) != (n + 1 in ids)]
        assert not halves, "half of a write that was cancelled was stored"
        told = {change.id for commit in commits for change in commit.changes}
        assert ids == told, f"stored are {sorted(ids)}, and committed() told {sorted(told)}"

    @rule
    async def test_a_storage_that_is_not_open_refuses_work_in_one_line(self) -> None:
        """Before it was opened, and after it was closed: a caller must not wait for ever."""
        storage = await self.make()
        with refused(GhostwireError, "a write before open()"):
            await self.within(self.put(storage, user(1)), "a write before open() should be answered")
        storage, _ = await self.opened()
        await storage.close()
        with refused(GhostwireError, "a write after close()"):
            await self.within(self.put(storage, user(1)), "a write after close() should be answered")

    @rule
    async def test_texts_of_any_kind_come_back_as_they_were(self) -> None:
        """Names come from nodes, and some are hostile; no text does anything."""
        storage, _ = await self.opened()
        nodes = [replace(node(number), hostname=text) for number, text in enumerate(TEXTS, 1)]
        await self.put(storage, user(1), *nodes)
        for number, text in enumerate(TEXTS):
            await storage.write(lambda transaction, n=number, t=text: transaction.set_setting(f"text {n}", t))  # type: ignore[misc]
        await storage.close()
        storage, snapshot = await self.opened()
        stored = {record.id: record for record in snapshot.records if isinstance(record, Node)}
        for number, text in enumerate(TEXTS):
            kept = await storage.write(lambda transaction, n=number: transaction.setting(f"text {n}"))  # type: ignore[misc]
            assert kept == text, f"a setting of {len(text)} characters ({text[:20]!r}) came back as {str(kept)[:20]!r}"
            found = stored.get(number + 1)
            assert found == nodes[number], f"a record with the text {text[:20]!r} came back as {str(found)[:60]}"

    @rule
    async def test_many_writes_at_once_share_commits_and_take_bounded_time(self) -> None:
        """A whole mesh comes back after a power cut."""
        commits: list[Commit] = []
        storage, _ = await self.opened(commits)
        began = time.monotonic()
        await asyncio.gather(*(self.put(storage, user(number)) for number in range(1, WRITES + 1)))
        took = time.monotonic() - began
        assert took < SPAN, f"{WRITES} writes at once took {took:.1f} s"
        assert len(commits) <= COMMITS, (
            f"{WRITES} writes at once made {len(commits)} commits: all that wait share one, as each waits for the disk"
        )

    @rule
    async def test_opening_and_closing_leave_nothing_behind(self) -> None:
        """Neither tasks nor descriptors nor threads, however often, and though a write is under way."""
        with leaves_nothing("close()"):
            for number in range(1, 6):
                storage = await self.make()
                await storage.open(lambda commit: None)
                writing = asyncio.ensure_future(self.put(storage, user(number)))
                await asyncio.sleep(0)
                await self.within(storage.close(), "close() while a write is under way")
                await asyncio.gather(writing, return_exceptions=True)
            await asyncio.sleep(0.05)
