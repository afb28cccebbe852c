"""`ghostwire plugins`: every installed plugin, what it provides, or why it failed; and `new`, which begins one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ghostwire.cli.lazy import Entry, LazyGroup, within
from ghostwire.cli.program import Program
from ghostwire.cli.tables import joined, print_json, print_table
from ghostwire.plugins.host import Host
from ghostwire.plugins.inventory import inventory
from ghostwire.plugins.startup import folders, startup_code

COLUMNS = ("plugin", "roles", "version", "hash", "distribution", "active", "trusted", "isolated", "provides")
SHORT = 12
NEW = {"new": within("ghostwire.cli.plugins_new:new", "Write a new plugin, with tests that pass.")}


@click.pass_context
def _list(ctx: click.Context, /, json_: bool) -> None:
    if ctx.invoked_subcommand is None:
        show(ctx.obj, json_)


def _nothing_else(ctx: click.Context) -> Mapping[str, Entry]:
    return {}


plugins = LazyGroup(
    "plugins",
    NEW,
    _nothing_else,
    callback=_list,
    params=[click.Option(["--json", "json_"], is_flag=True, help="Print JSON for programs.")],
    help="List the installed plugins: active or not, trusted or not, what they provide, or why they failed.",
    invoke_without_command=True,
)


def show(program: Program, json_: bool) -> None:
    """Print the list; where a stranger has a process of its own, also what code no such process confines."""
    found = inventory(Host.inspect(program.selection))
    if json_:
        print_json(found)
    else:
        print_table(COLUMNS, map(_row, found), empty="no plugin is installed; reinstall ghostwire-mesh")
    if any(plugin["isolated"] and plugin["active"] for plugin in found):
        for sentence in startup_code(folders()):
            click.echo(f"warning: {sentence}: no process of its own confines it", err=True)


def _row(plugin: Mapping[str, Any]) -> tuple[str, ...]:
    error = plugin["error"]
    said = f"failed: {error}" if error else "; ".join(map(_provided, plugin["provides"].items()))
    known = (plugin["name"], joined(plugin["roles"]), plugin["version"], plugin["hash"][:SHORT], plugin["distribution"])
    return (*known, *("yes" if plugin[key] else "no" for key in ("active", "trusted", "isolated")), said)


def _provided(item: tuple[str, tuple[str, ...]]) -> str:
    hook, names = item
    return f"{hook.removeprefix('ghostwire_')}: {joined(names)}"
