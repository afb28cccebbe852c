"""`gwctl server`: describes the server of this machine; backs it up, restores it, moves its database."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import ServerApi
from ghostwire.cli.gwctl_admin import confirm, yes_option
from ghostwire.cli.tables import age, as_json, joined, print_fields, print_json, print_table, size
from ghostwire.errors import UsageError

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

_path: Any = click.Path(path_type=Path)
force_option = click.option("--force", is_flag=True, help="Set aside what is there, and say where it is then.")


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def server(context: click.Context, json_: bool) -> None:
    """The coordination server (on its machine); alone, it shows its status."""
    if context.invoked_subcommand is None:
        context.invoke(server_status, json_=json_)


@server.command("status")
@as_json
@click.pass_obj
def server_status(program: Program, json_: bool) -> None:
    """Show the server's address, key, address plan, how many nodes and relays it has, which policy holds, and where
    several servers share a database, all of them."""
    found = ServerApi(program.folders).get("/api/v1/server")
    if json_:
        print_json(found)
        return
    names = ("version", "url", "control_key", "domain", "ipv4", "ipv6", "revision", "users")
    counts = [
        ("nodes", f"{found.get('nodes', 0)}, {found.get('online', 0)} online"),
        ("relays", f"{found.get('relays', 0)}, {found.get('relays_connected', 0)} connected"),
    ]
    said = [("policy", (found.get("policy") or {}).get("summary", ""))]
    said += [] if found.get("following", True) else [("database", "out of reach: this server serves no nodes")]
    print_fields([*((name, str(found.get(name, ""))) for name in names), *counts, *said])
    if found.get("servers"):
        click.echo()
        columns = ("server", "version", "started", "nodes", "state", "id")
        print_table(columns, map(_server_row, found["servers"]), empty="")


def _server_row(server: Mapping[str, Any]) -> tuple[str, ...]:
    gone = server.get("gone")
    state = "runs" if gone is None else f"gone {age(gone)}"
    since = age(server["since"])
    return server["name"], server["version"], since, "" if gone else str(server["streams"]), state, server["id"]


@server.command("backup", short_help="Write everything into one file, while the server runs.")
@click.argument("file", default="")
@click.option("--without-keys", is_flag=True, help="Leave the server's own keys out: keep those elsewhere.")
@click.option("--yes", is_flag=True, help="Overwrite FILE without asking.")
@as_json
@click.pass_obj
def server_backup(program: Program, file: str, without_keys: bool, yes: bool, json_: bool) -> None:
    """Write everything that the server keeps into FILE, while it runs: all as of one moment.

    Without FILE, or where that is a folder, the file is named after the time; a folder that ends in / is made; `-` is
    standard output. With the server's keys in it, which is so unless --without-keys, whoever reads it can pretend to
    be the server.
    """
    from ghostwire.cli.gwctl_server_backup import PIPED, fetch, fetch_to_stdout, named

    api = ServerApi(program.folders)
    if file == PIPED:
        fetch_to_stdout(api, not without_keys)
        return
    path = named(file)
    if path.exists():
        _may_overwrite(path, yes)
    made = fetch(api, path, not without_keys)
    if json_:
        print_json(made)
    else:
        click.echo(f"{path}: {size(made['bytes'])}, {_contents(made['records'])}")
        if made["keys"]:
            click.echo("it holds the server's keys: keep it where you alone can read it")


def _may_overwrite(file: Path, yes: bool) -> None:
    if not file.is_file():
        raise UsageError(f"{file} is no plain file, which a backup would replace; give another name, or - for a pipe")
    if not yes and not sys.stdin.isatty():
        raise UsageError(f"{file} is there already; give another name, or say --yes to overwrite it")
    confirm(f"{file} is there already. Overwrite it?", yes)


def _contents(records: Mapping[str, int]) -> str:
    """How many there are of each kind of which there are any."""
    from ghostwire.server.backup.layout import in_words

    def counted(word: str, count: int) -> str:
        return f"{count} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"

    return joined(counted(in_words(kind), count) for kind, count in records.items())


@server.command("restore", short_help="Put a backup back, while no server runs.")
@click.argument("file", type=_path)
@click.option("--storage", "url", metavar="URL", help="Restore into this database instead of the configured one.")
@force_option
@yes_option
@as_json
@click.pass_obj
def server_restore(program: Program, file: Path, url: str | None, force: bool, yes: bool, json_: bool) -> None:
    """Fill an empty database, and the state folder with the server's keys, from FILE (`-`: standard input); the server
    may not run.

    Nodes connect as before and get their maps anew. Those that joined after the backup have to join again.
    """
    from ghostwire.cli.gwctl_server_backup import opened, put_back, tidying, warnings

    archive = opened(file)
    with tidying(program):
        for warning in warnings(program, archive):
            click.echo(f"warning: {warning}", err=True)
            confirm("Go on?", yes)
        done = put_back(program, archive, url, force)
    if json_:
        print_json(done)
        return
    click.echo(f"restored: {_contents(done['records'])}")
    for place in done["aside"]:
        click.echo(f"what was there before is now {place}")
    click.echo("start the server; `gwctl nodes list` shows who came back")


@server.command("migrate", short_help="Copy the database to another place, while no server runs.")
@click.option(
    "--to", "to", metavar="URL", required=True, help="The new database: postgresql://HOST/NAME, sqlite:////FILE."
)
@click.option("--from", "source", metavar="URL", help="The old one, where it is not the configured one.")
@force_option
@as_json
@click.pass_obj
def server_migrate(program: Program, to: str, source: str | None, force: bool, json_: bool) -> None:
    """Copy everything from the server's database to an empty one; the server may not run.

    The old database stays as it is. Keys and certificates are files in the state folder and stay there.
    """
    from ghostwire.cli.gwctl_server_backup import move, tidying

    with tidying(program):
        done = move(program, source, to, force)
    if json_:
        print_json(done)
        return
    click.echo(f"{done['records']} records are in {done['to']}")
    for place in done["aside"]:
        click.echo(f"what was there before is now {place}")
    click.echo("set storage in [server] to it, then start the server; do not start one on the old one again")
