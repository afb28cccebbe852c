"""The relays that are measured, each a process of its own on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ghostwire.frontdoor.certificate import ensure_certificate

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0
_GHOSTWIRE = "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire())"
_PRIVATE_KEY = "privkey:" + "9" * 64


@dataclass(frozen=True, slots=True)
class Running:
    """A relay that answers."""

    pid: int
    port: int
    tls: bool


Relay = Callable[[bool], "contextlib.AbstractContextManager[Running]"]
"""Runs a relay, with TLS or without, while its context is open."""


def ours(workers: int = 1) -> Relay:
    """Our stand-alone relay."""

    def run(tls: bool) -> contextlib.AbstractContextManager[Running]:
        def words(folder: Path, port: int) -> list[str]:
            config = folder / "ghostwire.toml"
            config.write_text('[plugin.derp]\nstun = ""\n')
            command = [sys.executable, "-c", _GHOSTWIRE, "--config", str(config), "--state", str(folder)]
            command += ["relay", "--open", "--listen", f"127.0.0.1:{port}", "--workers", str(workers)]
            return command + ([] if tls else ["--no-tls"])

        return _running(words, tls)

    return run


def derper(program: str) -> Relay:
    """Tailscale's, with a certificate of the same kind as ours."""

    def run(tls: bool) -> contextlib.AbstractContextManager[Running]:
        def words(folder: Path, port: int) -> list[str]:
            config = folder / "derper.json"
            config.write_text(json.dumps({"PrivateKey": _PRIVATE_KEY}))
            command = [program, "-c", str(config), "-a", f"127.0.0.1:{port}", "-http-port", "-1", "-stun=false"]
            return command + (_manual_certificate(folder) if tls else [])

        return _running(words, tls)

    return run


def find_derper() -> str | None:
    """GHOSTWIRE_DERPER, or ``derper`` on PATH or where Go installs it."""
    named = os.environ.get("GHOSTWIRE_DERPER") or shutil.which("derper")
    if named or not shutil.which("go"):
        return named
    folder = subprocess.run(["go", "env", "GOPATH"], capture_output=True, text=True).stdout.strip()
    return shutil.which("derper", path=f"{folder}/bin")


def derper_version(program: str) -> str:
    """As the program says it: ``1.102.0``."""
    return subprocess.run([program, "-version"], capture_output=True, text=True).stdout.strip().partition("-")[0]


def _manual_certificate(folder: Path) -> list[str]:
    certificate, key = ensure_certificate(folder, ["127.0.0.1"], int(time.time()))
    shutil.copy(certificate, folder / "127.0.0.1.crt")
    shutil.copy(key, folder / "127.0.0.1.key")
    return ["-certmode", "manual", "-certdir", str(folder), "-hostname", "127.0.0.1"]


@contextlib.contextmanager
def _running(words: Callable[[Path, int], Sequence[str]], tls: bool) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="ghostwire-bench-") as name:
        folder, port = Path(name), _free_port()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words(folder, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT)
        try:
            _await(process, port, folder / "log")
            yield Running(process.pid, port, tls)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not answer: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
