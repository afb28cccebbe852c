"""`gwctl bugreport`: what somebody who helps needs to know of this machine, in one text and without secrets."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import click

from ghostwire import __version__
from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.program import Program
from ghostwire.cli.redaction import hide_texts, redact, redact_text
from ghostwire.cli.tables import as_json, plain
from ghostwire.errors import GhostwireError, StateError
from ghostwire.hints import one_line
from ghostwire.plugins.effective import effective
from ghostwire.plugins.host import Host
from ghostwire.plugins.inventory import inventory
from ghostwire.plugins.loader import DISTRIBUTION

PATIENCE = 30.0  # seconds for one answer of the daemon
LOG_BYTES, LOG_LINES = 64 << 10, 200


@click.command()
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write a new file instead of printing.")
@as_json
@click.pass_obj
def bugreport(program: Program, output: Path | None, json_: bool) -> None:
    """Collect what somebody who helps needs to know, for you to read before you send it.

    Versions, plugins with the hashes of their code (as the running daemon has them, and as they are installed), the
    configuration (the running daemon's, and the one that gwctl finds), status, netcheck, metrics and the end of the
    daemon's log. Keys, tokens and passwords are left out;
    names and addresses are in it. It works without a daemon, and says so then.
    """
    import json

    report = collect(program)
    text = json.dumps(report, indent=2, ensure_ascii=False) if json_ else "\n".join(_lines(report))
    if output is None:
        click.echo(text)
    else:
        _write(output, text)
        click.echo(f"{output}: read it before you send it")


def collect(program: Program) -> dict[str, Any]:
    """The whole report as plain values; what cannot be had is told as ``trouble`` in its place."""
    api = NodeApi(program.folders, timeout=PATIENCE)
    daemon = _part(lambda: api.get("/v1/plugins"))
    running = "trouble" not in daemon
    installed = _part(lambda: {"plugins": inventory(Host.inspect(program.selection))})
    status = _part(lambda: api.get("/v1/status"))
    config = _configs(program, api, daemon, installed)
    return {
        "versions": _versions(),
        "system": _system(),
        "daemon": {"running": running, **{key: value for key, value in daemon.items() if key != "plugins"}},
        "plugins": _plugins(daemon if running else installed),
        "installed": _plugins(installed),
        "differences": [*differences(daemon, installed), *_other_file(config)] if running else [],
        "config": config,
        "metrics": status.pop("counters", {}),
        "status": redact(status),
        "netcheck": redact(_part(lambda: api.get("/v1/netcheck"))) if running else {},
        "log": _log(program.folders.state / "node" / "client.log"),
    }


def differences(daemon: Mapping[str, Any], installed: Mapping[str, Any]) -> list[str]:
    """Where the running daemon and what is installed differ, a sentence each."""
    ours = {plugin["name"]: plugin for plugin in _plugins(installed)}
    theirs = {plugin["name"]: plugin for plugin in _plugins(daemon)}
    found = []
    if daemon.get("version") not in (None, __version__):
        found.append(f"the daemon is {daemon['version']}, gwctl {__version__}: restart the daemon")
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            found.append(
                f"plugin {name}: {'not installed any more' if name in theirs else 'new since the daemon began'}"
            )
            continue
        if any(ours[name].get(key) != theirs[name].get(key) for key in ("version", "hash")):
            found.append(f"plugin {name}: its code has changed since the daemon began")
    return found


def _plugins(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = answer.get("plugins", ())
    return [{**plugin, "error": redact_text(str(plugin.get("error", "")))} for plugin in found]


def _part(get: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return get()
    except GhostwireError as error:
        return {"trouble": redact_text(one_line(error))}


def _versions() -> dict[str, str]:
    """Of GhostWire, of Python, and of every library GhostWire can use."""
    found = {"ghostwire": __version__, "python": platform.python_version()}
    try:
        wanted = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        wanted = []
    for name in sorted({re.split(r"[^\w.-]", line)[0] for line in wanted if "dev" not in line}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _system() -> dict[str, str]:
    machine = os.uname()
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return {"kernel": f"{machine.sysname} {machine.release}", "machine": machine.machine, "distribution": name}


def _configs(
    program: Program, api: NodeApi, daemon: Mapping[str, Any], installed: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The file and the settings in effect: of the daemon that runs, and of this gwctl with its own --config."""

    def own() -> dict[str, Any]:
        config = program.config
        settings = effective(config, Host.inspect(program.selection))
        return {"file": os.path.abspath(config.file) if config.file else "", "settings": settings}

    return {
        "daemon": _part(lambda: _shown(api.get("/v1/config"), daemon)),
        "gwctl": _part(lambda: _shown(own(), installed)),
    }


def _shown(config: dict[str, Any], inventory: Mapping[str, Any]) -> dict[str, Any]:
    """Without secrets; of third parties' plugins only numbers and switches."""
    tables = dict(config["settings"])
    ours = {plugin["name"] for plugin in _plugins(inventory) if plugin["distribution"] == DISTRIBUTION}
    settings = tables.get("plugin", {})
    tables["plugin"] = {name: table if name in ours else hide_texts(table) for name, table in settings.items()}
    return {"file": config["file"] or "none, defaults", "settings": redact(tables)}


def _other_file(configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Where the daemon goes by another file than gwctl."""
    theirs, ours = configs["daemon"].get("file"), configs["gwctl"].get("file")
    if theirs and ours and theirs != ours:
        yield f"the daemon's configuration file is {theirs}, gwctl's {ours}: tell gwctl by --config"


def _log(path: Path) -> Sequence[str]:
    """The last lines of the log of a daemon that `gwctl up` started."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
            text = log.read(LOG_BYTES).decode(errors="replace")
    except OSError as error:
        return [f"{path}: {error.strerror}; where a service manager runs the daemon, it has the log"]
    return [plain(line) for line in redact_text(text).splitlines()[-LOG_LINES:]]


def _write(path: Path, text: str) -> None:
    """A new file that only its owner may read."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        raise StateError(f"{path}: cannot write a new file there: {error.strerror}") from None


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    for title, part in report.items():
        yield f"== {title}"
        yield from _inner(part, "")
        yield ""


def _inner(part: Any, indent: str) -> Iterator[str]:
    """Tables as ``key: value``, lists as lines of their own."""
    pairs: Sequence[tuple[str, Any]] = []
    if isinstance(part, Mapping):
        pairs = [(f"{plain(str(key))}:", value) for key, value in part.items()]
    elif isinstance(part, list | tuple):
        pairs = [("-", value) for value in part]
    for key, value in pairs:
        if isinstance(value, Mapping | list | tuple):
            yield f"{indent}{key}"
            yield from _inner(value, f"{indent}  ")
        else:
            yield f"{indent}{key} {plain(str(value))}"
