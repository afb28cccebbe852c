"""`ghostwire plugins`: every installed plugin, what it provides, or why it failed."""

from __future__ import annotations

import click
import msgspec

from ghostwire.cli.program import Program
from ghostwire.cli.tables import as_json, joined, print_json, print_table
from ghostwire.plugins.host import Host, PluginInfo

COLUMNS = ("plugin", "roles", "version", "distribution", "selected", "trusted", "provides")


@click.command()
@as_json
@click.pass_obj
def plugins(program: Program, json_: bool) -> None:
    """List the installed plugins: selected or not, trusted or not, what they provide, or why they failed."""
    report = Host.inspect(program.selection).report()
    if json_:
        print_json([msgspec.structs.asdict(info) for info in report])
    else:
        print_table(COLUMNS, map(_row, report), empty="no plugin is installed; reinstall ghostwire-mesh")


def _row(info: PluginInfo) -> tuple[str, ...]:
    said = f"failed: {info.error}" if info.error else "; ".join(map(_provided, info.provides.items()))
    yes_no = ("yes" if info.selected else "no", "yes" if info.trusted else "no")
    return (info.name, joined(info.roles), info.version, info.distribution, *yes_no, said)


def _provided(item: tuple[str, tuple[str, ...]]) -> str:
    hook, names = item
    return f"{hook.removeprefix('ghostwire_')}: {joined(names)}"
