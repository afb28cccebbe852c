"""`gwctl exit-node`: by which node packets to the internet leave the mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.completion import names_from
from ghostwire.cli.tables import as_json, plain, print_json, print_table
from ghostwire.cli.ways import milliseconds

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

PATIENCE = 60.0  # seconds: the system's routes are changed meanwhile
_HOW = {"path": "", "relay": " (to its home relay)"}


@click.group("exit-node")
def exit_node() -> None:
    """Choose the node by which packets to the internet go."""


@exit_node.command("list")
@as_json
@click.pass_obj
def list_(program: Program, json_: bool) -> None:
    """List the nodes that offer the internet, with their latency where it is known."""
    answer = NodeApi(program.folders).get("/v1/exit-nodes")
    if json_:
        print_json(answer)
        return
    columns = ("exit node", "address", "home relay", "latency", "state")
    print_table(columns, map(_row, answer["exit_nodes"]), empty="no node offers the internet to this one")
    _print_trouble(answer.get("exit_node") or {})


def _row(each: Mapping[str, Any]) -> Sequence[str]:
    return each["name"], _first(each["addresses"]), each["home"] or "-", _latency(each), each["state"]


def _first(addresses: Sequence[str]) -> str:
    return addresses[0] if addresses else "-"


def _latency(each: Mapping[str, Any]) -> str:
    return milliseconds(each["latency_ms"]) + _HOW.get(each["measured"], "")


@exit_node.command()
@as_json
@click.pass_obj
def suggest(program: Program, json_: bool) -> None:
    """Suggest the nearest exit node that works; `gwctl exit-node use NAME` takes it."""
    best = NodeApi(program.folders).post("/v1/exit-nodes/suggest", timeout=PATIENCE)
    if json_:
        print_json(best)
    else:
        click.echo(plain(f"{best['name']} ({_latency(best)})"))


@exit_node.command()
@click.argument("node", metavar="NAME|ADDRESS", shell_complete=names_from(NodeApi, "/v1/exit-nodes", "exit_nodes"))
@click.option(
    "--lan/--no-lan", default=None, help="Reach local networks directly, or not.  [default: as before, or not]"
)
@as_json
@click.pass_obj
def use(program: Program, node: str, lan: bool | None, json_: bool) -> None:
    """Send all packets to the internet through this node; kept over restarts.

    While it is not there they go nowhere, so that none leaves by another way.
    """
    order = {"target": node, "lan": lan}
    answer = NodeApi(program.folders).post("/v1/exit-nodes/use", order, timeout=PATIENCE)
    if json_:
        print_json(answer)
        return
    chosen = answer["exit_node"]
    local = "those to local networks go there directly" if chosen["lan"] else "those to local networks, too"
    click.echo(plain(f"packets to the internet go through {chosen['name']}; {local}"))
    for note in answer["notes"]:
        click.echo(plain(f"note: {note}"))
    _print_trouble(chosen)


@exit_node.command()
@as_json
@click.pass_obj
def off(program: Program, json_: bool) -> None:
    """Use no exit node: packets to the internet go the way they went before."""
    answer = NodeApi(program.folders).post("/v1/exit-nodes/off", timeout=PATIENCE)
    if json_:
        print_json(answer)
    else:
        click.echo("no exit node is used")


def _print_trouble(chosen: Mapping[str, Any]) -> None:
    if chosen.get("trouble"):
        click.secho(plain(f"WARNING: {chosen['trouble']}"), fg="red", bold=True, err=True)
