"""The scene of every storage's rules: a store that is opened, written and opened again."""

from __future__ import annotations

from ghostwire.capabilities.storage import Commit, Snapshot, Storage, Transaction
from ghostwire.model import Record
from ghostwire.testing.contracts.base import Contract


class StorageScene(Contract):
    """What a storage's rules share; subclasses implement `make`."""

    async def make(self) -> Storage:
        """A storage that was not opened; all made by one test are over the same store, which is empty at first."""
        raise NotImplementedError

    async def opened(self, commits: list[Commit] | None = None) -> tuple[Storage, Snapshot]:
        """An open storage; its commits go to the list."""
        storage = await self.make()
        snapshot = await storage.open((commits if commits is not None else []).append)
        self.cleanup.push_async_callback(storage.close)
        return storage, snapshot

    async def put(self, storage: Storage, *records: Record) -> None:
        """Write records in one transaction."""

        def work(transaction: Transaction) -> None:
            for record in records:
                transaction.put(record)

        await storage.write(work)

    async def reopened(self, storage: Storage) -> Snapshot:
        """Close it, and what the next one finds."""
        await storage.close()
        return (await self.opened())[1]
