"""A writer killed at any moment loses nothing that it acknowledged."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostwire.errors import StateError
from ghostwire.model import User
from ghostwire_storage_sql.storage import SqlStorage

PROGRAM = Path(__file__).with_name("acknowledging_writer.py")


def acknowledged_until_killed(folder: Path, at_least: int, further_bytes: int) -> set[int]:
    """Run the writer, kill it in the middle of its work, and give what it had acknowledged."""
    writer = subprocess.Popen([sys.executable, str(PROGRAM), str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    said = b""
    while said.count(b"\n") < at_least:
        said += os.read(writer.stdout.fileno(), 1)
    said += os.read(writer.stdout.fileno(), further_bytes)
    writer.kill()
    said += writer.stdout.read()
    writer.wait()
    writer.stdout.close()
    return {int(line) for line in said.split(b"\n")[:-1]}


async def test_nothing_acknowledged_is_lost_by_kill_9(make_storage: Callable[[], SqlStorage], tmp_path: Path) -> None:
    chance = random.Random(2)
    acknowledged: set[int] = set()
    for _ in range(4):
        count, further = chance.randrange(1, 300), chance.randrange(1, 200)
        new = await asyncio.to_thread(acknowledged_until_killed, tmp_path, count, further)
        assert not new & acknowledged, "an id was given out twice"
        acknowledged |= new
        storage = make_storage()
        snapshot = await storage.open(lambda commit: None)
        log = await storage.log(0)
        await storage.close()
        assert acknowledged <= {record.id for record in snapshot.records}
        assert log is not None
        assert [commit.revision for commit in log] == list(range(1, snapshot.revision + 1))
        logged = {change.id for commit in log for change in commit.changes}
        assert logged == {record.id for record in snapshot.records}


async def test_a_disk_that_fails_fails_every_waiting_work_and_keeps_the_rest(
    make_storage: Callable[[], SqlStorage],
) -> None:
    storage = make_storage()
    await storage.open(lambda commit: None)

    def put(number: int, size: int = 1) -> Callable[..., None]:
        return lambda transaction: transaction.put(
            User(id=number, stable_id=f"u{number}", name=f"user{number}", subject="x" * size)
        )

    await storage.write(put(1))

    def fill_up(transaction):
        for number in range(100, 200):
            put(number, 8192)(transaction)

    # SQLite takes the pages in use as the least it may be limited to
    await storage._writer.read(lambda database: database.cursor.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(StateError, match="free some space"):
        await storage.write(fill_up)
    assert [user.id for user in await storage.write(lambda transaction: transaction.find(User))] == [1]
    await storage.write(put(2))
    await storage.close()


async def test_a_work_whose_caller_gave_up_is_still_done(make_storage: Callable[[], SqlStorage]) -> None:
    storage = make_storage()
    await storage.open(lambda commit: None)
    user = User(id=1, stable_id="u", name="user")
    writing = asyncio.create_task(storage.write(lambda transaction: transaction.put(user)))
    await asyncio.sleep(0)
    writing.cancel()
    assert await storage.write(lambda transaction: transaction.get(User, 1)) == user
    await storage.close()


async def test_a_record_that_no_database_can_hold_fails_its_batch_and_the_storage_goes_on(
    make_storage: Callable[[], SqlStorage],
) -> None:
    storage = make_storage()
    await storage.open(lambda commit: None)
    huge = User(id=1, stable_id="u", name="user", created=1 << 80)
    with pytest.raises(OverflowError):
        await asyncio.wait_for(storage.write(lambda transaction: transaction.put(huge)), 5)
    assert await storage.write(lambda transaction: transaction.get(User, 1)) is None
    await storage.write(lambda transaction: transaction.put(User(id=1, stable_id="u", name="user")))
    await storage.close()


async def test_a_database_that_cannot_be_compacted_or_read_says_so_in_one_line(
    make_storage: Callable[[], SqlStorage],
) -> None:
    storage = make_storage()
    await storage.open(lambda commit: None)
    await storage._writer.read(lambda database: database.cursor.execute("ALTER TABLE log RENAME TO gone"))
    for asked in (storage.compact(1), storage.log(0), storage.mark(1)):
        with pytest.raises(StateError, match="cannot be used"):
            await asked
    await storage.close()


async def test_a_follower_that_fails_keeps_nobody_from_his_acknowledgement(
    make_storage: Callable[[], SqlStorage], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(commit: object) -> None:
        raise ZeroDivisionError

    storage = make_storage()
    await storage.open(fail)
    user = User(id=1, stable_id="u", name="user")
    await asyncio.wait_for(storage.write(lambda transaction: transaction.put(user)), 5)
    assert "ZeroDivisionError" in caplog.text
    await storage.close()
