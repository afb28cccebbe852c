"""The house of docs' architecture, executable: what is where, what ships, and who may import whom."""

import ast
import configparser
import re
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "ghostwire"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if folder.is_dir())
CORE_FILES = sorted(CORE.rglob("*.py"))
PLUGIN_FILES = sorted((ROOT / "plugins").glob("*/ghostwire_*/**/*.py"))
FILES = CORE_FILES + PLUGIN_FILES

BASE = {"errors", "keys", "model", "engine", "hints"}
PROGRAM = BASE | {"ghostwire", "plugins", "hookspecs", "capabilities", "wire", "driver", "system", "config", "folders"}
LAYERS = {
    "errors": set(),
    "hints": set(),
    "engine": set(),
    "keys": {"errors"},
    "model": {"errors", "keys"},
    "driver": {"engine"},
    "system": {"errors", "keys", "capabilities", "config", "model"},
    "folders": {"errors"},
    "config": {"errors", "hints", "wire"},
    "capabilities": {"errors", "keys", "model", "engine"},
    "wire": {"errors", "keys", "model", "engine"},
    "ghostwire": {"capabilities"},
    "hookspecs": {"ghostwire"},
    "plugins": BASE | {"config", "ghostwire", "hookspecs", "capabilities", "system"},
    "frontdoor": BASE | {"ghostwire", "capabilities", "driver", "system", "wire"},
    "uplink": BASE | {"ghostwire", "capabilities", "system", "wire"},
    "server": PROGRAM | {"frontdoor"},
    "relay": PROGRAM | {"frontdoor", "uplink"},
    "node": PROGRAM | {"uplink"},
    "cli": PROGRAM | {"server", "node"},
    "pytest_plugin": set(),
    "testing": PROGRAM | {"server", "node", "relay", "frontdoor", "uplink"},
}
"""What each part of core may import besides itself; `ghostwire` is the package's own face."""

PUBLIC = {
    "ghostwire",
    "ghostwire.driver",
    "ghostwire.engine",
    "ghostwire.errors",
    "ghostwire.hints",
    "ghostwire.keys",
    "ghostwire.model",
    "ghostwire.relay.program",
    "ghostwire.system.lock",
    "ghostwire.system.resources",
    "ghostwire.system.tls",
    "ghostwire.system.udp",
    "ghostwire.uplink.backoff",
    "ghostwire.cli.api_client",
    "ghostwire.cli.durations",
    "ghostwire.cli.options",
    "ghostwire.cli.program",
    "ghostwire.cli.tables",
    "ghostwire.cli.tokens",
}
"""What plugins may import of core, besides `ghostwire.capabilities`, `ghostwire.wire` and `ghostwire.frontdoor`."""

SOCKETS = {
    "cli/api_client.py": "gwctl's way to the local APIs",
    "cli/demo": "traffic and namespaces of the demo",
    "frontdoor": "listens for the server and the relay",
    "node/localapi.py": "the node's local API",
    "node/portmap/udp.py": "asks the router for a port",
    "node/ping.py": "sends ICMP through the mesh",
    "plugins/isolation": "between the daemon and a plugin's process, and those that it is passed",
    "relay/pipe.py": "between a relay and its worker processes",
    "relay/worker.py": "its end of that",
    "system": "the machine's sockets",
    "testing": "the simulated network's",
    "derp/ghostwire_derp/relay/poller.py": "watches the relay's sockets",
    "derp/ghostwire_derp/relay/relay.py": "is given its clients' sockets",
    "derp/ghostwire_derp/relay/sockets.py": "reads and writes the relay's sockets",
    "derp/ghostwire_derp/stun.py": "the STUN server",
    "derp/ghostwire_derp/client/connection.py": "options of the streams to relays",
    "net_linux": "netlink and link addresses",
    "derp/ghostwire_derp/mesh/fellows.py": "streams between the worker processes of one relay",
    "transport_quic/ghostwire_transport_quic/port.py": "the quic transport",
    "transport_wireguard/ghostwire_transport_wireguard/udp.py": "the udp transport",
    "transport_wireguard/ghostwire_transport_wireguard/udp_port.py": "its sockets",
}
"""Who touches sockets, and why; everything else takes bytes."""

OPENERS = {
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> set[str]:
    """Full names of the modules a file imports anywhere, those only for type checkers included."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found |= {_imported(node.module or "", alias.name) for alias in node.names}
    return found


def _imported(module: str, name: str) -> str:
    """``from ghostwire import config`` is the module `ghostwire.config`; other names belong to their module."""
    if module.partition(".")[0] != "ghostwire":
        return module
    path = CORE.joinpath(*module.split(".")[1:], name)
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").exists() else module


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def part(module: str) -> str:
    """The part of core that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    first = path.relative_to(CORE).parts[0].removesuffix(".py")
    return "ghostwire" if first == "__init__" else first


def words(section: str, option: str) -> list[str]:
    return SETUP.get(section, option).split("\n")[1:]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def methods_called(path: Path) -> set[str]:
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    return {function.attr for function in calls if isinstance(function, ast.Attribute)}


def uses_sockets(path: Path) -> bool:
    """Whether a file uses the socket module for more than this host's name."""
    if any(isinstance(node, ast.ImportFrom) and node.module == "socket" for node in ast.walk(tree(path))):
        return True
    used = {n.attr for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "socket"}
    return "socket" in roots(path) and bool(used - {"gethostname", "getfqdn"})


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A function's lines without its docstring."""
    documented = ast.get_docstring(function) is not None
    first = function.body[0]
    return (function.end_lineno or 0) - function.lineno + 1 - documented * ((first.end_lineno or 0) - first.lineno + 1)


def test_every_package_in_the_tree_ships():
    folders = {file.parent for file in FILES}
    packages = {".".join(folder.relative_to(CORE.parent).parts) for folder in folders if CORE.parent in folder.parents}
    for plugin in PLUGINS:
        home = ROOT / "plugins" / plugin
        packages |= {".".join(folder.relative_to(home).parts) for folder in folders if home in folder.parents}
    assert sorted(words("options", "packages")) == sorted(packages)


def test_every_folder_of_modules_is_a_package():
    assert [name_of(file.parent) for file in FILES if not (file.parent / "__init__.py").exists()] == []


def test_every_package_is_mapped_to_its_place():
    places = {"ghostwire": "core/ghostwire"}
    places |= {f"ghostwire_{plugin}": f"plugins/{plugin}/ghostwire_{plugin}" for plugin in PLUGINS}
    assert dict(line.split(" = ") for line in words("options", "package_dir")) == places
    examples = [module.parent for module in ROOT.glob("examples/*/ghostwire_*/plugin.py")]
    places |= {package.name: str(package.relative_to(ROOT)) for package in examples}
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert sorted(mypy["packages"]) == sorted(places)
    assert sorted(mypy["mypy_path"]) == sorted(str(Path(place).parent) for place in places.values())


def test_every_file_that_is_no_module_ships_as_package_data():
    patterns = [p.strip() for _, value in SETUP.items("options.package_data") for p in re.split(r"[,\n]", value) if p]
    packages = {file.parent for file in FILES}
    data = [f for p in packages for f in p.iterdir() if f.is_file() and f.suffix not in (".py", ".pyc")]
    assert [name_of(f) for f in data if not any(fnmatch(f.name, Path(p).name) for p in patterns)] == []


def test_every_import_is_of_a_library_that_setup_cfg_names():
    named = words("options", "install_requires")
    named += [
        line for extra in SETUP.options("options.extras_require") for line in words("options.extras_require", extra)
    ]
    known = {re.split(r"[^\w-]", line)[0].lower() for line in named}
    libraries = {root for file in FILES for root in roots(file)} - set(sys.stdlib_module_names)
    libraries = {library for library in libraries if not library.startswith("ghostwire")}
    distributions = packages_distributions()
    assert [lib for lib in sorted(libraries) if not {d.lower() for d in distributions.get(lib, [lib])} & known] == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_has_the_shape_of_a_project_of_its_own(plugin):
    package = ROOT / "plugins" / plugin / f"ghostwire_{plugin}"
    needed = [package.parent / "README.md", package / "plugin.py", package / "settings.py", package / "py.typed"]
    assert [name_of(file) for file in needed if not file.exists()] == []
    assert len([folder for folder in package.parent.iterdir() if folder.is_dir()]) == 1


def test_every_plugin_is_an_entry_point_and_every_entry_point_a_module():
    entries = dict(line.split(" = ") for line in words("options.entry_points", "ghostwire.plugins"))
    assert sorted(entries) == PLUGINS
    for name, value in entries.items():
        assert re.fullmatch(rf"ghostwire_{name}\.plugin \[(server|node|relay|ctl)(,(server|node|relay|ctl))*\]", value)


def test_every_program_is_a_function_of_main():
    targets = [line.split(" = ")[1] for line in words("options.entry_points", "console_scripts")]
    made = {function.name for function in functions(CORE / "cli" / "main.py")}
    assert {target.partition(":")[0] for target in targets} == {"ghostwire.cli.main"}
    assert {target.partition(":")[2] for target in targets} <= made


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_says_what_it_is_and_stays_small(path):
    assert ast.get_docstring(tree(path)), "no docstring"
    assert len(path.read_text("utf-8").splitlines()) <= 500
    assert [f"{f.name}:{f.lineno}" for f in functions(path) if code_lines(f) > 60] == []


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_core_imports_only_what_lies_below(path):
    own = part_of(path)
    reached = {part(name) for name in imports(path) if name.partition(".")[0] == "ghostwire"}
    assert reached - {own} <= LAYERS[own]


def test_server_and_node_do_not_know_each_other():
    assert "node" not in LAYERS["server"]
    assert "server" not in LAYERS["node"]
    assert [layer for layer, below in LAYERS.items() if "testing" in below or "cli" in below] == []


@pytest.mark.parametrize("path", CORE_FILES, ids=name_of)
def test_core_imports_no_plugin(path):
    assert [root for root in roots(path) if root.startswith("ghostwire_")] == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_a_plugin_imports_its_own_package_and_the_public_parts_of_core(path):
    own = path.relative_to(ROOT / "plugins").parts[1]
    names = {name for name in imports(path) if name.startswith("ghostwire")}
    foreign = {name for name in names if name.partition(".")[0] not in ("ghostwire", own)}
    core = {name for name in names if name.partition(".")[0] == "ghostwire"}
    if path.name == "conformance.py":  # for tests, and loaded by them alone
        core = {name for name in core if part(name) != "testing"}
    assert foreign == set()
    assert {name for name in core - PUBLIC if part(name) not in ("capabilities", "wire", "frontdoor")} == set()


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("file", ["plugin.py", "settings.py", "__init__.py"])
def test_what_offers_a_plugin_imports_only_ghostwire_at_its_head(plugin, file):
    path = ROOT / "plugins" / plugin / f"ghostwire_{plugin}" / file
    heads = [node for node in tree(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in heads}
    allowed = {"ghostwire", "msgspec", f"ghostwire_{plugin}.settings"}
    assert {name for name in names - allowed if name.partition(".")[0] not in sys.stdlib_module_names} == set()


def test_stevedore_is_used_in_one_file():
    assert [name_of(file) for file in FILES if "stevedore" in roots(file)] == ["core/ghostwire/plugins/loader.py"]


def test_hooks_are_called_in_one_file():
    calling = {"hook", "get_hookimpls", "HookRelay", "PluginManager"}
    users = [file for file in FILES for n in ast.walk(tree(file)) if isinstance(n, ast.Attribute) and n.attr in calling]
    assert {name_of(file) for file in users if "pluggy" in roots(file)} == {"core/ghostwire/plugins/host.py"}
    assert {name_of(file) for file in FILES if "pluggy" in roots(file)} == {
        "core/ghostwire/__init__.py",
        "core/ghostwire/plugins/host.py",
    }


def test_only_drivers_and_adapters_touch_sockets():
    contract = CORE / "capabilities" / "contexts.py"
    users = [file for file in FILES if file != contract and (uses_sockets(file) or methods_called(file) & OPENERS)]
    assert [name_of(file) for file in users if not any(_within(file, place) for place in SOCKETS)] == []


def test_engines_do_no_input_or_output():
    engines = [CORE / "engine.py", *(CORE / "wire").rglob("*.py")]
    assert [name_of(file) for file in engines if roots(file) & {"socket", "ssl", "threading", "selectors"}] == []


def _within(file: Path, place: str) -> bool:
    return any(file == home / place or home / place in file.parents for home in (CORE, ROOT / "plugins"))
