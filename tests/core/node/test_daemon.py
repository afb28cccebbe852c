"""The daemon as a process of its own: what it loads, how it starts, waits, refuses and ends."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HEAVY = (
    "aioquic", "alembic", "httpx", "httpx2", "jinja2", "nacl", "pyroute2", "rich", "rich_click", "scapy", "sqlalchemy",
    "starlette", "uvicorn",
)  # fmt: skip
GHOSTWIRE = [sys.executable, "-c", "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire())"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "GHOSTWIRE_JOIN_TOKEN"}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Daemon:
    """`ghostwire client` with its state in ``folder``."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.socket = folder / "run" / "node.sock"
        self.process = subprocess.Popen(
            [*GHOSTWIRE, "--state", str(folder), "client", *options],
            env={**ENVIRONMENT, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = UnixConnection(self.socket)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    running = Daemon(folder)
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


def test_the_daemons_process_loads_nothing_heavy(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from ghostwire.cli.client import client\n"
        "from ghostwire.config import Config; from ghostwire.folders import Folders\n"
        "from ghostwire.node.daemon import compose; from ghostwire.node.node import Node\n"
        "from ghostwire.plugins.host import Host; from ghostwire.plugins.selection import Selection\n"
        "config = Config(); host = Host.compose('node', Selection(config))\n"
        "for hook in ('ghostwire_transports', 'ghostwire_tunnels'):\n"
        "    for offer in host.offers(hook): __import__(offer.provider.create.__module__)\n"
        "import ghostwire_transport_wireguard.tunnel, ghostwire_transport_wireguard.udp\n"
        "compose(host, config, Folders(Path(sys.argv[1])))\n"
        "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {"ghostwire", "cryptography", "msgspec", "h11"} <= set(loaded.split())
    assert set(loaded.split()) & set(HEAVY) == set()


def test_without_a_token_it_waits_says_so_and_ends_well(daemon: Daemon, folder: Path) -> None:
    assert daemon.first_line() == "needs-login: waiting for gwctl up\n"
    status, answer = daemon.ask("GET", "/v1/status")
    assert (status, answer["state"], answer["self"], answer["peers"]) == (200, "needs-login", None, [])
    status, config = daemon.ask("GET", "/v1/config")
    assert (status, config["settings"]["node"]["filter"]) == (200, "userspace")
    assert stat.S_IMODE((folder / "node").stat().st_mode) == 0o700
    assert daemon.end() == (0, "")
    assert not daemon.socket.exists()


def test_an_interrupt_ends_it_as_well(daemon: Daemon) -> None:
    daemon.first_line()
    assert daemon.end(signal.SIGINT) == (0, "")


def test_after_a_crash_the_next_one_takes_over_socket_and_state(daemon: Daemon, folder: Path) -> None:
    daemon.first_line()
    daemon.end(signal.SIGKILL)
    assert daemon.socket.exists()
    successor = Daemon(folder)
    assert successor.first_line().startswith("needs-login")
    assert successor.ask("GET", "/v1/version")[0] == 200
    assert successor.end() == (0, "")


def test_a_second_one_on_the_same_state_is_refused_with_the_pid_of_the_first(daemon: Daemon, folder: Path) -> None:
    daemon.first_line()
    code, errors = Daemon(folder).wait()
    assert code == 5
    assert errors.startswith(f"error: a node is already running (pid {daemon.process.pid})")
    assert errors.count("\n") == 1
    assert daemon.ask("GET", "/v1/version")[0] == 200


def test_a_token_that_is_none_ends_it_with_one_line_and_without_the_token(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("gwjoin-notatoken\n")
    for options, environment in (
        (("--token-file", str(file)), {}),
        ((), {"GHOSTWIRE_JOIN_TOKEN": "gwjoin-notatoken"}),
    ):
        code, errors = Daemon(folder, *options, environment=environment).wait()
        assert (code, errors.count("\n")) == (2, 1)
        assert errors.startswith("error: the join token is damaged")
        assert "notatoken" not in errors


def test_an_empty_token_file_and_an_unknown_operator_are_usage_errors(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.touch()
    assert Daemon(folder, "--token-file", str(empty)).wait() == (2, f"error: {empty}: there is no join token in it\n")
    code, errors = Daemon(folder, "--operator", "nobody-of-that-name").wait()
    assert (code, errors) == (2, "error: node.operator: this machine has no user 'nobody-of-that-name'\n")


def test_a_wrong_order_over_the_socket_is_answered_and_changes_nothing(daemon: Daemon) -> None:
    daemon.first_line()
    assert daemon.ask("POST", "/v1/up", {})[1]["error"]["code"] == "login-required"
    assert daemon.ask("POST", "/v1/up", {"token": "x"})[1]["error"]["code"] == "usage"
    assert daemon.ask("POST", "/v1/ping", {"target": "bob"})[1]["error"]["code"] == "unavailable"
    assert daemon.ask("GET", "/v1/status")[1]["state"] == "needs-login"


def test_a_waiting_daemon_is_small(daemon: Daemon) -> None:
    daemon.first_line()
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident < 50 * 1024
