"""Runs a victim and its hostile child once for each way to be confined."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ghostwire.frontdoor.certificate import ensure_certificate

HERE = Path(__file__).parent
CORE = HERE.parents[3] / "core"
PLAIN_USER = 61999
"""An unprivileged user for the victim itself."""

Run = Callable[..., dict[str, Any]]


@cache
def plain_python() -> str:
    """A Python of our version that an unprivileged user can start; empty where there is none."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        again = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import ctypes'], check=True)"
        probe = [python, "-c", again]  # setpriv can start what its user can't
        try:
            started = subprocess.run(_as_plain(probe), capture_output=True, env=_environment(), timeout=60)
        except OSError:
            continue
        if started.returncode == 0:
            return python
    return ""


def _as_plain(command: list[str]) -> list[str]:
    """The command as an unprivileged user: the one we are, or another if we are root."""
    if os.geteuid() != 0:
        return command
    user = f"--reuid={PLAIN_USER}"
    return ["setpriv", user, f"--regid={PLAIN_USER}", "--clear-groups", "--bounding-set=-all", *command]


def _environment() -> dict[str, str]:
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    return {"PYTHONPATH": os.pathsep.join([str(CORE), *packages]), "SECRET": "hidden", "PATH": os.defpath}


@pytest.fixture(scope="session")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """The command line and environment of a victim, with a folder of its own."""
    certificate, key = ensure_certificate(tmp_path_factory.mktemp("tls"), ["peer"], int(time.time()))
    numbers = itertools.count()
    root = tmp_path_factory.mktemp("victims")

    def make(*, plain: bool = False, readable: bool = False, **facts: Any) -> list[Any]:
        if (plain or readable) and not plain_python():
            pytest.skip("no Python that an unprivileged user can start")
        base = Path("/tmp") / f"gwsb-{os.getpid()}-{next(numbers)}" if plain else root / str(next(numbers))
        base.mkdir()
        for path in (certificate, key):
            shutil.copy(path, base / path.name)
        if plain and os.geteuid() == 0:
            for path in (base, *base.iterdir()):
                os.chown(path, PLAIN_USER, PLAIN_USER)
        known = {"user": None} | facts | {"base": str(base)}
        known |= {"certificate": str(base / certificate.name), "key": str(base / key.name)}
        command = [plain_python() if plain or readable else sys.executable, str(HERE / "victim.py"), json.dumps(known)]
        return [_as_plain(command) if plain else command, base]

    return make


@pytest.fixture(scope="session")
def run(victims: Callable[..., list[Any]]) -> Run:
    def start(**facts: Any) -> dict[str, Any]:
        command, base = victims(**facts)
        try:
            ended = subprocess.run(command, capture_output=True, text=True, env=_environment(), timeout=100)
        finally:
            for folder in (base, Path(f"{base}-closed")):
                shutil.rmtree(folder, ignore_errors=True)
        assert ended.stdout, ended.stderr
        found: dict[str, Any] = json.loads(ended.stdout)
        return found | {"errors": ended.stderr}

    return start
