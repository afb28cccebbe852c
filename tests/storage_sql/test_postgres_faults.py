"""Servers on one PostgreSQL that are killed, stopped and cut off, and a database that goes away and comes back."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

import postgres
from ghostwire.capabilities.storage import Commit, Notice, Snapshot
from ghostwire.errors import StateError, Unavailable
from ghostwire.model import User
from ghostwire.testing.contracts.storage_sharing import Told
from ghostwire_storage_sql import follower, link, meeting
from ghostwire_storage_sql.postgres import PostgresDatabase
from ghostwire_storage_sql.storage import SqlStorage

pytestmark = pytest.mark.timeout(110)
PROGRAM = Path(__file__).with_name("acknowledging_writer.py")
Make = Callable[[str], SqlStorage]
HELD = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"


def put(number: int) -> Callable[..., None]:
    return lambda transaction: transaction.put(User(id=number, stable_id=f"u{number}", name=f"user{number}"))


def ids(commits: list[Commit]) -> list[int]:
    return [change.id for commit in commits for change in commit.changes]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Storages on a URL, closed at the end."""
    made = []

    def one(url: str) -> SqlStorage:
        made.append(SqlStorage(tmp_path, url, os.urandom, logging.getLogger("storage")))
        return made[-1]

    yield one
    for storage in made:
        await storage.close()


@pytest.fixture
def proxy(shared_cluster: postgres.Cluster) -> Iterator[postgres.Proxy]:
    """A way to the shared cluster that can be cut."""
    held = postgres.Proxy(shared_cluster.port)
    yield held
    held.close()


@contextmanager
def writing(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes; killed at the end."""
    with subprocess.Popen([sys.executable, str(PROGRAM), str(folder), url], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[bytes], at_least: int) -> bytes:
    """Some of what the writer acknowledged by now."""
    assert process.stdout is not None
    text = b""
    while text.count(b"\n") < at_least:
        text += os.read(process.stdout.fileno(), 64)
    return text


async def test_nothing_that_a_server_acknowledged_is_lost_by_kill_9(
    make: Make, cluster: postgres.Cluster, tmp_path: Path
) -> None:
    url, told = cluster.database(), Told[Commit]()
    storage = make(url)
    await storage.open(told)
    acknowledged: set[int] = set()
    for round_ in range(3):
        with writing(tmp_path, url) as process:
            text = await asyncio.to_thread(said, process, 40 + 30 * round_)
            await storage.write(put(1_000_000 + round_))
            process.kill()
            assert process.stdout is not None
            text += process.stdout.read()
        new = {int(line) for line in text.split(b"\n")[:-1]}
        assert not new & acknowledged, "an id was given out twice"
        acknowledged |= new
    await storage.write(put(2_000_000))
    assert acknowledged <= set(ids(told.all))
    assert [commit.revision for commit in told.all] == list(range(1, len(told.all) + 1))
    late = await make(url).open(lambda commit: None)
    assert {record.id for record in late.records} == set(ids(told.all))


async def test_a_server_that_stops_while_it_holds_the_lock_keeps_others_waiting_for_seconds_only(
    make: Make, url: str, shared_cluster: postgres.Cluster, tmp_path: Path
) -> None:
    storage = make(url)
    await storage.open(lambda commit: None)
    holds = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
    with writing(tmp_path, url) as process:
        await asyncio.to_thread(said, process, 10)
        held = 0
        while not held:  # stopped at any moment; again until it has the lock then
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.003)
            process.send_signal(signal.SIGSTOP)
            held = (await asyncio.to_thread(shared_cluster.execute, holds, url))[0][0]
        began = time.monotonic()
        await storage.write(put(1_000_000))
        assert time.monotonic() - began < 8
        process.send_signal(signal.SIGCONT)
    await storage.write(put(1_000_001))


async def test_servers_go_on_after_the_database_was_restarted(make: Make, cluster: postgres.Cluster) -> None:
    url = cluster.database()
    (one, first), (other, second) = (make(url), Told[Commit]()), (make(url), Told[Commit]())
    await one.open(first)
    await other.open(second)
    await one.write(put(1))
    cluster.kill()
    waiting = asyncio.ensure_future(other.write(put(2)))
    await asyncio.to_thread(cluster.start)
    await asyncio.gather(waiting, return_exceptions=True)
    await one.write(put(3))
    await second.until(lambda commits: 3 in ids(commits), "another's commits must be seen after a restart")
    await first.until(lambda commits: ids(commits) == ids(second.all), "both must be told the same")


async def test_a_server_that_is_cut_off_refuses_works_says_so_and_catches_up(
    make: Make, url: str, proxy: postgres.Proxy, shared_cluster: postgres.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "LOST", 3.0)
    through = shared_cluster.url(url.rpartition("/")[2], port=proxy.port)
    near, far = make(url), make(through)
    told, following = Told[Commit](), Told[bool]()
    await near.open(lambda commit: None)
    far.follow(following)
    await far.open(told)
    await far.write(put(1))
    proxy.cut()
    await near.write(put(2))
    await following.until(lambda said: said == [False], "a server that is cut off must say so")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"postgresql://admin@127.0.0.1"):
        await far.write(put(3))
    assert time.monotonic() - began < 0.5
    proxy.heal()
    await following.until(lambda said: said == [False, True], "and that it is back")
    assert ids(told.all) == [1, 2]
    await far.write(put(4))
    assert ids(told.all) == [1, 2, 4]


async def test_a_database_that_says_nothing_any_more_is_given_up_in_time(
    make: Make, url: str, proxy: postgres.Proxy, shared_cluster: postgres.Cluster
) -> None:
    far, near, following = make(shared_cluster.url(url.rpartition("/")[2], port=proxy.port)), make(url), Told[bool]()
    far.follow(following)
    await far.open(lambda commit: None)
    await near.open(lambda commit: None)
    proxy.pause()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await far.write(put(1))
    assert time.monotonic() - began < 16
    await near.write(put(2))
    await following.until(lambda said: said == [False], "a server that hears nothing must say so")
    proxy.resume()
    await following.until(lambda said: said == [False, True], "and that it is back")
    assert [user.id for user in await far.write(lambda transaction: transaction.find(User))] == [2]


async def test_a_commit_whose_answer_is_lost_is_known_by_its_mark(
    make: Make, url: str, proxy: postgres.Proxy, shared_cluster: postgres.Cluster
) -> None:
    told = Told[Commit]()
    far = make(shared_cluster.url(url.rpartition("/")[2], port=proxy.port))
    await far.open(told)
    await far.write(put(1))
    proxy.lose_answer_to(b"COMMIT")
    await far.write(put(2))
    assert proxy.lost.is_set()
    await far.write(put(3))
    assert ids(told.all) == [1, 2, 3]
    assert [commit.revision for commit in told.all] == [1, 2, 3]
    assert [user.id for user in await far.write(lambda transaction: transaction.find(User))] == [1, 2, 3]


async def test_a_server_whose_log_was_compacted_past_it_is_told_all_differences_at_once(
    make: Make, url: str, proxy: postgres.Proxy, shared_cluster: postgres.Cluster
) -> None:
    told, near = Told[Commit](), make(url)
    far = make(shared_cluster.url(url.rpartition("/")[2], port=proxy.port))
    await near.open(lambda commit: None)
    await far.open(told)
    for number in (1, 2):
        await far.write(put(number))
    proxy.cut()
    for number in (3, 4, 5):
        await near.write(put(number))
    await near.write(lambda transaction: transaction.delete(User, 1))
    await near.compact(6)
    proxy.heal()
    await told.until(lambda commits: commits[-1].revision == 6, "what was missed must be told")
    assert {(change.id, change.record is None) for change in told.all[-1].changes} == {
        (1, True),
        (3, False),
        (4, False),
        (5, False),
    }
    await far.write(put(7))
    assert told.all[-1].revision == 7


async def test_a_server_that_is_not_heard_of_is_gone_and_whole_when_it_is_back(
    make: Make, url: str, proxy: postgres.Proxy, shared_cluster: postgres.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting.posts, "GONE", "3 seconds")
    heard, near = Told[Notice](), make(url)
    far = make(shared_cluster.url(url.rpartition("/")[2], port=proxy.port))
    await near.open(lambda commit: None)
    await far.open(lambda commit: None)
    assert near.exchange is not None
    assert far.exchange is not None
    near.exchange.join("near", heard)
    far.exchange.join("far", lambda notice: None)
    far.exchange.post(1, {"a": b"1", "b": b"1"})
    await heard.until(lambda notices: bool(notices) and notices[-1].counter == 1, "a post must be heard")
    proxy.cut()
    await heard.until(lambda notices: notices[-1].gone, "a server that is cut off is gone")
    far.exchange.post(2, {"a": None})
    proxy.heal()
    await heard.until(lambda notices: not notices[-1].gone, "a server that is back is heard of")
    assert heard.all[-1] == Notice("far", 2, {"b": b"1"}, whole=True)


async def test_a_newer_servers_kinds_and_columns_do_not_disturb_an_older_one_that_runs(
    make: Make, url: str, shared_cluster: postgres.Cluster
) -> None:
    (one, first), other = (make(url), Told[Commit]()), make(url)
    await one.open(first)
    await other.open(lambda commit: None)
    shared_cluster.execute("ALTER TABLE users ADD COLUMN shoe_size bigint NOT NULL DEFAULT 7", url)
    shared_cluster.execute("UPDATE alembic_version SET version_num = '9999'", url)
    shared_cluster.execute("INSERT INTO log VALUES (1, 0, 'marked!!', 'shoes', 1, 'x')", url)
    shared_cluster.execute("UPDATE counters SET value = 1 WHERE name = 'revision'", url)
    await other.write(put(1))
    await one.write(put(2))
    assert [(commit.revision, len(commit.changes)) for commit in first.all] == [(1, 0), (2, 1), (3, 1)]
    assert shared_cluster.execute("SELECT shoe_size FROM users", url) == [(7,), (7,)]


async def test_a_write_that_fails_under_the_lock_leaves_no_transaction_open(
    make: Make, url: str, shared_cluster: postgres.Cluster
) -> None:
    storage = make(url)
    await storage.open(lambda commit: None)
    shared_cluster.execute("ALTER TABLE settings RENAME TO hidden", url)
    with pytest.raises(StateError, match="settings"):
        await storage.write(put(1))
    assert shared_cluster.execute(HELD, url) == [(0,)]
    shared_cluster.execute("ALTER TABLE hidden RENAME TO settings", url)
    await storage.write(put(1))


async def test_a_server_that_cannot_read_the_log_does_not_keep_the_lock_from_others(
    make: Make, url: str, shared_cluster: postgres.Cluster
) -> None:
    older, newer = make(url), make(url)
    await older.open(lambda commit: None)
    shared_cluster.execute(r"INSERT INTO log VALUES (1, 0, 'marked!!', 'users', 9, '\xc1')", url)
    shared_cluster.execute("UPDATE counters SET value = 1 WHERE name = 'revision'", url)
    await newer.open(lambda commit: None)
    with pytest.raises(ValueError, match="MessagePack"):
        await older.write(put(1))
    assert shared_cluster.execute(HELD, url) == [(0,)]
    async with asyncio.timeout(3):
        await newer.write(put(2))


async def test_a_server_that_waits_for_the_lock_in_vain_while_it_catches_up_does_so_later(
    make: Make, url: str, proxy: postgres.Proxy, shared_cluster: postgres.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LIMITS", {**link.LIMITS, "lock_timeout": "300ms"})
    told, near = Told[Commit](), make(url)
    far = make(shared_cluster.url(url.rpartition("/")[2], port=proxy.port))
    await near.open(lambda commit: None)
    await far.open(told)
    proxy.cut()
    for number in (1, 2):
        await near.write(put(number))
    await near.compact(2)
    with closing(psycopg.connect(url)) as other:
        other.execute("SELECT value FROM counters WHERE name = 'revision' FOR UPDATE")
        proxy.heal()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while not (await asyncio.to_thread(shared_cluster.execute, waits, url))[0][0]:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
    await told.until(lambda commits: ids(commits) == [1, 2], "what was missed must be told")
    await far.write(put(3))


FALL_BACK = "DELETE FROM log WHERE revision > 1; DELETE FROM users WHERE id > 1; UPDATE counters SET value = 1"
"""What a standby has that takes over and was behind."""


@pytest.mark.parametrize("connected", [True, False])
async def test_a_database_that_lost_commits_is_not_followed_into_another_history(
    make: Make, url: str, shared_cluster: postgres.Cluster, connected: bool
) -> None:
    storage, told, following = make(url), Told[Commit](), Told[bool]()
    storage.follow(following)
    await storage.open(told)
    for number in (1, 2, 3):
        await storage.write(put(number))
    shared_cluster.execute(FALL_BACK, url)
    if not connected:
        ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        shared_cluster.execute(f"{ends} AND pid <> pg_backend_pid()", url)
    with pytest.raises(StateError, match="is no longer the database that was opened; restart this server"):
        await storage.write(put(4))
    late = make(url)
    assert [record.id for record in (await late.open(lambda commit: None)).records] == [1]
    for number in (5, 6, 7):
        await late.write(put(number))
    with pytest.raises(StateError, match="is no longer"):
        await storage.write(put(8))
    assert [commit.revision for commit in told.all] == [1, 2, 3]


@pytest.fixture
def judged_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("POLL", 0.1), ("TICK", 0.05), ("LOST", 0.5)):
        monkeypatch.setattr(follower, name, seconds)


@pytest.mark.usefixtures("judged_soon")
async def test_a_server_that_took_long_to_open_is_in_reach_from_then_on(
    make: Make, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = PostgresDatabase.snapshot

    def slow(database: PostgresDatabase) -> Snapshot:
        time.sleep(follower.LOST + 0.1)
        return read(database)

    monkeypatch.setattr(PostgresDatabase, "snapshot", slow)
    storage, following = make(url), Told[bool]()
    storage.follow(following)
    await storage.open(lambda commit: None)
    await asyncio.sleep(2 * follower.TICK)
    await storage.write(put(1))
    assert following.all == []


@pytest.mark.usefixtures("judged_soon")
async def test_a_server_that_cannot_meet_the_others_serves_nobody_until_it_can(
    make: Make, shared_cluster: postgres.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    shared_cluster.execute("CREATE ROLE lonely LOGIN")
    url = shared_cluster.database().replace("admin@", "lonely@")
    shared_cluster.execute(f"ALTER DATABASE {url.rpartition('/')[2]} OWNER TO lonely")
    storage, following = make(url), Told[bool]()
    storage.follow(following)
    with psycopg.connect(url):
        shared_cluster.execute("ALTER ROLE lonely CONNECTION LIMIT 2")
        await storage.open(lambda commit: None)
        await following.until(lambda heard: heard == [False], "that it serves nobody must be told")
        assert "the other servers cannot be met: too many connections" in caplog.text
        with pytest.raises(Unavailable):
            await storage.write(put(1))
    await following.until(lambda heard: heard == [False, True], "that it serves again must be told")
    await storage.write(put(1))
