"""A real server process with join tokens and an API key, for clients that speak gRPC to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grpcclient import Server, Token

from ghostwire.cli.api_client import ServerApi
from ghostwire.folders import Folders

GHOSTWIRE = str(Path(sys.executable).with_name("ghostwire"))


class Running:
    """A server process: its API on the Unix socket, and where clients find it."""

    def __init__(self, state: Path, port: int, tls: bool, process: subprocess.Popen[str]) -> None:
        self.api = ServerApi(Folders(state))
        self.state, self.process = state, process
        self.server = Server(port, tls)
        self.token = self.join_token()
        self.admin_key = self.api_key(f"tests-{os.urandom(4).hex()}")

    def log(self) -> str:
        """What the server wrote."""
        return (self.state / "log").read_text()

    def memory(self) -> int:
        """Its memory in KiB."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1])

    def join_token(self, **order: Any) -> Token:
        return Token(self.api.post("/api/v1/preauthkeys", {"reusable": True, **order})["token"])

    def api_key(self, name: str, **order: Any) -> str:
        return str(self.api.post("/api/v1/apikeys", {"name": name, **order})["secret"])


@contextmanager
def serving(state: Path, *options: str, settings: str = "", tls: bool = True) -> Iterator[Running]:
    """A server of this state folder until the end."""
    state.mkdir(exist_ok=True)
    config = state / "config.toml"
    config.write_text(f'[server]\ntls = {str(tls).lower()}\n[plugin.derp]\nstun = "127.0.0.1:0"\n{settings}')
    words = [GHOSTWIRE, "--config", str(config), "--state", str(state), "server", "--listen", "127.0.0.1:0"]
    with (state / "log").open("w") as log:
        process = subprocess.Popen([*words, *options], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        ready = process.stdout.readline()
        try:
            port = re.search(r":(\d+);", ready)
            assert port, (state / "log").read_text()
            yield Running(state, int(port[1]), tls, process)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
