"""Backups between SQLite and PostgreSQL; what becomes of a database that was there; newer ones under older programs."""

import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

import postgres
from ghostwire.capabilities.storage import Backup
from ghostwire.errors import Conflict, StateError
from ghostwire.model import RECORDS, Node, User
from ghostwire.testing.contracts.samples import SAMPLES, user
from ghostwire_storage_sql import backup as backups
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.storage import SqlStorage

Make = Callable[[], SqlStorage]
EVERYTHING = tuple(SAMPLES[kind](number) for kind in RECORDS for number in (1, 2))
SAMPLE = Backup(41, EVERYTHING, {"ipv6": "fd12::/48", "addresses": "7,1,1"}, dict.fromkeys(RECORDS, 9))


@pytest.fixture(params=["sqlite", "postgresql"])
def make(request: pytest.FixtureRequest) -> Make:
    """A storage on either database, not opened."""
    return request.getfixturevalue("make_storage" if request.param == "sqlite" else "make_shared")


async def put(storage: SqlStorage, *records: object) -> None:
    await storage.open(lambda commit: None)
    await storage.write(lambda transaction: [transaction.put(record) for record in records])
    await storage.close()


async def test_all_goes_from_sqlite_to_postgresql_and_back(
    make_storage: Make, make_shared: Make, tmp_path: Path
) -> None:
    await make_storage().restore(SAMPLE)
    there = await make_storage().backup()
    await make_shared().restore(there)
    held = await make_shared().backup()
    (tmp_path / "ghostwire.db").unlink()
    await make_storage().restore(held)
    back = await make_storage().backup()
    for each in (there, held, back):
        assert set(each.records) == set(EVERYTHING)
        assert dict(each.settings) == dict(SAMPLE.settings)
        assert dict(each.last_ids) == dict(SAMPLE.last_ids)
    assert 41 < there.revision < held.revision < back.revision


async def test_a_storage_in_use_is_neither_restored_nor_backed_up_from_outside(make: Make) -> None:
    storage = make()
    await storage.open(lambda commit: None)
    with pytest.raises(StateError, match="uses"):
        await make().restore(SAMPLE)
    with pytest.raises(StateError, match="uses"):
        await make().backup()
    await storage.close()
    await make().restore(SAMPLE)


async def test_a_backup_has_what_another_server_wrote(make_shared: Make) -> None:
    one, other = make_shared(), make_shared()
    await one.open(lambda commit: None)
    await other.open(lambda commit: None)

    def work(transaction):
        transaction.put(user(transaction.new_id(User)))
        transaction.set_setting("last", "value")

    await other.write(work)
    backup = await one.backup()
    assert (backup.records, backup.settings["last"], backup.last_ids[User]) == ((user(1),), "value", 1)
    await one.close()
    await other.close()


async def test_numbers_that_no_database_holds_are_refused_in_one_line(make: Make) -> None:
    huge = replace(SAMPLE, records=(replace(user(1), created=1 << 80),))
    with pytest.raises(StateError) as caught:
        await make().restore(huge)
    assert "\n" not in str(caught.value)
    await make().restore(SAMPLE)


async def test_the_database_that_is_replaced_is_kept_whole(make_storage: Make, tmp_path: Path) -> None:
    await put(make_storage(), user(1))
    aside = Path(await make_storage().restore(SAMPLE, replace=True))
    with sqlite3.connect(aside) as database:
        assert database.execute("SELECT id FROM users").fetchall() == [(1,)]
    database.close()
    assert aside.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ghostwire.db").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"ghostwire.db", "ghostwire.db.lock", aside.name}


async def test_what_a_crash_left_of_a_database_that_is_gone_comes_into_no_other(
    make_storage: Make, tmp_path: Path
) -> None:
    path, log = tmp_path / "ghostwire.db", tmp_path / "ghostwire.db-wal"
    storage = make_storage()
    await storage.open(lambda commit: None)
    await storage.write(lambda transaction: transaction.put(user(7)))
    left = log.read_bytes()
    await storage.close()
    path.unlink()
    log.write_bytes(left)
    assert not await make_storage().restore(SAMPLE)
    assert set((await make_storage().backup()).records) == set(EVERYTHING)
    assert [each.read_bytes() for each in tmp_path.glob("*.aside-wal")] == [left]


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + bytes(4096)], ids=["text", "head"])
async def test_a_damaged_database_is_set_aside_too_where_that_is_wished(
    make_storage: Make, tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "ghostwire.db"
    path.write_bytes(damage)
    with pytest.raises(Conflict, match="--force"):
        await make_storage().restore(SAMPLE)
    assert path.read_bytes() == damage
    aside = Path(await make_storage().restore(SAMPLE, replace=True))
    assert aside.read_bytes() == damage
    assert set((await make_storage().backup()).records) == set(EVERYTHING)


@pytest.mark.parametrize("step", ["fill", "_flush", "_set_aside"])
async def test_a_restore_that_fails_midway_leaves_what_was_there(
    make_storage: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await put(make_storage(), user(1))

    def fail(*words: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(backups, step, fail)
        with pytest.raises(StateError, match="No space left"):
            await make_storage().restore(SAMPLE, replace=True)
    assert {path.name for path in tmp_path.iterdir()} == {"ghostwire.db", "ghostwire.db.lock"}
    assert (await make_storage().backup()).records == (user(1),)


async def test_postgresql_is_not_emptied_by_a_restore(make_shared: Make) -> None:
    await put(make_shared(), user(1))
    with pytest.raises(Conflict, match="dropdb"):
        await make_shared().restore(SAMPLE, replace=True)
    assert (await make_shared().backup()).records == (user(1),)


async def test_an_older_program_refuses_a_newer_database_and_leaves_it_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(make(), user(1))
    newest = schema.REVISIONS[-1]
    with monkeypatch.context() as older:
        older.setattr(schema, "REVISIONS", schema.REVISIONS[:-1])
        for use in (lambda storage: storage.open(lambda commit: None), lambda storage: storage.backup()):
            with pytest.raises(StateError, match=f"made by a newer GhostWire .schema {newest}") as caught:
                await use(make())
            assert "\n" not in str(caught.value)
        with pytest.raises((StateError, Conflict)):
            await make().restore(SAMPLE)
    storage = make()
    snapshot = await storage.open(lambda commit: None)
    assert snapshot.records == (user(1),)
    await storage.write(lambda transaction: transaction.new_id(Node))
    await storage.close()


async def test_a_backup_of_what_is_not_there_makes_nothing(make_storage: Make, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no database of a server is there"):
        await make_storage().backup()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ghostwire.db").touch()
    with pytest.raises(StateError, match="no database of a server is there"):
        await make_storage().backup()
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("ghostwire.db", 0)]


async def test_a_backup_of_an_empty_postgresql_makes_no_tables_there(
    make_shared: Make, url: str, shared_cluster: postgres.Cluster
) -> None:
    with pytest.raises(StateError, match="no database of a server is there"):
        await make_shared().backup()
    assert shared_cluster.execute("SELECT to_regclass('alembic_version')", url) == [(None,)]


async def test_records_that_contradict_each_other_are_no_conflict_but_a_backup_that_cannot_be_used(make: Make) -> None:
    with pytest.raises(StateError, match=r"do not fit together: .*; use another backup"):
        await make().restore(replace(SAMPLE, records=(user(1), replace(user(2), name=user(1).name))))


def test_a_place_is_the_same_by_whatever_name(tmp_path: Path) -> None:
    def place(url: str) -> str:
        return SqlStorage(tmp_path, url, os.urandom, logging.getLogger("storage")).place

    (tmp_path / "link.db").symlink_to(tmp_path / "ghostwire.db")
    assert place("") == place(f"sqlite:///{tmp_path}/link.db") == place(f"sqlite:///{tmp_path}/./ghostwire.db")
    assert place("") != place(f"sqlite:///{tmp_path}/other.db")
