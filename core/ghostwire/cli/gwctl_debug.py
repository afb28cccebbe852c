"""`gwctl debug`: why the node does what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import completion
from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.tables import as_json, plain, print_json, print_table, span
from ghostwire.cli.ways import milliseconds, over, way

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

FRESH = 10  # seconds below which tenths count


@click.group()
def debug() -> None:
    """Explain what this node does."""


@debug.command()
@click.argument("peer", shell_complete=completion.peers)
@as_json
@click.pass_obj
def paths(program: Program, peer: str, json_: bool) -> None:
    """Explain which way packets go to PEER (a name or a mesh address).

    First the choice and its reason; then the candidates: from whom each is known, whether it answers, its latency,
    its points beside the path in use (a lower rank of the transport always wins, then more points do), and what
    speaks for or against it; then the last decisions.
    """
    report = NodeApi(program.folders).post("/v1/paths", {"target": peer})
    if json_:
        print_json(report)
        return
    click.echo(plain(_summary(report)))
    click.echo()
    columns = ("transport", "endpoint", "learned from", "state", "latency", "points", "why")
    print_table(columns, map(_candidate, report["candidates"]), empty="no candidate is known")
    if report["history"]:
        click.echo()
        _print_history(report["history"])


def _summary(report: Mapping[str, Any]) -> str:
    names = {f"{each['transport']} {each['endpoint']}": over(each) for each in report["candidates"]}
    using = " and ".join(names.get(each, each) for each in report["using"])
    ways = f"{', next' if report['state'] == 'asleep' else ''} over {using}" if using else ""
    latency = f", {milliseconds(report['latency_ms'])}" if report["latency_ms"] is not None else ""
    return f"{report['name']}: {report['state']}{ways}{latency}; {report['why']}"


def _candidate(each: Mapping[str, Any]) -> Sequence[str]:
    latency = milliseconds(each["latency_ms"])
    return (*way(each), each["learned"], each["state"], latency, str(each["points"]), each["why"])


def _print_history(history: Sequence[Mapping[str, Any]]) -> None:
    ages = [_ago(moment["ago_s"]) for moment in history]
    width = max(map(len, ages))
    for ago, moment in zip(ages, history, strict=True):
        click.echo(f"{ago:>{width}}  {plain(moment['what'])}")


def _ago(seconds: float) -> str:
    return f"{seconds:.1f} s ago" if seconds < FRESH else f"{span(seconds)} ago"
