"""`ghostwire relay`, as people start and stop it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from ghostwire.cli import main
from ghostwire.config import Config
from ghostwire.keys import ControlKey
from ghostwire.relay import program
from ghostwire.wire.jointoken import JoinToken
from ghostwire_derp import command

TOKEN = JoinToken("https://mesh.example:8080", "gwrelay-1", ControlKey(b"\x07" * 32), scheme="relay").encode()
Start = Callable[..., "asyncio.Future[Running]"]


class Running:
    """A relay process that has said it is ready, or nothing: then it has ended by itself."""

    def __init__(self, process: asyncio.subprocess.Process, ready: str) -> None:
        self.process, self.ready = process, ready

    async def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit status, and what it logged."""
        assert self.process.stderr is not None
        if self.ready and self.process.returncode is None:
            self.process.send_signal(number)  # which would reap one that has ended, before the loop can
        log = (await self.process.stderr.read()).decode()
        return await self.process.wait(), log


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """``await start(*options)`` runs `ghostwire relay` with a state folder of its own."""
    (tmp_path / "gw.toml").write_text('[plugin.derp]\nstun = ""\n')
    words = ["--config", str(tmp_path / "gw.toml"), "--state", str(tmp_path / "state"), "relay"]
    started: list[Running] = []

    async def run(*options: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("ghostwire")),
            *words,
            *("--listen", "127.0.0.1:0", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        started.append(Running(process, (await process.stdout.readline()).decode().rstrip()))
        return started[-1]

    yield run
    for running in started:
        await running.end(signal.SIGKILL)


async def test_it_says_where_it_serves_and_ends_in_good_order(start: Start) -> None:
    relay = await start("--open")
    assert relay.ready.startswith("ghostwire relay ready at https://127.0.0.1:")
    assert relay.ready.endswith("open to whoever comes")
    status, log = await relay.end()
    assert status == 0
    assert "WARNING ghostwire.relay: open: this relay serves whoever comes" in log
    assert "the SHA-256 of its certificate is " in log


async def test_a_second_one_of_the_same_state_is_refused_and_harms_nobody(start: Start) -> None:
    first = await start("--open", "--no-tls")
    assert first.ready.startswith("ghostwire relay ready at http://127.0.0.1:")
    second = await start("--open")
    status, log = await second.end()
    assert (status, second.ready) == (5, "")
    assert log == f"error: a relay is already running (pid {first.process.pid}); stop it, or pass --state for another\n"
    assert (await first.end())[0] == 0


async def test_without_a_token_it_says_what_to_do(start: Start) -> None:
    status, log = await (await start()).end()
    assert status == 8
    assert log.startswith(
        "error: this relay belongs to no mesh yet: give a join token (on the server, gwctl relays create"
    )


class Asked:
    """What the command asks of the program."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(program, "run_forever", self._run)
        monkeypatch.setattr(command, "log_to_stderr", lambda: None)
        self.config: Config
        self.order: program.Order

    def _run(self, selection: program.Selection, folders: object, order: program.Order) -> None:
        self.config, self.order = selection.config, order


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_options_go_before_the_file(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "gw.toml").write_text('[relay]\nlisten = "127.0.0.1:1"\nworkers = 3\nopen = true\n')
    words = ["--config", str(tmp_path / "gw.toml"), "relay", "--listen", ":443", "--no-tls"]
    assert main.ghostwire(words) == 0
    relay = asked.config.relay
    assert (relay.listen, relay.tls, relay.workers, relay.open) == (":443", False, 3, True)
    assert asked.order.token is None


def test_the_token_comes_from_a_file_or_the_environment_which_forgets_it(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert main.ghostwire(["relay", "--token-file", str(tmp_path / "token")]) == 0
    assert asked.order.token == TOKEN
    monkeypatch.setenv("GHOSTWIRE_JOIN_TOKEN", TOKEN)
    assert main.ghostwire(["relay"]) == 0
    assert asked.order.token == TOKEN
    assert "GHOSTWIRE_JOIN_TOKEN" not in os.environ
    assert TOKEN not in repr(asked.order)


def test_other_relays_and_their_key_are_given_together(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.ghostwire(["relay", "--open", "--mesh-with", "b.example"]) == 2
    assert "--mesh-with needs the key that the relays share: --mesh-key-file FILE" in capsys.readouterr().err
    key = tmp_path / "mesh.key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    words = ["relay", "--open", "--mesh-key-file", str(key), "--mesh-with", "b.example", "--mesh-with", "c.example:443"]
    assert main.ghostwire(words) == 0
    assert [relay.name for relay in asked.order.local.relays] == ["b.example:3478", "c.example:443"]
    assert asked.order.local.mesh_key == b"\x11" * 32


def test_a_wrong_address_is_refused_in_one_line(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.ghostwire(["relay", "--listen", "here"]) == 2
    assert capsys.readouterr().err == ("error: --listen: expected HOST:PORT, for instance 0.0.0.0:8080, not 'here'\n")


def test_without_the_plugin_there_is_no_such_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.ghostwire(["--plugin", "-derp", "relay"]) == 2
    assert "no such command 'relay'" in capsys.readouterr().err
