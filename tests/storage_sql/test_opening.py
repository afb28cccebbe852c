"""What opening a database says when something is wrong with it, and what it leaves on the disk."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ghostwire.capabilities.storage import Backup
from ghostwire.errors import Conflict, StateError, Unavailable
from ghostwire.model import User
from ghostwire_storage_sql import schema, tables
from ghostwire_storage_sql.storage import SqlStorage

Make = Callable[[], SqlStorage]


async def fill(storage: SqlStorage, count: int = 1) -> None:
    await storage.open(lambda commit: None)
    for number in range(1, count + 1):
        user = User(id=number, stable_id=f"u{number}", name=f"user{number}")
        await storage.write(lambda transaction, user=user: transaction.put(user))
    await storage.close()


async def refusal(storage: SqlStorage) -> str:
    with pytest.raises(StateError) as caught:
        await storage.open(lambda commit: None)
    await storage.close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_only_its_owner_may_read_the_files(make_storage: Make, tmp_path: Path) -> None:
    storage = make_storage()
    await storage.open(lambda commit: None)
    try:
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    finally:
        await storage.close()


async def test_a_second_opener_is_refused_by_the_name_of_the_first_process(make_storage: Make) -> None:
    first = make_storage()
    await first.open(lambda commit: None)
    try:
        assert f"process {os.getpid()}" in await refusal(make_storage())
    finally:
        await first.close()
    await fill(make_storage())


async def test_a_newer_schema_is_refused_with_what_to_do(make_storage: Make, tmp_path: Path) -> None:
    await fill(make_storage())
    with sqlite3.connect(tmp_path / "ghostwire.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    message = await refusal(make_storage())
    assert "9999" in message
    assert "upgrade" in message


async def test_a_file_that_is_no_database_is_refused(make_storage: Make, tmp_path: Path) -> None:
    (tmp_path / "ghostwire.db").write_bytes(b"certainly not a database" * 100)
    assert "not a database" in await refusal(make_storage())


@pytest.mark.parametrize("page", [1, 3, 8, 20])
async def test_a_damaged_file_is_refused(make_storage: Make, tmp_path: Path, page: int) -> None:
    await fill(make_storage(), 200)
    path = tmp_path / "ghostwire.db"
    content = bytearray(path.read_bytes())
    content[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    assert "restore it from a backup" in await refusal(make_storage())


async def test_a_truncated_file_is_refused(make_storage: Make, tmp_path: Path) -> None:
    await fill(make_storage(), 200)
    os.truncate(tmp_path / "ghostwire.db", 8192)
    assert "restore it from a backup" in await refusal(make_storage())


async def test_a_folder_that_cannot_be_written_is_refused_with_what_to_do() -> None:
    import logging

    storage = SqlStorage(Path("/proc/self"), "", os.urandom, logging.getLogger("storage"))
    assert "make it writable or pass --state" in await refusal(storage)


@pytest.mark.parametrize("url", ["mysql://user:secret@host/mesh", "sqlite://", "nonsense"])
async def test_a_url_that_is_not_supported_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    import logging

    message = await refusal(SqlStorage(tmp_path, url, os.urandom, logging.getLogger("storage")))
    assert "sqlite:////path/to/file" in message
    assert "secret" not in message


async def test_a_url_names_another_place(tmp_path: Path) -> None:
    import logging

    elsewhere = tmp_path / "elsewhere.db"
    await fill(SqlStorage(tmp_path, f"sqlite:///{elsewhere}", os.urandom, logging.getLogger("storage")))
    assert elsewhere.exists()


async def test_using_a_storage_that_is_not_open_says_so(make_storage: Make) -> None:
    storage = make_storage()
    with pytest.raises(Unavailable):
        await storage.write(lambda transaction: None)
    await fill(storage)
    with pytest.raises(Unavailable):
        await storage.write(lambda transaction: None)


def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/new.db")
    with engine.begin() as connection:
        schema.prepare(connection, "new.db")
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert schema.version(connection) == schema.REVISIONS[-1]
        counters = set(connection.execute(sa.select(tables.counters.c.name)).scalars())
    assert counters == {"revision", *tables.NAMES.values()}
    engine.dispose()


async def test_alembic_is_imported_only_where_a_migration_is_missing(make_storage: Make, tmp_path: Path) -> None:
    await fill(make_storage())
    program = (
        "import asyncio, logging, os, sys; from pathlib import Path\n"
        "from ghostwire_storage_sql.storage import SqlStorage\n"
        "async def main():\n"
        f"    storage = SqlStorage(Path({str(tmp_path)!r}), '', os.urandom, logging.getLogger('s'))\n"
        "    await storage.open(print)\n"
        "    await storage.close()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)"
    )
    assert await asyncio.to_thread(lambda: subprocess.run([sys.executable, "-c", program]).returncode) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a full disk is a small tmpfs")
async def test_a_full_disk_is_told_from_a_damaged_file(make_storage: Make, tmp_path: Path) -> None:
    await fill(make_storage(), 5)
    (tmp_path / "ghostwire.db-shm").unlink(missing_ok=True)
    content = (tmp_path / "ghostwire.db").read_bytes()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        (tmp_path / "ghostwire.db").write_bytes(content)
        (tmp_path / "ghostwire.db.lock").write_bytes(b"x" * 4096)
        with contextlib.suppress(OSError), (tmp_path / "filling").open("wb", buffering=0) as filling:
            while filling.write(b"x" * 4096):
                pass
        assert "is the disk full" in await refusal(make_storage())
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "is a folder; name a file"),
        ("/absent/mesh.db", "there is no folder"),
        ("/pipe", "is no plain file; name a file"),
    ],
)
async def test_where_no_file_can_be_nothing_is_made(tmp_path: Path, place: str, said: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    assert said in await refusal(at(f"sqlite:///{folder}{place}"))
    with pytest.raises(StateError, match=said):
        await at(f"sqlite:///{folder}{place}").restore(Backup(1, (), {}, {}), replace=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "pipe"]


async def test_a_file_is_named_by_its_whole_path_and_without_options(tmp_path: Path) -> None:
    whole = f"sqlite:///{Path.cwd() / 'mesh.db'}"
    assert f"mesh.db is relative; give the absolute path: {whole}" in await refusal(at("sqlite:///mesh.db"))
    assert "leave out mode" in await refusal(at(f"sqlite:///{tmp_path}/mesh.db?mode=ro"))
    assert "try sqlite:////path/to/file" in await refusal(at(f"sqlite://localhost/{tmp_path}/mesh.db"))
    assert list(tmp_path.iterdir()) == []


async def test_a_state_folder_may_have_signs_that_mean_something_in_urls(tmp_path: Path) -> None:
    import logging

    folder = tmp_path / "what?%20"
    folder.mkdir()
    await fill(SqlStorage(folder, "", os.urandom, logging.getLogger("storage")))
    assert (folder / "ghostwire.db").stat().st_size


async def test_a_file_that_is_no_database_gets_no_lock_beside_it(tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(b"certainly not a database" * 100)
    await refusal(at(f"sqlite:///{tmp_path}/letter"))
    with pytest.raises(Conflict, match="name an empty database"):
        await at(f"sqlite:///{tmp_path}/letter").restore(Backup(1, (), {}, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def at(url: str) -> SqlStorage:
    import logging

    return SqlStorage(Path("/nonexistent"), url, os.urandom, logging.getLogger("storage"))
