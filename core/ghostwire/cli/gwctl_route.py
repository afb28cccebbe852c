"""`gwctl route`: which routes this node uses, and which it offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.tables import as_json, print_json, print_table

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

_OFFERS = {
    "approved": "approved",
    "waiting": "not approved: on the server, gwctl routes list says why, and gwctl routes approve approves it",
    "down": "down: this machine has no way there now",
}


@click.group()
def route() -> None:
    """Show, offer and accept routes beyond the mesh."""


@route.command("list")
@as_json
@click.pass_obj
def list_(program: Program, json_: bool) -> None:
    """List the routes that other nodes offer, what becomes of each, and what this node offers itself."""
    answer = NodeApi(program.folders).get("/v1/routes")
    if json_:
        print_json(answer)
        return
    columns = ("prefix", "router", "state", "why")
    print_table(columns, map(_route, answer["routes"]), empty="no other node offers this one a route")
    if answer["advertised"]:
        click.echo()
        print_table(("offered", "by", "state"), map(_offer, answer["advertised"]), empty="")
    if not answer["accepts"]:
        click.echo("\nroutes of other nodes are not used; gwctl route accept on changes that")


def _route(each: Mapping[str, Any]) -> Sequence[str]:
    return each["prefix"], each["router"], each["state"], each["why"] or "-"


def _offer(each: Mapping[str, Any]) -> Sequence[str]:
    by = "ghostwire.toml" if each["configured"] else "gwctl route advertise"
    return each["prefix"], by, _OFFERS.get(each["state"], each["state"])


@route.command()
@click.argument("prefix", metavar="PREFIX|exit")
@as_json
@click.pass_obj
def advertise(program: Program, prefix: str, json_: bool) -> None:
    """Offer to pass packets on to PREFIX (10.1.0.0/16), or with `exit` to the whole internet; kept over restarts."""
    answer = NodeApi(program.folders).post("/v1/routes/advertise", {"prefix": prefix})
    _print_offers(answer, json_)


@route.command()
@click.argument("prefix", metavar="PREFIX|exit")
@as_json
@click.pass_obj
def withdraw(program: Program, prefix: str, json_: bool) -> None:
    """Offer PREFIX no longer."""
    answer = NodeApi(program.folders).post("/v1/routes/withdraw", {"prefix": prefix})
    _print_offers(answer, json_)


def _print_offers(answer: Mapping[str, Any], json_: bool) -> None:
    if json_:
        print_json(answer)
    else:
        print_table(("offered", "by", "state"), map(_offer, answer["advertised"]), empty="this node offers no route")


@route.command()
@click.argument("wanted", type=click.Choice(["on", "off"]))
@as_json
@click.pass_obj
def accept(program: Program, wanted: str, json_: bool) -> None:
    """Use the routes that other nodes offer (on), or none (off); kept over restarts. Exit nodes are another matter."""
    answer = NodeApi(program.folders).post("/v1/routes/accept", {"accept": wanted == "on"})
    if json_:
        print_json(answer)
    else:
        click.echo("routes of other nodes are used" if answer["accepts"] else "routes of other nodes are not used")
