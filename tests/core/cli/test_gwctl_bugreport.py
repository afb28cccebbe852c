"""gwctl bugreport: what it tells, with and without a daemon, and that it tells no secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ghostwire import __version__
from ghostwire.cli import main
from ghostwire.cli.gwctl_bugreport import bugreport, differences
from ghostwire.cli.program import Program
from ghostwire.config import load
from ghostwire.node.inventory import inventory_routes
from ghostwire.plugins.effective import effective
from ghostwire.plugins.host import Host
from ghostwire.plugins.inventory import inventory
from ghostwire.plugins.selection import Selection

Run = Callable[..., Result]
Serve = Callable[[str], Any]
SECRETS = ("hunter2", "gwjoin-c2VjcmV0", "5ecre7", "0123456789abcdef" * 4, "swordfish", "MC4CAQAwBQYDK2VwBCIEI")


def running(serve: Serve, file: str = "", settings: Any = None, **changed: Any) -> Any:
    """A daemon with the plugins of this process, one of which may have other code."""
    plugins = [dict(plugin) for plugin in inventory(Host.inspect(Selection()))]
    plugins[0].update(changed)
    api = serve("node")
    for route, answer in inventory_routes(plugins, file, settings or {}).items():
        api.answers[route] = (200, asyncio.run(answer(b"")))  # type: ignore[arg-type]
    api.answers["GET", "/v1/status"] = (200, {"state": "running", "counters": {"packets_total": 7}})
    api.answers["GET", "/v1/netcheck"] = (200, {"udp": True})
    return api


def test_it_tells_of_the_running_daemon_and_where_its_code_is_another(serve: Serve, run: Run) -> None:
    running(serve, hash="0" * 64)
    report = json.loads(run(bugreport, "--json").stdout)
    assert report["daemon"]["running"] is True
    assert report["daemon"]["version"] == report["versions"]["ghostwire"] == __version__
    assert report["plugins"][0]["hash"] == "0" * 64
    assert report["installed"][0]["hash"] != "0" * 64
    assert report["differences"] == [
        f"plugin {report['plugins'][0]['name']}: its code has changed since the daemon began"
    ]
    assert report["status"]["state"] == "running"
    assert report["metrics"] == {"packets_total": 7}
    assert report["netcheck"] == {"udp": True}
    assert report["system"]["kernel"]


def test_it_tells_the_daemons_own_configuration_beside_gwctls(serve: Serve, state: Path, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs.toml", state / "gw.toml"
    theirs.write_text('[node]\ninterface = "mesh7"\n[plugin.transport_wireguard]\nport = 4711\n')
    ours.write_text("")
    config = load(theirs)
    running(serve, str(theirs), effective(config, Host.compose("node", Selection(config))))
    done = CliRunner().invoke(bugreport, ("--json",), obj=Program(ours, state, client=True))
    report = json.loads(done.stdout)
    daemon, gwctl = report["config"]["daemon"], report["config"]["gwctl"]
    assert (daemon["file"], daemon["settings"]["node"]["interface"]) == (str(theirs), "mesh7")
    assert daemon["settings"]["plugin"]["transport_wireguard"]["port"] == 4711
    assert (gwctl["file"], gwctl["settings"]["node"]["interface"]) == (str(ours), "gw0")
    (difference,) = report["differences"]
    assert f"the daemon's configuration file is {theirs}, gwctl's {ours}" in difference
    text = CliRunner().invoke(bugreport, (), obj=Program(ours, state, client=True)).stdout
    assert f"daemon:\n  file: {theirs}\n" in text
    assert f"gwctl:\n  file: {ours}\n" in text


def test_what_a_strangers_plugin_is_set_to_in_the_daemon_is_not_told(serve: Serve, run: Run) -> None:
    tables = {"plugin": {"stranger": {"word": "swordfish", "level": 3}, "transport_quic": {"api_key": "hunter2"}}}
    running(serve, settings=tables)
    report = json.loads(run(bugreport, "--json").stdout)
    told = report["config"]["daemon"]["settings"]["plugin"]
    assert told == {"stranger": {"word": "(hidden)", "level": 3}, "transport_quic": {"api_key": "(hidden)"}}


def test_without_a_daemon_it_says_so_and_tells_the_rest(run: Run) -> None:
    done = run(bugreport, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert report["daemon"]["running"] is False
    assert "not running" in report["daemon"]["trouble"]
    assert {plugin["name"] for plugin in report["plugins"]} >= {"derp", "transport_wireguard"}


def test_people_get_the_same_as_text(serve: Serve, run: Run) -> None:
    running(serve)
    lines = run(bugreport).stdout.splitlines()
    assert "== plugins" in lines
    assert "state: running" in lines
    assert "packets_total: 7" in lines


def test_a_file_is_private_and_never_replaced(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert run(bugreport, "--json", "--output", str(file)).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["versions"]
    again = run(bugreport, "--output", str(file))
    assert again.exit_code == 5
    assert "File exists" in again.stderr


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_no_planted_secret_is_in_it(
    words: tuple[str, ...], state: Path, serve: Serve, install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment, the configuration, key files, the daemon's answers and its log."""
    api = running(serve, error="could not log in to postgres://ada:old@hunter2@db/mesh")
    api.answers["GET", "/v1/status"] = (200, {"state": "running", "server": {"last_error": "refused gwjoin-c2VjcmV0"}})
    monkeypatch.setenv("GHOSTWIRE_JOIN_TOKEN", "gwjoin-c2VjcmV0")
    install("stranger", "raise SystemExit", roles=["node"])
    (state / "node").mkdir()
    (state / "node" / "node.key").write_text(f"privkey:{SECRETS[3]}")
    log = f"a\npassword=swordfish\nkey {SECRETS[3]}\nAuthorization: Bearer 5ecre7\n"
    log += f"-----BEGIN PRIVATE KEY-----\n{SECRETS[5]}\n-----END PRIVATE KEY-----\nlast line\n"
    (state / "node" / "client.log").write_text(log)
    (state / "gw.toml").write_text('[plugin.stranger]\nanything = "swordfish"\ncode = 5000000001\nlevel = 3\n')
    done = CliRunner().invoke(bugreport, words, obj=Program(state / "gw.toml", state, client=True))
    assert done.exit_code == 0, done.output
    assert [secret for secret in (*SECRETS, "5000000001") if secret in done.output] == []
    assert "last line" in done.output
    assert "level" in done.output


def test_public_keys_and_hashes_stay(serve: Serve, run: Run) -> None:
    api, key = running(serve), "nodekey:" + "ab" * 32
    api.answers["GET", "/v1/status"] = (200, {"state": "running", "self": {"node_key": key}})
    report = json.loads(run(bugreport, "--json").stdout)
    assert report["status"]["self"]["node_key"] == key
    assert all(len(plugin["hash"]) == 64 for plugin in report["plugins"])


def test_plugins_that_came_or_went_are_differences() -> None:
    one, two = {"name": "a", "version": "1", "hash": "x"}, {"name": "b", "version": "1", "hash": "y"}
    daemon = {"version": "0.0.1", "plugins": [one]}
    assert differences(daemon, {"plugins": [two]}) == [
        f"the daemon is 0.0.1, gwctl {__version__}: restart the daemon",
        "plugin a: not installed any more",
        "plugin b: new since the daemon began",
    ]


def test_gwctl_has_the_command() -> None:
    assert main.GWCTL["bugreport"].load() is bugreport
