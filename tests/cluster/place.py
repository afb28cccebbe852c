"""Server processes of one mesh on one PostgreSQL, each with a way of its own to the database that can be cut."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import postgres
from ghostwire.cli.api_client import ServerApi
from ghostwire.folders import Folders

CONFIG = 'plugins = ["-derp", "-api_grpc"]\n[server]\ntls = false\n'
PATIENCE = 60.0


class Server:
    """One server process after another on one state folder."""

    def __init__(self, folder: Path, cluster: postgres.Cluster, database: str, url: str) -> None:
        self.folder, self.port, self.proxy = folder, postgres.free_port(), postgres.Proxy(cluster.port)
        folder.mkdir()
        (folder / "ghostwire.toml").write_text(CONFIG)
        self._storage = cluster.url(database.rpartition("/")[2], port=self.proxy.port)
        self._url = url
        self.api = ServerApi(Folders(folder / "state", client=True), timeout=15)
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> Path:
        """Its control.key."""
        return self.folder / "state" / "server" / "control.key"

    @property
    def log(self) -> str:
        """All that its processes said."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def spawn(self) -> None:
        """Begin a process."""
        program = Path(sys.executable).with_name("ghostwire")
        command = [program, "--config", self.folder / "ghostwire.toml", "--state", self.folder / "state", "server"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--url", self._url, "--storage", self._storage]
        environment = {**os.environ, **self.environment}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)

    def ready(self) -> bool:
        """Wait until it serves; False where it ended instead."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.process.stdout.close()
        return b"ready" in line

    async def start(self) -> bool:
        """Begin a process and wait until it serves; False where it ended, or was killed, instead."""
        self.spawn()
        return await asyncio.to_thread(self.ready)

    def send(self, by: signal.Signals) -> None:
        """Signal the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(by)

    async def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End the process, a stopped one too; its exit code."""
        self.send(by)
        self.send(signal.SIGCONT)
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    def remove(self) -> None:
        """End the process and its way to the database."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.proxy.close()

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """A request over its Unix socket."""
        return await asyncio.to_thread(self.api.request, method, path, body)

    async def list(self, path: str, name: str) -> list[dict[str, Any]]:
        """All of a list."""
        found: list[dict[str, Any]] = (await asyncio.to_thread(self.api.all, path, name))[name]
        return found


@contextmanager
def servers(
    folder: Path, cluster: postgres.Cluster, database: str, url: str, environment: Mapping[str, str] | None = None
) -> Iterator[list[Server]]:
    """Three servers, not yet started, removed at the end."""
    made: list[Server] = []
    try:
        for number in range(3):
            made.append(Server(folder / f"server-{number}", cluster, database, url))
            made[-1].environment.update(environment or {})
        yield made
    finally:
        for server in made:
            server.remove()


async def start(made: list[Server]) -> None:
    """Start the first, then the others with its key."""
    first, *others = made
    assert await first.start(), first.log[-2000:]
    for server in others:
        server.key.parent.mkdir(parents=True, mode=0o700)
        shutil.copy(first.key, server.key)
    for server, well in zip(others, await asyncio.gather(*(server.start() for server in others)), strict=True):
        assert well, server.log[-2000:]
