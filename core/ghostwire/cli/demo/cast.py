"""Who plays in the demo: the real programs as child processes, and the commands a person would type."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ghostwire.cli.api_client import Api, NodeApi, ServerApi
from ghostwire.cli.daemon import program
from ghostwire.cli.demo.stage import Place, Stage
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.folders import Folders

PR_SET_PDEATHSIG = 1
PATIENCE = 15.0  # seconds for any one thing to happen
_libc = ctypes.CDLL(None)


def wait_for(what: str, happened: Callable[[], bool], *, patience: float = PATIENCE) -> None:
    """Look until it happened; Unavailable with ``what`` where it does not."""
    deadline = time.monotonic() + patience
    while not happened():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what}: not within {patience:.0f} s")
        time.sleep(0.02)


class Actor:
    """A program in its place, with a state folder and a log of its own."""

    command = ""

    def __init__(self, stage: Stage, place: Place, folder: Path) -> None:
        self.stage, self.place, self.state = stage, place, folder / place.name
        self.state.mkdir(mode=0o700)
        self.log = folder / f"{place.name}.log"
        self.config = folder / f"{place.name}.toml"
        self.config.write_text(self.settings())
        self.process: subprocess.Popen[bytes] | None = None

    def settings(self) -> str:
        """The text of its ghostwire.toml."""
        return ""

    def start(self) -> None:
        """Run the program and wait until its local API answers."""
        self.spawn()
        self.ready()

    def spawn(self) -> None:
        """Run the program."""
        command = [*program(), "--config", str(self.config), "--state", str(self.state), self.command]
        with self.log.open("ab") as log, self.stage.inside(self.place):
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the demo, which ends it in order
                preexec_fn=_die_with_parent,
            )

    def ready(self) -> None:
        """Wait until its local API answers; Unavailable where it gives up before."""
        wait_for(f"{self.place.name} answers", self._answers_or_died)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Unavailable(f"{self.place.name} did not end within {PATIENCE:.0f} s") from None

    def tail(self, lines: int = 12) -> list[str]:
        """The end of its log."""
        return self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []

    @property
    def api(self) -> Api:
        """Its local API."""
        raise NotImplementedError

    def gwctl(self, *words: str, stdin: str = "") -> str:
        """Run gwctl on this place's programs; what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", _GWCTL, "--state", str(self.state), *words],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=60,
        )
        if done.returncode:
            raise GhostwireError(f"gwctl {words[0]}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
        return done.stdout

    def _answers_or_died(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise Unavailable(f"{self.place.name} ended with status {self.process.returncode}")
        return self.api.answers()


_GWCTL = "import sys; from ghostwire.cli.main import gwctl; sys.exit(gwctl())"


def _die_with_parent() -> None:
    """A demo that is killed outright leaves no process behind."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Server(Actor):
    """``ghostwire server``."""

    command = "server"

    @property
    def url(self) -> str:
        """Where nodes reach it."""
        return f"https://{self.place.address}:8080"

    def settings(self) -> str:
        """It announces its address: there are no names in the demo's network."""
        return f'[server]\nlisten = "{self.place.address}:8080"\nurl = "{self.url}"\n'

    @property
    def api(self) -> ServerApi:
        """Its local API."""
        return ServerApi(Folders(self.state))

    def join_token(self, user: str) -> str:
        """A user, and a reusable join token for his nodes."""
        self.gwctl("users", "create", user)
        made = json.loads(self.gwctl("preauthkeys", "create", "--user", user, "--reusable", "--json"))
        token: str = made["token"]
        return token


class Node(Actor):
    """``ghostwire client``, and what a person asks it with gwctl."""

    command = "client"

    @property
    def api(self) -> NodeApi:
        """Its local API."""
        return NodeApi(Folders(self.state))

    def join(self, token: str) -> None:
        """``gwctl up``, the token on standard input as it must not be on the command line."""
        self.gwctl("up", "--token-file", "-", "--hostname", self.place.name, stdin=token)

    def status(self) -> dict[str, Any]:
        """What ``gwctl status --json`` prints."""
        return self.api.get("/v1/status")

    def is_running_with(self, peers: int) -> bool:
        """Whether it is up and knows so many peers."""
        status = self.status()
        return status["state"] == "running" and len(status["peers"]) == peers

    def has_path(self, name: str, *, relayed: bool) -> bool:
        """Whether its path to a peer is confirmed, and of this kind."""
        paths = {peer["name"]: peer["path"] for peer in self.status()["peers"]}
        return paths[name] is not None and paths[name]["relayed"] is relayed

    def netcheck(self) -> dict[str, Any]:
        """What ``gwctl netcheck --json`` prints."""
        return self.api.get("/v1/netcheck")

    def addresses(self) -> list[str]:
        """Its mesh addresses, IPv4 first."""
        return list(self.status()["self"]["addresses"])


def close(actors: list[Actor]) -> None:
    """End whoever still runs, last come first; those that do not obey are killed."""
    for actor in reversed(actors):
        try:
            actor.stop()
        except GhostwireError:
            continue


def environment() -> None:
    """What a person exported for his own mesh must not reach the demo's programs."""
    for name in [name for name in os.environ if name.startswith("GHOSTWIRE_")]:
        del os.environ[name]
