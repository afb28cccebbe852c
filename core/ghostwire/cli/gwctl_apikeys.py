"""`gwctl apikeys`: keys by which programs administer the mesh over the network, made on the server's machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import ServerApi, segment
from ghostwire.cli.durations import seconds
from ghostwire.cli.gwctl_admin import confirm, yes_option
from ghostwire.cli.tables import age, as_json, plain, print_json, print_table

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

PATH = "/api/v1/apikeys"


@click.group()
def apikeys() -> None:
    """Keys by which programs administer the mesh over the network (on the server's machine)."""


@apikeys.command("create")
@click.argument("name")
@click.option("--expires", default="", metavar="TIME", help="How long it is good: 90s, 30m, 1h, 7d. Usual: for ever.")
@click.option("--read-only", is_flag=True, help="It may look, and change nothing.")
@as_json
@click.pass_obj
def create(program: Program, name: str, expires: str, read_only: bool, json_: bool) -> None:
    """Make the API key NAME and print it, once.

    Piped, it prints the key alone. Programs send it as Authorization: Bearer, over TLS.
    """
    ttl = seconds("--expires", expires) if expires else 0
    made = ServerApi(program.folders).post(PATH, {"name": name, "ttl_seconds": ttl, "read_only": read_only})
    if json_:
        print_json(made)
        return
    if sys.stdout.isatty():
        until = f"ends {age(made['key']['expires'])}" if made["key"]["expires"] else "does not end"
        what = "may look" if read_only else "may do all that you may"
        click.echo(f"The API key {name} {what} and {until}. It is shown once:\n")
    click.echo(made["secret"])


@apikeys.command("list")
@as_json
@click.pass_obj
def list_(program: Program, json_: bool) -> None:
    """List all API keys; they themselves are shown once only, by create."""
    found = ServerApi(program.folders).all(PATH, "keys")
    if json_:
        print_json(found)
        return
    columns = ("id", "name", "may", "by", "created", "expires")
    print_table(columns, map(_row, found["keys"]), empty="no API keys; `gwctl apikeys create NAME` makes one")


@apikeys.command("delete")
@click.argument("key")
@yes_option
@click.pass_obj
def delete(program: Program, key: str, yes: bool) -> None:
    """Let KEY (a name or an id) open nothing any more."""
    confirm(f"Delete the API key {key}?", yes)
    gone = ServerApi(program.folders).delete(f"{PATH}/{segment(key)}")
    click.echo(f"the API key {plain(gone['name'])} is deleted")


def _row(key: Mapping[str, Any]) -> Sequence[str]:
    may = "look" if key["read_only"] else "change"
    expires = "expired" if key["expired"] else age(key["expires"])
    return (str(key["id"]), key["name"], may, key["author"] or "-", age(key["created"]), expires)
