"""What opening a PostgreSQL says, in one line, when something is wrong with it or with the way to it."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import postgres
from ghostwire.errors import StateError
from ghostwire.folders import make_folder
from ghostwire.frontdoor.certificate import ensure_certificate
from ghostwire_storage_sql import link, schema
from ghostwire_storage_sql.storage import SqlStorage

Make = Callable[[], SqlStorage]


async def refusal(url: str) -> str:
    storage = SqlStorage(Path("/nonexistent"), url, os.urandom, logging.getLogger("storage"))
    with pytest.raises(StateError) as caught:
        await storage.open(lambda commit: None)
    await storage.close()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def test_a_server_that_is_not_there_is_named_with_what_to_look_at(shared_cluster: postgres.Cluster) -> None:
    said = await refusal(f"postgresql://mesh:secret@127.0.0.1:{postgres.free_port()}/mesh")
    assert "postgresql://mesh@127.0.0.1" in said
    assert "is PostgreSQL running there" in said


async def test_a_database_that_does_not_exist_is_said(shared_cluster: postgres.Cluster) -> None:
    said = await refusal(shared_cluster.url("nowhere"))
    assert 'database "nowhere" does not exist; create it' in said


async def test_a_wrong_password_is_said_and_not_shown(url: str, shared_cluster: postgres.Cluster) -> None:
    shared_cluster.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    rules = shared_cluster.data / "pg_hba.conf"
    rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    shared_cluster.execute("SELECT pg_reload_conf()")
    guarded = url.replace("admin@", "guarded:secret@")
    assert "check the user's password" in await refusal(guarded)
    assert "put a password" in await refusal(url.replace("admin@", "guarded@"))


async def test_a_user_without_rights_is_said(url: str, shared_cluster: postgres.Cluster) -> None:
    shared_cluster.execute("CREATE ROLE stranger LOGIN")
    said = await refusal(url.replace("admin@", "stranger@"))
    assert "permission denied for schema public" in said
    assert "rights" in said


async def test_an_option_that_nobody_knows_is_named_and_nothing_else_of_the_url(url: str) -> None:
    said = await refusal(f"{url.replace('admin@', 'admin:word@')}?sslmod=require")
    assert 'invalid URI query parameter: "sslmod"; try ' in said
    assert "hush" not in await refusal(url.replace("admin@", "admin:hush%zz@"))


async def test_tls_that_the_database_does_not_speak_is_said(url: str) -> None:
    for mode in ("require", "verify-full&sslrootcert=system"):
        assert "turn TLS on there; or accept none: sslmode=prefer" in await refusal(f"{url}?sslmode={mode}")


async def test_over_tls_the_database_is_who_its_certificate_says_or_nobody(tmp_path: Path) -> None:
    with postgres.running() as cluster:
        database, certificate = cluster.database(), speak_tls(cluster, "localhost")
        url = database.replace("127.0.0.1", "localhost")
        checked = f"sslmode=verify-full&sslrootcert={certificate}"
        storage = SqlStorage(tmp_path, f"{url}?{checked}", os.urandom, logging.getLogger("storage"))
        await storage.open(lambda commit: None)
        await storage.close()
        assert cluster.execute("SELECT count(*) > 0 FROM alembic_version", database) == [(True,)]
        assert "check sslmode and sslrootcert" in await refusal(f"{database}?{checked}")
        other, _ = ensure_certificate(make_folder(tmp_path / "other", 0o700), {"localhost"}, int(time.time()))
        assert "check sslmode and sslrootcert" in await refusal(f"{url}?sslmode=verify-full&sslrootcert={other}")
        assert "correct the URL's sslrootcert" in await refusal(f"{url}?sslmode=verify-full&sslrootcert=/nowhere")
        assert "say sslmode=require" in await refusal(f"{url}?sslmode=disable")
        assert "correct the URL: require, or verify-full" in await refusal(f"{url}?sslmode=yes")


def speak_tls(cluster: postgres.Cluster, name: str) -> Path:
    """Let it take only TLS; its certificate, which vouches for itself."""
    certificate, key = ensure_certificate(cluster.data, {name}, int(time.time()))
    for path in (certificate, key):
        shutil.chown(path, cluster.data.owner(), cluster.data.group())
    rules = cluster.data / "pg_hba.conf"
    rules.write_text("hostssl all all all trust\n")
    cluster.execute(f"ALTER SYSTEM SET ssl_cert_file = '{certificate.name}'")
    cluster.execute(f"ALTER SYSTEM SET ssl_key_file = '{key.name}'")
    cluster.execute("ALTER SYSTEM SET ssl = on")
    cluster.execute("SELECT pg_reload_conf()")
    until = time.monotonic() + postgres.PATIENCE
    while not _reached(f"{cluster.url('postgres')}?sslmode=require"):
        assert time.monotonic() < until, "PostgreSQL does not speak TLS"
        time.sleep(0.02)
    return certificate


def _reached(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_a_postgresql_that_is_too_old_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "OLDEST", 99)
    assert "is too old; upgrade it to 99 or newer" in await refusal(url)


async def test_an_encoding_that_holds_not_all_names_is_said(shared_cluster: postgres.Cluster) -> None:
    assert "create it anew with ENCODING 'UTF8'" in await refusal(shared_cluster.database(encoding="LATIN1"))


async def test_a_newer_schema_is_refused_with_what_to_do(
    make_shared: Make, url: str, shared_cluster: postgres.Cluster
) -> None:
    storage = make_shared()
    await storage.open(lambda commit: None)
    await storage.close()
    shared_cluster.execute("UPDATE alembic_version SET version_num = '9999'", url)
    said = await refusal(url)
    assert "9999" in said
    assert "upgrade" in said


async def test_servers_that_start_at_once_on_an_empty_database_migrate_it_once(make_shared: Make, url: str) -> None:
    storages = [make_shared() for _ in range(3)]
    try:
        snapshots = await asyncio.gather(*(storage.open(lambda commit: None) for storage in storages))
        assert [snapshot.revision for snapshot in snapshots] == [0, 0, 0]
    finally:
        for storage in storages:
            await storage.close()


def test_the_migrations_make_the_tables_that_the_code_expects(url: str) -> None:
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from ghostwire_storage_sql import tables

    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        schema.prepare(connection, "here")
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("password", ["Top@secret", "Top/secret", "@secret", "Top/a?secret", "Top/a?secret=b"])
async def test_of_a_password_that_is_not_escaped_nothing_is_shown(password: str) -> None:
    said = await refusal(f"postgresql://mesh:{password}@127.0.0.1:25432/mesh")
    assert "write an @ as %40" in said
    assert "Top" not in said


async def test_a_percent_sign_that_is_not_escaped_is_said() -> None:
    assert "special characters as %XX" in await refusal("postgresql://mesh:%zzsecret@127.0.0.1/mesh")


@pytest.mark.parametrize("port", ["abc", "99999"])
async def test_a_port_that_is_none_is_told_from_a_server_that_is_not_there(port: str) -> None:
    said = await refusal(f"postgresql://mesh:secret@127.0.0.1:{port}/mesh")
    assert said.endswith("; correct the URL")
