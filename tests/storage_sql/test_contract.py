"""SqlStorage on real SQLite, and on a real PostgreSQL that servers share, obeys the storage contract."""

from collections.abc import Callable

import pytest

from ghostwire.testing.contracts import SharedStorageContract, StorageContract
from ghostwire_storage_sql.storage import SqlStorage


class TestSqlStorage(StorageContract):
    @pytest.fixture(autouse=True)
    def place(self, make_storage: Callable[[], SqlStorage]) -> None:
        self.factory = make_storage

    async def make(self) -> SqlStorage:
        return self.factory()


class TestPostgresStorage(SharedStorageContract):
    @pytest.fixture(autouse=True)
    def place(self, make_shared: Callable[[], SqlStorage]) -> None:
        self.factory = make_shared

    async def make(self) -> SqlStorage:
        return self.factory()
