"""gwctl on a node: what it asks the daemon, what it shows, how it exits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from ghostwire.cli import daemon, gwctl

Run = Callable[..., Result]
Serve = Callable[[str], Any]
ALICE = {
    "id": 2,
    "name": "alice",
    "addresses": ["100.64.0.3", "fd00::3"],
    "node_key": "nodekey:00",
    "path": {"transport": "udp", "endpoint": "192.0.2.7:41641", "relayed": False},
    "latency_ms": 3.14,
    "last_handshake": 1,
    "rx_bytes": 2048,
    "tx_bytes": 5,
    "active": True,
}
RELAYED = {
    "id": 3,
    "name": "bob",
    "addresses": ["100.64.0.4"],
    "path": {"transport": "derp", "endpoint": "1/key", "relayed": True, "region": "fra", "relay": "fra1"},
    "last_handshake": None,
}
STATUS: dict[str, Any] = {
    "state": "running",
    "version": "0.1.0",
    "server": {"url": "https://mesh.example:8080", "connected": True, "last_error": None, "last_connected": 1},
    "self": {"id": 1, "name": "me", "addresses": ["100.64.0.2", "fd00::2"], "node_key": "nodekey:01", "expires": None},
    "domain": "mesh.local",
    "peers": [ALICE, RELAYED],
    "tunnel": "userspace",
    "interface": "gw0",
}


def answering(serve: Serve, **changes: Any) -> Any:
    fake = serve("node")
    fake.answers["GET", "/v1/status"] = (200, STATUS | changes)
    fake.answers["POST", "/v1/up"] = (200, STATUS)
    fake.answers["POST", "/v1/down"] = (200, {})
    return fake


def test_status_shows_each_peer_with_its_path_latency_handshake_and_bytes(serve: Serve, run: Run) -> None:
    answering(serve)
    result = run(gwctl.status)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert any(row[:3] == ["alice", "100.64.0.3,", "fd00::3"] and "192.0.2.7:41641" in row for row in rows)
    assert "3.1 ms" in result.stdout
    assert "2.0 KiB" in result.stdout
    assert "derp (relayed)" in result.stdout
    assert "never" in result.stdout
    assert "https://mesh.example:8080 (connected)" in result.stdout


def test_status_names_relay_and_region_of_a_relayed_path_and_the_nodes_home(serve: Serve, run: Run) -> None:
    home = {"region": 2, "name": "nyc", "relay": "", "connected": False}
    answering(serve, home=home)
    result = run(gwctl.status)
    assert "relay fra (fra1)" in result.stdout
    assert "nyc: not connected" in result.stdout
    answering_away = STATUS | {"home": home | {"relay": "nyc3", "connected": True}}
    assert dict(gwctl._own_fields(answering_away))["home relay"] == "nyc (nyc3)"


UDP = {
    "name": "udp",
    "plugin": "transport_wireguard",
    "state": "running",
    "restarts": 0,
    "isolated": False,
    "trouble": "",
}


@pytest.mark.parametrize(
    "news",
    [
        {"state": "restarting", "restarts": 3, "trouble": "the modem hung up"},
        {"isolated": True},
        {"trouble": "raised in send: OSError"},
    ],
    ids=["restarting", "isolated", "troubled"],
)
def test_status_lists_the_transports_where_there_is_anything_to_say(serve: Serve, run: Run, news: Any) -> None:
    stranger = UDP | {"name": "stranger", "plugin": "strange"}
    fake = answering(serve, transports=[UDP, stranger])
    assert "stranger" not in run(gwctl.status).stdout
    fake.answers["GET", "/v1/status"] = (200, STATUS | {"transports": [UDP, stranger | news]})
    rows = [line.split() for line in run(gwctl.status).stdout.splitlines()]
    row = next(row for row in rows if row[:1] == ["stranger"])
    assert row[1:3] == ["strange", news.get("state", "running")]
    assert " ".join(row).endswith(str(news.get("trouble", "-")))


def test_status_prints_the_daemons_json_as_it_is(serve: Serve, run: Run) -> None:
    answering(serve)
    assert json.loads(run(gwctl.status, "--json").stdout) == STATUS
    assert "peers" not in json.loads(run(gwctl.status, "--json", "--no-peers").stdout)


@pytest.mark.parametrize("now", ["needs-login", "starting", "stopped", "expired"])
def test_status_exits_1_while_the_node_is_not_up(serve: Serve, run: Run, now: str) -> None:
    answering(serve, state=now, self=None, peers=[])
    result = run(gwctl.status)
    assert result.exit_code == gwctl.NOT_RUNNING
    assert now in result.stdout


def test_a_mesh_is_called_empty_only_where_there_is_one(serve: Serve, run: Run) -> None:
    fake = answering(serve, peers=[])
    assert "no other node is in the mesh yet" in run(gwctl.status).stdout
    needs_login = STATUS | {"state": "needs-login", "self": None, "peers": []}
    fake.answers["GET", "/v1/status"] = (200, needs_login)
    assert "in the mesh yet" not in run(gwctl.status).stdout


@pytest.mark.parametrize(("ago", "shown"), [(None, "never connected"), (7200, "last session began 2 h ago")])
def test_status_says_why_the_server_is_not_connected(serve: Serve, run: Run, ago: float | None, shown: str) -> None:
    began = None if ago is None else time.time() - ago
    answering(serve, server={"url": "https://s", "connected": False, "last_error": "refused", "last_connected": began})
    assert f"https://s ({shown}; refused)" in run(gwctl.status).stdout


def test_a_name_with_control_characters_cannot_drive_the_terminal(serve: Serve, run: Run) -> None:
    answering(serve, peers=[ALICE | {"name": "\x1b]0;owned\x07[bold]x"}])
    shown = run(gwctl.status).stdout
    assert "\x07" not in shown
    assert "\x1b" not in shown
    assert "[bold]x" in shown


def test_without_a_daemon_the_exit_code_says_so(run: Run) -> None:
    result = run(gwctl.status)
    assert result.exit_code == 7
    assert result.stderr == "error: the node daemon is not running: start it with `gwctl up`\n"


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ([], "100.64.0.2\nfd00::2\n"),
        (["-4"], "100.64.0.2\n"),
        (["-6"], "fd00::2\n"),
        (["alice", "-4"], "100.64.0.3\n"),
        (["alice.mesh.local", "-6"], "fd00::3\n"),
        (["100.64.0.4"], "100.64.0.4\n"),
    ],
)
def test_ip_prints_addresses_of_a_family_and_a_peer(serve: Serve, run: Run, words: list[str], printed: str) -> None:
    answering(serve)
    assert run(gwctl.ip, *words).stdout == printed


def test_ip_of_nobody_says_who_there_is(serve: Serve, run: Run) -> None:
    answering(serve)
    result = run(gwctl.ip, "nobody")
    assert result.exit_code == 8
    assert "gwctl status" in result.stderr


def test_up_takes_the_token_from_a_file_and_hands_it_over_the_socket(serve: Serve, run: Run, state: Path) -> None:
    fake = answering(serve, state="needs-login")
    (state / "token").write_text("gwjoin-abc\n")
    result = run(gwctl.up, "--token-file", str(state / "token"), "--hostname", "box", "--timeout", "9")
    assert result.exit_code == 0
    assert result.stdout == "up: me 100.64.0.2, fd00::2\n"
    assert fake.asked[-1] == ("POST", "/v1/up", {"token": "gwjoin-abc", "hostname": "box", "timeout": 9.0})


def test_up_takes_the_token_from_stdin_or_the_environment(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = answering(serve, state="needs-login")
    run(gwctl.up, "--token-file", "-", input="gwjoin-stdin\n")
    monkeypatch.setenv("GHOSTWIRE_JOIN_TOKEN", "gwjoin-env")
    run(gwctl.up)
    tokens = [body["token"] for method, path, body in fake.asked if path == "/v1/up"]
    assert tokens == ["gwjoin-stdin", "gwjoin-env"]


def test_up_without_a_token_and_a_terminal_says_how_to_give_one(serve: Serve, run: Run) -> None:
    fake = answering(serve, state="needs-login")
    result = run(gwctl.up)
    assert result.exit_code == 2
    assert "--token-file" in result.stderr
    assert "GHOSTWIRE_JOIN_TOKEN" in result.stderr
    assert not [path for _, path, _ in fake.asked if path == "/v1/up"]


def test_up_needs_no_token_where_the_node_is_enrolled(serve: Serve, run: Run) -> None:
    fake = answering(serve, state="stopped")
    assert run(gwctl.up).exit_code == 0
    assert fake.asked[-1][2]["token"] is None


def test_an_empty_token_file_is_refused(serve: Serve, run: Run) -> None:
    answering(serve)
    result = run(gwctl.up, "--token-file", "-", input=" \n")
    assert result.exit_code == 2
    assert "no join token" in result.stderr


def test_a_refused_token_is_one_line_with_its_reason(serve: Serve, run: Run) -> None:
    fake = answering(serve, state="needs-login")
    fake.answers["POST", "/v1/up"] = (401, {"error": {"code": "authentication-failed", "message": "used up"}})
    result = run(gwctl.up, "--token-file", "-", input="gwjoin-x")
    assert result.exit_code == 8
    assert result.stderr.splitlines()[-1] == "error: used up"


def test_up_starts_the_daemon_with_the_same_folders(
    serve: Serve, run: Run, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def start(options: list[str], log: Path, answers: Callable[[], bool]) -> int:
        started.append((options, log))
        answering(serve, state="stopped")
        assert answers()
        return 1

    monkeypatch.setattr(daemon, "start", start)
    assert run(gwctl.up).exit_code == 0
    assert started == [(["--state", str(state)], state / "node" / "client.log")]


def test_down_asks_the_daemon_and_is_content_without_one(serve: Serve, run: Run) -> None:
    assert run(gwctl.down).stdout == "down: the daemon does not run\n"
    assert run(gwctl.down, "--logout").exit_code == 7
    fake = answering(serve)
    assert run(gwctl.down, "--logout").stdout == "logged out\n"
    assert fake.asked == [("POST", "/v1/down", {"logout": True, "force": False})]
    assert run(gwctl.down, "--force").exit_code == 2


def test_version_shows_both_and_does_not_need_the_daemon(serve: Serve, run: Run) -> None:
    assert "daemon (not running)" in run(gwctl.version).stdout
    serve("node").answers["GET", "/v1/version"] = (200, {"version": "9.9"})
    assert json.loads(run(gwctl.version, "--json").stdout)["daemon"] == "9.9"
