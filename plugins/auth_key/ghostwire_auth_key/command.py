"""`gwctl preauthkeys`: keys that let machines join, made on the server's machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import ServerApi
from ghostwire.cli.durations import seconds
from ghostwire.cli.tables import age, as_json, joined, print_json, print_table

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

PATH = "/api/v1/preauthkeys"


@click.group()
def preauthkeys() -> None:
    """Keys that let machines join (on the server's machine)."""


@preauthkeys.command("create")
@click.option("--user", default="", metavar="USER", help="Whose machines join; the first user where not given.")
@click.option("--reusable", is_flag=True, help="For any number of machines; otherwise for one.")
@click.option("--ephemeral", is_flag=True, help="Machines that joined by it are removed soon after they go away.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Tag the machines; repeatable.")
@click.option("--ttl", default="", metavar="TIME", help="How long it admits machines: 90s, 30m, 1h (usual), 7d.")
@as_json
@click.pass_obj
def create(
    program: Program, user: str, reusable: bool, ephemeral: bool, tags: Sequence[str], ttl: str, json_: bool
) -> None:
    """Make a join token.

    Piped, it prints the token alone: gwctl preauthkeys create | ssh HOST gwctl up --token-file -
    """
    order = {
        "user": user,
        "reusable": reusable,
        "ephemeral": ephemeral,
        "tags": tags,
        "ttl_seconds": seconds("--ttl", ttl) if ttl else 0,
    }
    made = ServerApi(program.folders).post(PATH, order)
    if json_:
        print_json(made)
    elif sys.stdout.isatty():
        click.echo(_explained(made))
    else:
        click.echo(made["token"])


@preauthkeys.command("list")
@as_json
@click.pass_obj
def list_(program: Program, json_: bool) -> None:
    """List all keys; their secrets are shown once only, by create."""
    found = ServerApi(program.folders).all(PATH, "keys")
    if json_:
        print_json(found)
        return
    columns = ("id", "user", "state", "uses", "expires", "kind", "tags")
    print_table(columns, map(_row, found["keys"]), empty="no keys; `gwctl preauthkeys create` makes one")


@preauthkeys.command("revoke")
@click.argument("key", type=click.IntRange(min=1))
@click.pass_obj
def revoke(program: Program, key: int) -> None:
    """Let KEY (its id) admit nobody any more; machines that joined by it stay."""
    ServerApi(program.folders).post(f"{PATH}/{key}/revoke")
    click.echo(f"key {key} is revoked")


def _explained(made: Mapping[str, Any]) -> str:
    key = made["key"]
    kind = "any number of machines" if key["reusable"] else "one machine"
    until = age(key["expires"])
    return (
        f"Key {key['id']} lets {kind} of {key['user']['name']} join and ends {until}. Its join token, shown once:\n\n"
        f"{made['token']}\n\n"
        "On the machine, as root: gwctl up    (it asks for the token)"
    )


def _row(key: Mapping[str, Any]) -> Sequence[str]:
    kinds = ["reusable" if key["reusable"] else "one use", *(["ephemeral"] if key["ephemeral"] else [])]
    texts = (str(key["id"]), key["user"]["name"], key["state"], str(key["uses"]), age(key["expires"]))
    return (*texts, joined(kinds), joined(key["tags"]))
