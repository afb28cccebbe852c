"""Shell completion: a script for each shell, and names from the daemons."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from ghostwire.cli import completion, gwctl, gwctl_admin, gwctl_debug, gwctl_ping, gwctl_relays

Serve = Callable[[str], Any]


def complete(state: Path, *words: str) -> list[str]:
    """What TAB offers after these words, the last being begun."""

    @click.group()
    @click.option("--state", type=click.Path(path_type=Path))
    def root(state: Path | None) -> None:
        """Stands for gwctl, whose group makes the program when it runs, and does not run now."""

    for command in (
        gwctl_ping.ping,
        gwctl_debug.paths,
        gwctl.ip,
        gwctl_admin.nodes,
        gwctl_admin.users,
        gwctl_relays.relays,
    ):
        root.add_command(command)
    *before, incomplete = words
    found = ShellComplete(root, {}, "gwctl", "_X").get_completions(["--state", str(state), *before], incomplete)
    return [item.value for item in found]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_that_shells_and_calls_gwctl(run: Callable[..., Result], shell: str) -> None:
    script = run(completion.completion, shell).stdout
    assert "_GWCTL_COMPLETE" in script
    assert f"{shell}_complete" in script


def test_bash_accepts_its_script(run: Callable[..., Result]) -> None:
    script = run(completion.completion, "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, env={"PATH": os.defpath}).returncode == 0


def test_peers_nodes_users_and_relays_complete_from_the_daemons(serve: Serve, state: Path) -> None:
    named = [{"name": name} for name in ("alice", "alf", "bob")]
    serve("node").answers["GET", "/v1/status"] = (200, {"peers": named})
    server = serve("server")
    server.answers["GET", "/api/v1/nodes"] = (200, {"nodes": named})
    server.answers["GET", "/api/v1/users"] = (200, {"users": named})
    server.answers["GET", "/api/v1/relays"] = (200, {"relays": named})
    assert complete(state, "relays", "drain", "a") == ["alice", "alf"]
    assert complete(state, "ping", "al") == ["alice", "alf"]
    assert complete(state, "ip", "b") == ["bob"]
    assert complete(state, "nodes", "delete", "") == ["alice", "alf", "bob"]
    assert complete(state, "users", "rename", "alf") == ["alf"]


def test_without_a_daemon_nothing_completes_and_nothing_fails(state: Path) -> None:
    assert complete(state, "ping", "al") == []
    assert complete(state, "nodes", "show", "") == []
