"""The feature set is the operator's: the same programs with three selections, and what isn't selected isn't there."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SERVER = """
import gc, json, sys, threading
from ghostwire.cli.main import ghostwire

def tell():
    sys.stdin.readline()
    from ghostwire import Metrics
    from starlette.routing import Route
    gc.unfreeze()
    objects = gc.get_objects()
    routes = sorted({each.path for each in objects if isinstance(each, Route)})
    metrics = sorted({metric.name for each in objects if type(each) is Metrics for metric in each})
    print("FOUND " + json.dumps({"modules": sorted(sys.modules), "routes": routes, "metrics": metrics}), flush=True)

threading.Thread(target=tell, daemon=True).start()
sys.exit(ghostwire())
"""
"""The real program, which tells of itself on demand, as whoever has it under a debugger would see it."""

NODE = """
import asyncio, json, sys
from pathlib import Path
from ghostwire import TransportContext
from ghostwire.cli.program import Program
from ghostwire.node.daemon import compose
from ghostwire.testing.contexts import make_context

async def main():
    program = Program(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:]))
    parts = compose(program.host("node"), program.config, program.folders)
    for provider in parts.transports:
        provider.create(make_context(TransportContext, parts.state, metrics=parts.metrics))
    metrics = sorted(metric.name for metric in parts.metrics)
    transports = [provider.name for provider in parts.transports]
    print("FOUND " + json.dumps({"modules": sorted(sys.modules), "metrics": metrics, "transports": transports}))
    sys.stdout.flush()
    sys.stdin.readline()

asyncio.run(main())
"""
"""A node of the same configuration, composed with all its transports; no device, which would need root."""

STRANGER = """
from ghostwire import Command, Provider, Routes, hookimpl

class Motto(Routes):
    name = "motto"
    def __init__(self, context):
        context.metrics.counter("motto_asked_total", "Asked", lambda: 0)
    def public(self):
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route
        return [Route("/motto", lambda request: PlainTextResponse("hello"))]
    def admin(self):
        return []

@hookimpl
def ghostwire_routes():
    yield Provider("motto", Motto)

@hookimpl
def ghostwire_commands():
    yield Command("gwctl", "motto", lambda: None, help="Say it.")
"""
STUN = '[plugin.derp]\nstun = "127.0.0.1:0"\n'  # 3478 may be somebody's here
SELECTIONS = {"small": ("-derp", "-auth_key", "-api_grpc"), "default": (), "with a stranger's": ("motto",)}
HELP = "import sys; from ghostwire.cli.main import {0}; sys.exit({0}())"


@dataclass
class Seen:
    """What a server, a node and the command lines of one selection showed; memory in KiB."""

    server: dict[str, Any]
    node: dict[str, Any]
    help: str
    server_rss: int
    node_rss: int

    def has(self, package: str) -> tuple[bool, bool]:
        """Whether server and node have imported anything of it."""
        found = re.compile(rf"{package}(\.|$)").match
        return any(map(found, self.server["modules"])), any(map(found, self.node["modules"]))


def start(code: str, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def said(process: subprocess.Popen[str], sign: str) -> str:
    """The first line with this sign on standard output."""
    assert process.stdout is not None
    for line in process.stdout:
        if sign in line:
            return line.removeprefix(sign)
    assert process.stderr is not None
    raise AssertionError(process.stderr.read()[-3000:])


def memory(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1])


def asked(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    found: dict[str, Any] = json.loads(said(process, "FOUND "))
    return found


def look(folder: Path, options: tuple[str, ...]) -> Seen:
    """Run the programs with this selection, and look at them."""
    folder.mkdir()
    config = folder / "gw.toml"
    trusted = "[plugin.motto]\ntrusted = true\n" if "motto" in options else ""
    config.write_text(f'[server]\nlisten = "127.0.0.1:0"\nurl = "http://127.0.0.1:8080"\ntls = false\n{STUN}{trusted}')
    named = [word for name in options for word in ("--plugin", name)]
    shared = ["--config", str(config), "--state", str(folder / "state"), *named]
    helps = [
        subprocess.run([sys.executable, "-c", HELP.format(name), *shared, "--help"], capture_output=True, text=True)
        for name in ("ghostwire", "gwctl")
    ]
    with start(SERVER, *shared, "server") as server, start(NODE, str(config), str(folder / "node"), *options) as node:
        try:
            said(server, "://")
            on_server, on_node = memory(server), 0
            composed = json.loads(said(node, "FOUND "))
            on_node = memory(node)
            return Seen(asked(server), composed, "".join(done.stdout for done in helps), on_server, on_node)
        finally:
            for process in (server, node):
                process.terminate()
                process.wait(20)


@pytest.fixture
def seen(tmp_path: Path, install: Any) -> dict[str, Seen]:
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs /proc")
    install("motto", STRANGER, roles=["server", "ctl"])
    return {name: look(tmp_path / name.split()[0], options) for name, options in SELECTIONS.items()}


def test_what_is_not_selected_is_not_there(seen: dict[str, Seen], capsys: pytest.CaptureFixture[str]) -> None:
    small, default, more = seen.values()
    assert [each.has("ghostwire_derp") for each in seen.values()] == [(False, False), (True, True), (True, True)]
    assert [each.has("ghostwire_api_grpc") for each in seen.values()] == [(False, False), (True, False), (True, False)]
    assert not any(any(each.has(library)) for each in seen.values() for library in ("connectrpc", "google", "h2"))
    assert [each.has("ghostwire_auth_key")[0] for each in seen.values()] == [False, True, True]
    assert [each.has("third_party_motto_motto")[0] for each in seen.values()] == [False, False, True]
    assert "derp" not in small.node["transports"]
    assert "derp" in default.node["transports"]
    assert not any("derp" in name for name in small.node["metrics"])
    gone = set(default.server["metrics"]) - set(small.server["metrics"])
    assert {name for name in gone if name.startswith("grpc_")} == {"grpc_sessions", "grpc_refused_total"}
    assert {name.split("_")[1] for name in gone if not name.startswith("grpc_")} == {"relay", "stun"}
    assert any(name.startswith("ghostwire_derp_") for name in default.node["metrics"])
    for route in ("/derp", "/derp/probe", "/api/v1/preauthkeys"):
        assert [route in each.server["routes"] for each in seen.values()] == [False, True, True], route
    assert set(small.server["routes"]) < set(default.server["routes"]) < set(more.server["routes"])
    assert set(more.server["routes"]) - set(default.server["routes"]) == {"/motto"}
    assert set(more.server["metrics"]) - set(default.server["metrics"]) == {"motto_asked_total"}
    commands = {"relay": "default", "preauthkeys": "default", "motto": "with a stranger's"}
    for command, first in commands.items():
        shows = [bool(re.search(rf"^  {command}  ", each.help, re.MULTILINE)) for each in seen.values()]
        assert shows == [list(SELECTIONS).index(first) <= number for number in range(3)], command
    assert len(small.server["modules"]) < len(default.server["modules"]) < len(more.server["modules"])
    assert len(small.node["modules"]) < len(default.node["modules"])
    assert small.node_rss < default.node_rss + 512
    assert small.server_rss < default.server_rss + 512
    with capsys.disabled():
        print(f"\n{'selection':<18} {'program':<8} {'modules':>8} {'routes':>7} {'metrics':>8} {'memory':>10}")
        for name, each in seen.items():
            for program, facts, rss in (("server", each.server, each.server_rss), ("node", each.node, each.node_rss)):
                counts = [len(facts.get(key, ())) for key in ("modules", "routes", "metrics")]
                print(f"{name:<18} {program:<8} {counts[0]:>8} {counts[1]:>7} {counts[2]:>8} {rss / 1024:>6.1f} MiB")
