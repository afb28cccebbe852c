"""`gwctl debug`: why the node does what it does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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


@debug.command("map")
@as_json
@click.pass_obj
def map_(program: Program, json_: bool) -> None:
    """Tell how this node's map of the mesh fares.

    How far it goes, what it lacks, and how often it was compared with the server's whole map and differed.
    """
    status = NodeApi(program.folders).get("/v1/status")
    if json_:
        print_json(status["map"])
        return
    for line in _map_lines(status):
        click.echo(plain(line))


def _map_lines(status: Mapping[str, Any]) -> Iterator[str]:
    held = status["map"]
    if held["revision"] is None:
        yield "this node has no map yet; see: gwctl status"
        return
    whence = "the server keeps it in step" if status["server"]["connected"] else "as the server told it last"
    yield f"revision {held['revision']} of the mesh, {len(status['peers'])} peers; {whence}"
    lacking = f"{held['lacks']} nodes, for which the server was asked" if held["lacks"] else "nothing"
    yield f"it lacks {lacking}"
    if held["compared"] is None:
        yield "not compared with the server's whole map since the start; that is done about once a day"
        return
    ago = span(max(0, time.time() - held["compared"]))
    yield f"compared with the server's whole map {_times(held['comparisons'])}, last {ago} ago"
    differed = f"{_times(held['divergences'])}, last in {held['differed']}" if held["divergences"] else "never"
    yield f"differed from it: {differed}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


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
