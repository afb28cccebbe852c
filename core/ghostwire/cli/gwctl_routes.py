"""`gwctl routes`: which routes beyond the mesh nodes offer, and which of them peers may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import completion
from ghostwire.cli.api_client import ServerApi, segment
from ghostwire.cli.gwctl_admin import confirm, node_argument, yes_option
from ghostwire.cli.tables import as_json, joined, print_json, print_table

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

PATH = "/api/v1/routes"

routes_argument = click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")


@click.group()
def routes() -> None:
    """The routes beyond the mesh that nodes offer (on the server's machine).

    Peers use a route that its node advertises and that is approved, by the policy's autoApprovers or here. A PREFIX
    may be the route's id, too, or `exit` for both of an exit node's.
    """


@routes.command("list", short_help="List all routes, or a node's.")
@click.option("--node", metavar="NODE", shell_complete=completion.nodes, help="Only this node's.")
@as_json
@click.pass_obj
def routes_list(program: Program, node: str | None, json_: bool) -> None:
    """List all routes, or a node's; what each waits for, and what was refused and why."""
    found = ServerApi(program.folders).all(PATH + (f"?node={segment(node)}" if node else ""), "routes")
    if json_:
        print_json(found)
        return
    columns = ("id", "node", "prefix", "state", "router", "note")
    by_prefix = sorted(found["routes"], key=lambda route: (":" in route["prefix"], route["prefix"], route["id"]))
    print_table(columns, map(_row, by_prefix), empty="no routes; `gwctl route advertise PREFIX` on a node offers one")
    if found["refused"]:
        click.echo()
        print_table(("node", "refused", "why"), map(_refused_row, found["refused"]), empty="")


def _row(route: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(route["id"]),
        route["node"]["name"],
        route["prefix"],
        state(route),
        _router(route),
        route["note"] or "-",
    )


def state(route: Mapping[str, Any]) -> str:
    """``waiting``, or who approved or rejected it."""
    by = "the policy" if route["approved_by"] == "auto" else route["approved_by"]
    return f"{route['state']} by {by}" if by else str(route["state"])


def _router(route: Mapping[str, Any]) -> str:
    """What its node is to it now."""
    if not route["advertised"]:
        return "not advertised"
    return "down" if route["down"] else "online" if route["online"] else "offline"


def _refused_row(refused: Mapping[str, Any]) -> Sequence[str]:
    return refused["node"]["name"], refused["prefix"], refused["reason"]


@routes.command("approve", short_help="Let peers use routes of a node.")
@node_argument
@routes_argument
@as_json
@click.pass_obj
def routes_approve(program: Program, node: str, prefixes: Sequence[str], json_: bool) -> None:
    """Let peers use the routes PREFIX of NODE, whatever the policy says."""
    _decide(program, "approve", node, prefixes, json_, "approved: {prefixes} of {node}")


@routes.command("reject", short_help="Let no peer use routes of a node.")
@node_argument
@routes_argument
@as_json
@click.pass_obj
def routes_reject(program: Program, node: str, prefixes: Sequence[str], json_: bool) -> None:
    """Let no peer use the routes PREFIX of NODE, whatever the policy says."""
    _decide(program, "reject", node, prefixes, json_, "rejected: {prefixes} of {node}")


@routes.command("delete", short_help="Forget routes of a node, and what was decided.")
@node_argument
@routes_argument
@yes_option
@as_json
@click.pass_obj
def routes_delete(program: Program, node: str, prefixes: Sequence[str], yes: bool, json_: bool) -> None:
    """Forget the routes PREFIX of NODE, and what was decided about them; what it still advertises begins anew."""
    confirm(f"Forget {joined(prefixes)} of {node}?", yes)
    _decide(program, "delete", node, prefixes, json_, "forgotten: {prefixes} of {node}")


def _decide(program: Program, verb: str, node: str, prefixes: Sequence[str], json_: bool, text: str) -> None:
    answer = ServerApi(program.folders).post(f"{PATH}/{verb}", {"node": node, "routes": list(prefixes)})
    if json_:
        print_json(answer)
        return
    decided = answer["routes"]
    click.echo(text.format(prefixes=joined(route["prefix"] for route in decided), node=decided[0]["node"]["name"]))
    for route in decided:
        if verb == "approve" and not route["advertised"]:
            click.echo(f"{route['prefix']} is not advertised now: nobody uses it until {node} does", err=True)
