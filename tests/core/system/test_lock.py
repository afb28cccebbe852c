"""One process at a time."""

import errno
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
