"""`ghostwire demo` as a user runs it: it shows a working mesh, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import wait_for

pytestmark = pytest.mark.usefixtures("tun")
DEMO = [sys.executable, "-c", "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire(['demo']))"]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def processes(folder: Path) -> list[int]:
    """The processes that were started with this folder on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += [int(entry.name)] if os.fsencode(folder) in words else []
    return found


def until(demo: subprocess.Popen[str], text: str) -> None:
    """Read the demo's output up to a line with this text."""
    assert demo.stdout is not None
    while select.select([demo.stdout], [], [], 30)[0]:
        line = demo.stdout.readline()
        assert line, f"the demo ended before {text!r}"
        if text in line:
            return
    raise AssertionError(f"no line with {text!r} within 30 s")


def test_the_demo_ends_well_and_cleans_up(temporary: Path) -> None:
    done = subprocess.run(DEMO, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "demo: ok"
    for pattern in (
        r"ping alice -> bob: 100\.64\.\S+ [\d.]+ ms, fd\S+ [\d.]+ ms",
        r"path alice -> carol: direct",
        r"path dave -> alice: over the relay",
        r"tcp alice -> carol: \d+ MiB in [\d.]+ s, \d+ Mbit/s",
        r"carol +100\.64\.\S+.* udp ",
        r"on dave, `gwctl netcheck` says: no UDP; HTTPS to the relay takes [\d.]+ ms",
        r"ping dave -> alice: 100\.64\.\S+ [\d.]+ ms, fd\S+ [\d.]+ ms",
        r"tcp dave -> alice: \d+ MiB in [\d.]+ s, \d+ Mbit/s through the relay in the server; \d+ Mbit/s without one",
        r"alice +100\.64\.\S+.* derp \(relayed\) +relay home \(embedded\)",
    ):
        assert re.search(pattern, done.stdout), (pattern, done.stdout)
    assert processes(temporary) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to give up its rights")
def test_the_demo_needs_no_rights_but_user_namespaces(temporary: Path) -> None:
    # CAP_SETFCAP is what the kernel asks of uid 0 alone before it may map itself; other users need none.
    without_rights = ["setpriv", "--bounding-set", "-all,+setfcap", "--inh-caps", "-all"]
    done = subprocess.run([*without_rights, *DEMO], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "demo: ok"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_cleans_up(temporary: Path, number: signal.Signals) -> None:
    with subprocess.Popen(DEMO, text=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as demo:
        until(demo, "enrolled")
        assert processes(temporary)
        demo.send_signal(number)
        assert demo.wait(30) == 128 + number
    assert processes(temporary) == []
    assert list(temporary.iterdir()) == []


def test_a_demo_killed_outright_leaves_no_process(temporary: Path) -> None:
    with subprocess.Popen(DEMO, text=True, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as demo:
        until(demo, "enrolled")
        demo.kill()
        wait_for("its programs are gone", lambda: not processes(temporary))


def test_a_demo_that_fails_says_where_shows_the_logs_and_cleans_up(temporary: Path) -> None:
    broken = "from ghostwire.cli.demo import cast; cast.Server.command = 'nonsense'; " + DEMO[2]
    done = subprocess.run([sys.executable, "-c", broken], text=True, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert "demo: ok" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("demo: failed while starting the server: ")
    assert "  server: error: " in done.stderr
    assert processes(temporary) == []
    assert list(temporary.iterdir()) == []
