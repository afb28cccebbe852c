"""The node daemon as a background process: starting it for `gwctl up`, ending it for `gwctl down --stop`."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ghostwire.errors import (
    GhostwireError,
    PermissionDenied,
    PlatformError,
    StateError,
    Unavailable,
    UsageError,
)

POLL = 0.05  # seconds between two looks at whether the daemon's socket answers
_BY_EXIT_CODE: dict[int, type[GhostwireError]] = {
    kind.exit_code: kind for kind in (UsageError, PermissionDenied, StateError, PlatformError, Unavailable)
}


def program() -> list[str]:
    """The command that runs ``ghostwire`` as it is installed beside this interpreter."""
    installed = Path(sys.executable).with_name("ghostwire")
    if installed.exists():
        return [str(installed)]
    return [sys.executable, "-c", "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire())"]


def start(options: Sequence[str], log: Path, answers: Callable[[], bool], *, timeout: float = 20.0) -> int:
    """Run ``ghostwire OPTIONS client`` detached, its output going to ``log``; its process id, once it answers.

    The daemon's own error where it gives up, Unavailable where it does not answer within ``timeout`` seconds.
    """
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        written = output.tell()
        child = subprocess.Popen(
            [*program(), *options, "client"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    while not answers():
        if child.poll() is not None:
            raise _gave_up(child.returncode, log, written)
        if time.monotonic() > deadline:
            raise Unavailable(f"the node daemon (process {child.pid}) does not answer; its log is {log}")
        time.sleep(POLL)
    child.returncode = 0  # it outlives this process: nobody here waits for its end
    return child.pid


def stop(pid: int, *, timeout: float = 10.0) -> None:
    """End a daemon in good order and wait until it is gone; Unavailable where it takes too long."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], timeout)[0]:
            raise Unavailable(f"the node daemon (process {pid}) is still there after {timeout:.0f} s")
    except PermissionError:
        raise PermissionDenied(f"the node daemon (process {pid}) is another user's: run as root") from None
    finally:
        os.close(process)


def _gave_up(code: int, log: Path, written: int) -> GhostwireError:
    """The daemon's last error line, as the error its exit code stands for."""
    with log.open("rb") as text:
        text.seek(written)
        lines = text.read().decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = errors[-1] if errors else f"it ended with status {code}; its log is {log}"
    return _BY_EXIT_CODE.get(code, GhostwireError)(f"the node daemon did not start: {reason}")
