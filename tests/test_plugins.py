"""The plugin system as documents promise it: hooks, their examples, and what is absent when it is not selected."""

import ast
import inspect
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ghostwire
from ghostwire import hookspecs
from ghostwire.config import parse
from ghostwire.plugins.host import Host
from ghostwire.plugins.offers import CAPABILITIES
from ghostwire.plugins.selection import ROLES, Selection

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("ghostwire_"))

HEAVY = {
    "aioquic",
    "alembic",
    "asyncio",
    "h11",
    "nacl",
    "pyroute2",
    "rich",
    "rich_click",
    "scapy",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "uvloop",
}


def signature(hook: str) -> str:
    return f"{hook}{inspect.signature(getattr(hookspecs, hook))}".replace("'", "")


def example(hook: str) -> str:
    """The indented code below the first paragraph of a hook's docstring."""
    documentation = inspect.getdoc(getattr(hookspecs, hook)) or ""
    return textwrap.dedent(documentation.partition("\n\n")[2])


def modules_after(script: str, *arguments: str) -> set[str]:
    """The modules that a fresh process has imported after this script."""
    script += "\nimport json as j, sys as s\nprint('\\n' + j.dumps(sorted(s.modules)))"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def roots(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


class AnyContext:
    """Stands for a context in examples, which only keep what they are given."""

    def __getattr__(self, name: str) -> object:
        return object()


def test_the_hooks_are_those_of_the_table_of_roles():
    assert sorted(hookspecs.ASKED_BY) == HOOKS
    assert {role for roles in hookspecs.ASKED_BY.values() for role in roles} == set(ROLES)
    assert sorted([*CAPABILITIES, "ghostwire_commands"]) == HOOKS


def test_hookspecs_import_nothing_at_run_time():
    tree = ast.parse(Path(hookspecs.__file__).read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["from __future__ import annotations"]
    assert vars(hookspecs)["TYPE_CHECKING"] is False


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_with_its_exact_signature_and_who_asks_it(hook):
    roles = ", ".join(hookspecs.ASKED_BY[hook])
    assert f"| `{signature(hook)}` | {roles} |" in GUIDE
    assert f"Asked by: {roles}." in (getattr(hookspecs, hook).__doc__ or "")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hooks_example_runs(hook, install):
    install("example", example(hook), roles=hookspecs.ASKED_BY[hook])
    role = hookspecs.ASKED_BY[hook][0]
    host = Host.compose(role, Selection(parse("[plugin.example]\ntrusted = true")))
    (offer,) = [offer for offer in host.offers(hook) if offer.plugin == "example"]
    if isinstance(offer.provider, ghostwire.Command):
        assert offer.provider.load().name == offer.provider.name
    else:
        made = host.create(offer, lambda plugin, settings: AnyContext())
        assert isinstance(made, CAPABILITIES[hook])


def test_the_guide_names_every_capability_and_context():
    for name in [*(kind.__name__ for kind in CAPABILITIES.values()), "Provider", "Command"]:
        assert f"`{name}" in GUIDE
    for name in ("Context", "ServerContext", "RelayContext", "NodeContext", "TransportContext", "TunnelContext"):
        row = next(line for line in GUIDE.splitlines() if line.startswith(f"| `{name}`"))
        for field in vars(getattr(ghostwire, name))["__annotations__"]:
            assert f"`{field}`" in row


@pytest.mark.parametrize("program", ["ghostwire", "gwctl"])
def test_help_imports_nothing_heavy_and_no_command(program):
    modules = modules_after(f"from ghostwire.cli.main import {program}; assert {program}(['--help']) == 0")
    assert not roots(modules) & (HEAVY | {"cryptography"})
    commands = {"server", "client", "demo", "gwctl", "gwctl_admin", "plugins", "config", "api_client", "tables"}
    assert not modules & {f"ghostwire.cli.{name}" for name in commands}


@pytest.mark.parametrize("role", ROLES)
def test_composing_a_program_imports_no_library_of_a_plugin(role):
    modules = modules_after(
        "import sys; from ghostwire.plugins.host import Host; from ghostwire.plugins.selection import Selection\n"
        "Host.compose(sys.argv[1], Selection())",
        role,
    )
    assert not roots(modules) & HEAVY


@pytest.mark.parametrize(
    ("role", "plugin"), [("server", "storage_sql"), ("server", "auth_key"), ("node", "net_linux"), ("ctl", "auth_key")]
)
def test_a_plugin_that_is_not_selected_is_not_there(role, plugin):
    script = (
        "import sys; from ghostwire.plugins.host import Host; from ghostwire.plugins.selection import Selection\n"
        "Host.compose(sys.argv[1], Selection(named=tuple(sys.argv[2:])))"
    )
    package = f"ghostwire_{plugin}"
    assert package in roots(modules_after(script, role))
    assert package not in roots(modules_after(script, role, f"-{plugin}"))


def test_plugins_of_another_role_are_not_there():
    script = (
        "from ghostwire.plugins.host import Host; from ghostwire.plugins.selection import Selection\n"
        "Host.compose('node', Selection())"
    )
    assert not roots(modules_after(script)) & {"ghostwire_storage_sql", "ghostwire_auth_key"}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from ghostwire.cli.main import ghostwire; sys.exit(ghostwire(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT)


def test_the_table_of_plugins_shows_what_each_provides_or_why_it_failed(install, tmp_path):
    install("example", example("ghostwire_transports"), roles=["node"])
    install("broken", "raise SystemExit(9)", roles=["node"])
    file = tmp_path / "gw.toml"
    file.write_text("[plugin.example]\ntrusted = true\n[plugin.broken]\ntrusted = true\n")
    done = run("--config", str(file), "plugins")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "transports: pigeon" in rows["example"]
    assert "third-party-broken" in rows["broken"]
    assert "failed: raised SystemExit: 9" in rows["broken"]
    assert "transports: udp" in rows["transport_wireguard"]


def test_the_json_of_plugins_has_every_field(install):
    install("example", example("ghostwire_commands"), roles=["ctl"])
    (info,) = [info for info in json.loads(run("plugins", "--json").stdout) if info["name"] == "example"]
    assert len(info.pop("hash")) == 64
    assert info == {
        "name": "example",
        "roles": ["ctl"],
        "version": "2.5",
        "distribution": "third-party-example",
        "selected": False,
        "active": False,
        "isolated": False,
        "trusted": False,
        "provides": {},
        "error": "",
    }


def test_listing_plugins_writes_nothing_to_the_users_home(tmp_path):
    assert run("plugins", HOME=str(tmp_path), XDG_CACHE_HOME="").returncode == 0
    assert list(tmp_path.rglob("*")) == []
