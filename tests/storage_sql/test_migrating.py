"""A database of an older version is brought to the newest as it is opened, with all that is in it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from msgspec.structs import replace

from ghostwire.errors import Conflict
from ghostwire.model import PolicyVersion, Relay, Route
from ghostwire.testing.contracts.samples import node, policy_version, pre_auth_key, relay, route, user
from ghostwire_storage_sql import schema
from ghostwire_storage_sql.storage import SqlStorage
from ghostwire_storage_sql.tables import MAPPED

Make = Callable[[], SqlStorage]
RECORDS = (replace(user(1), email=""), node(3), pre_auth_key(2))


def fill_first(path: Path) -> None:
    """The database as schema 0001 had it: records, their ids' counters, a setting, and the log of two commits."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "ghostwire_storage_sql:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for record in RECORDS:
            mapped = MAPPED[type(record)]
            table = sa.Table(mapped.name, sa.MetaData(), autoload_with=connection)
            values = dict(zip((field.name for field in mapped.fields), mapped.row(record), strict=True))
            known = {name: value for name, value in values.items() if name in table.columns}
            connection.execute(sa.insert(table).values(known))
        connection.execute(sa.text("INSERT INTO settings VALUES ('ipv6', 'fd12::/48')"))
        connection.execute(sa.text("UPDATE counters SET value = 2 WHERE name = 'revision'"))
        connection.execute(sa.text("UPDATE counters SET value = 7 WHERE name = 'nodes'"))
        for revision in (1, 2):
            row = {"revision": revision, "mark": bytes([revision]) * 8}
            insert = "INSERT INTO log VALUES (:revision, 0, :mark, 'nodes', 9, NULL)"
            connection.execute(sa.text(insert), row)
    engine.dispose()


async def test_an_older_database_keeps_its_records_history_and_counters(make_storage: Make, tmp_path: Path) -> None:
    fill_first(tmp_path / "ghostwire.db")
    storage = make_storage()
    snapshot = await storage.open(lambda commit: None)
    try:
        assert (snapshot.revision, snapshot.mark, snapshot.oldest) == (2, b"\x02" * 8, 1)
        assert set(map(repr, snapshot.records)) == set(map(repr, RECORDS))
        assert await storage.write(lambda transaction: transaction.setting("ipv6")) == "fd12::/48"
        assert await storage.write(lambda transaction: transaction.new_id(type(RECORDS[1]))) == 8
        assert [commit.revision for commit in await storage.log(0) or ()] == [1, 2]
    finally:
        await storage.close()


async def test_what_a_newer_version_added_works_in_an_older_database(make_storage: Make, tmp_path: Path) -> None:
    fill_first(tmp_path / "ghostwire.db")
    storage = make_storage()
    await storage.open(lambda commit: None)
    assert await storage.write(lambda transaction: transaction.new_id(Relay)) == 1
    await storage.write(lambda transaction: transaction.put(relay(1)))
    with pytest.raises(Conflict):
        await storage.write(lambda transaction: transaction.put(Relay(**{**fields(relay(2)), "name": "relay1"})))
    await storage.close()
    storage = make_storage()
    snapshot = await storage.open(lambda commit: None)
    await storage.close()
    assert relay(1) in snapshot.records
    assert snapshot.revision == 3


async def test_users_routes_and_policies_have_room_in_an_older_database(make_storage: Make, tmp_path: Path) -> None:
    fill_first(tmp_path / "ghostwire.db")
    storage = make_storage()
    await storage.open(lambda commit: None)
    added = (user(1), route(1, router=3), policy_version(1))
    for record in added:
        await storage.write(lambda transaction, new=record: transaction.put(new))
    ids = [await storage.write(lambda transaction, k=kind: transaction.new_id(k)) for kind in (Route, PolicyVersion)]
    with pytest.raises(Conflict, match="no node 77"):
        await storage.write(lambda transaction: transaction.put(route(2, router=77)))
    await storage.close()
    snapshot = await (storage := make_storage()).open(lambda commit: None)
    await storage.close()
    assert set(map(repr, snapshot.records)) == set(map(repr, (*added, *RECORDS[1:])))
    assert ids == [1, 1]


async def test_a_disco_key_that_several_nodes_had_stays_with_the_first(make_storage: Make, tmp_path: Path) -> None:
    path = tmp_path / "ghostwire.db"
    fill_first(path)
    with sqlite3.connect(path) as database:
        for number in (4, 5):
            columns = "'n' || :n, 'n' || :n, user, :key, :key, disco_key, json_array('100.64.9.' || :n)"
            rest = "tags, ephemeral, hostname, os, version, created, expires, pre_auth_key"
            copy = f"INSERT INTO nodes SELECT :n, {columns}, {rest} FROM nodes WHERE id = 3"
            database.execute(copy, {"n": number, "key": bytes([number]) * 32})
        keys = [row[0] for row in database.execute("SELECT disco_key FROM nodes ORDER BY id")]
    database.close()
    storage = make_storage()
    await storage.open(lambda commit: None)
    await storage.close()
    with sqlite3.connect(path) as database:
        after = [row[0] for row in database.execute("SELECT disco_key FROM nodes ORDER BY id")]
    database.close()
    assert len(set(keys)) == 1
    assert after[0] == keys[0]
    assert len(set(after)) == 3


async def test_a_database_that_is_up_to_date_is_left_alone(make_storage: Make, tmp_path: Path) -> None:
    for _ in range(2):
        storage = make_storage()
        await storage.open(lambda commit: None)
        await storage.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ghostwire.db'}")
    with engine.begin() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == (schema.REVISIONS[-1],)
    engine.dispose()


async def test_a_migration_that_fails_leaves_the_older_database_whole(make_storage: Make, tmp_path: Path) -> None:
    path = tmp_path / "ghostwire.db"
    fill_first(path)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE relays (in_the_way TEXT)")
    database.close()
    storage = make_storage()
    with pytest.raises(Exception, match="relays"):
        await storage.open(lambda commit: None)
    await storage.close()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE relays")
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    database.close()
    storage = make_storage()
    assert len((await storage.open(lambda commit: None)).records) == len(RECORDS)
    await storage.close()


def fields(record: Relay) -> dict[str, object]:
    return {name: getattr(record, name) for name in Relay.__struct_fields__}
