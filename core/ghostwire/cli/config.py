"""`ghostwire config`: the configuration in effect, and whether it is right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ghostwire.cli.program import Program
from ghostwire.cli.tables import as_json, print_json
from ghostwire.config import DEFAULT_FILE
from ghostwire.plugins.effective import effective
from ghostwire.plugins.host import Host


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def config(ctx: click.Context, json_: bool) -> None:
    """Print the configuration in effect, defaults included and secrets hidden."""
    if ctx.invoked_subcommand is None:
        program: Program = ctx.obj
        tables = effective(program.config, Host.inspect(program.selection))
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
