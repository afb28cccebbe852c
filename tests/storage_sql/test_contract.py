"""SqlStorage on SQLite, libSQL and a PostgreSQL that servers share, all of them real, obeys the storage contract."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

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


class TestLibsqlStorage(StorageContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        pytest.importorskip("sqlalchemy_libsql", reason="the extra [libsql] is not installed")
        self.folder = tmp_path

    async def make(self) -> SqlStorage:
        return SqlStorage(self.folder, f"libsql:///{self.folder}/mesh.db", os.urandom, logging.getLogger("storage"))
