"""Starting and ending a background daemon, with a small program in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ghostwire import errors
from ghostwire.cli import daemon


def stand_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(daemon, "program", lambda: [sys.executable, "-c", script])


def test_it_runs_detached_and_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = "import os, sys, time; print(sys.argv[1:], os.getsid(0) == os.getpid())"
    stand_in(monkeypatch, f"{script}; sys.stdout.flush(); open({str(ready)!r}, 'w').close(); time.sleep(60)")
    pid = daemon.start(["--state", "x"], tmp_path / "log", ready.exists)
    try:
        assert (tmp_path / "log").read_text() == "['--state', 'x', 'client'] True\n"
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_its_own_error_line_is_what_the_person_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("error: an older one\n")
    stand_in(monkeypatch, "import sys; print('noise\\nerror: no TUN here', file=sys.stderr); sys.exit(6)")
    with pytest.raises(errors.PlatformError, match=r"did not start: no TUN here$"):
        daemon.start([], tmp_path / "log", lambda: False)


def test_without_an_error_line_the_log_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, "raise SystemExit(9)")
    with pytest.raises(errors.GhostwireError, match=f"status 9; its log is {tmp_path}/log"):
        daemon.start([], tmp_path / "log", lambda: False)


def test_stopping_waits_for_the_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper:
        daemon.stop(sleeper.pid)
        assert sleeper.wait(5) == -signal.SIGTERM
    daemon.stop(sleeper.pid)  # it is gone already: no error


def test_one_that_does_not_obey_is_said() -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        with pytest.raises(errors.Unavailable, match="still there"):
            daemon.stop(sleeper.pid, timeout=0.05)
        sleeper.kill()
