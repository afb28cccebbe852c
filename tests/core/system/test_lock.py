"""One process at a time."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire.errors import StateError
from ghostwire.system.lock import FileLock

OTHER = """
import sys
from pathlib import Path
from ghostwire.errors import StateError
from ghostwire.system.lock import FileLock
try:
    FileLock(Path(sys.argv[1]), "held by {holder}").take()
    print("mine")
except StateError as error:
    print(error)
"""


def test_a_second_process_is_refused_with_the_firsts_pid_until_it_is_gone(tmp_path: Path) -> None:
    other = [sys.executable, "-c", OTHER, str(tmp_path / "lock")]
    lock = FileLock(tmp_path / "lock", "held by {holder}")
    lock.take()
    refused = subprocess.run(other, capture_output=True, text=True, check=True).stdout
    lock.release()
    lock.release()
    allowed = subprocess.run(other, capture_output=True, text=True, check=True).stdout
    assert refused == f"held by {os.getpid()}\n"
    assert allowed == "mine\n"
    lock.take()
    lock.release()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="missing: cannot write here"):
        FileLock(tmp_path / "missing" / "lock", "held").take()


def test_a_full_disk_is_one_line_and_the_lock_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    lock = FileLock(tmp_path / "lock", "held")
    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        with pytest.raises(StateError, match="No space left on device; make room"):
            lock.take()
    lock.take()
    lock.release()


def test_a_lock_that_is_discarded_leaves_no_file_but_one_that_was_there(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock", "held")
    lock.take()
    lock.discard()
    lock.discard()
    assert not (tmp_path / "lock").exists()
    (tmp_path / "lock").touch()
    lock.take()
    lock.discard()
    assert (tmp_path / "lock").exists()


def test_a_lock_whose_file_went_before_it_was_ours_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would have it: one the file that is gone, one the file that took its name."""
    flock, path = fcntl.flock, tmp_path / "lock"

    def discarded_meanwhile(descriptor: int, operation: int) -> None:
        monkeypatch.setattr("fcntl.flock", flock)
        path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", discarded_meanwhile)
    lock = FileLock(path, "held")
    lock.take()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
