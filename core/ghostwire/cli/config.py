"""`ghostwire config`: the configuration in effect, and whether it is right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec

from ghostwire.cli.program import Program
from ghostwire.cli.tables import as_json, print_json
from ghostwire.config import DEFAULT_FILE
from ghostwire.plugins.host import Host

HIDDEN = "(hidden)"
_SECRET = re.compile(r"(^|_)(secret|password|passphrase|token)$")


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def config(ctx: click.Context, json_: bool) -> None:
    """Print the configuration in effect, defaults included and secrets hidden."""
    if ctx.invoked_subcommand is None:
        tables = effective(ctx.obj)
        if json_:
            print_json(tables)
        else:
            click.echo("\n".join(to_toml(tables)))


@config.command()
@click.pass_obj
def check(program: Program) -> None:
    """Check the file, and the settings of every selected plugin."""
    for failure in Host.inspect(program.selection).failures():
        raise failure
    click.echo(f"{program.config.file or f'no {DEFAULT_FILE}, defaults'}: ok")


def effective(program: Program) -> dict[str, Any]:
    """Every setting as plain values; a plugin's are complete where it could be loaded, else as the file has them."""
    config, host = program.config, Host.inspect(program.selection)
    report = host.report()
    tables: dict[str, Any] = {"plugins": [info.name for info in report if info.selected]}
    for name in ("server", "node", "relay"):
        tables[name] = msgspec.to_builtins(getattr(config, name))
    loaded = {info.name: host.settings(info.name) for info in report if info.selected and not info.error}
    plugin = {name: msgspec.to_builtins(settings) for name, settings in loaded.items()}
    for name, table in config.plugin.items():
        plugin[name] = {**table, **plugin.get(name, {})}
    tables["plugin"] = {name: table for name, table in sorted(plugin.items()) if table}
    return {name: _hide(value) for name, value in tables.items()}


def to_toml(tables: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of a TOML document: plain values first, then each table under its header."""
    for key, value in tables.items():
        if not isinstance(value, Mapping):
            yield f"# {_key(key)} is not set" if value is None else f"{_key(key)} = {_value(value)}"
    for key, value in tables.items():
        if isinstance(value, Mapping):
            inner = (*path, key)
            if not all(isinstance(part, Mapping) for part in value.values()):
                yield f"\n[{'.'.join(map(_key, inner))}]"
            yield from to_toml(value, inner)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return str(value)  # dates and times write themselves as TOML does


def _hide(value: Any) -> Any:
    """The same without the values of keys that are named like secrets."""
    if isinstance(value, Mapping):
        return {key: HIDDEN if _SECRET.search(key) and inner else _hide(inner) for key, inner in value.items()}
    return [_hide(inner) for inner in value] if isinstance(value, list | tuple) else value
