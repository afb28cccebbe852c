"""What a policy means, on the command line: why one may reach another, and what each node would let in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import click

from ghostwire.cli.api_client import ServerApi
from ghostwire.cli.tables import as_json, joined, plain, print_json, print_table
from ghostwire.errors import PolicyError, UsageError
from ghostwire_policy_acl import command_texts as texts
from ghostwire_policy_acl.command_texts import WRONG, policy_argument
from ghostwire_policy_acl.command_versions import PATH

SHOWN = 4
"""Sources that a line for people names."""

if TYPE_CHECKING:
    from ghostwire.cli.program import Program


@click.command("explain", short_help="Say why one may reach another, or not.")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST[:PORT]")
@click.option("--proto", default="", metavar="NAME", help="tcp, udp, icmp or a number; tcp where a port is given.")
@as_json
@click.pass_obj
def explain(program: Program, source: str, destination: str, proto: str, json_: bool) -> None:
    """Say whether SRC may reach DST, by which rule, or why not.

    Both are a node, an address, a user, or a selector such as tag:web. Exit code: 0 it may, 1 it may not.

    \b
        gwctl policy explain laptop web:22
        gwctl policy explain ada@example.com 10.1.2.3:443 --proto udp
    """
    question = {"source": source, "destination": destination, "protocol": proto}
    answer = ServerApi(program.folders).post(f"{PATH}/explain", question)
    if json_:
        print_json(answer)
    else:
        _print_answer(answer)
    if not answer["allowed"]:
        click.get_current_context().exit(WRONG)


def _print_answer(answer: Mapping[str, Any]) -> None:
    click.echo(plain(answer["summary"]))
    for rule in answer["rules"]:
        _print_rule(rule)
    for miss in answer["near_misses"]:
        click.echo(plain(f"  not by line {miss['line']}: {miss['why']}"))
        _print_rule(miss)
    for pair in answer["refused"] if answer["partly"] else ():
        click.echo(plain(f"  not {pair['source']} to {pair['destination']}"))
    for reason in answer["reasons"]:
        click.echo(plain(f"  {reason}"))


def _print_rule(rule: Mapping[str, Any]) -> None:
    """What stands in the policy, with the numbers of its lines."""
    for number, line in enumerate(rule["text"].splitlines(), rule["line"]):
        click.echo(plain(f"  {number:5}  {line}"))


@click.command("compile", short_help="Compile a policy for a described mesh, without a server.")
@policy_argument
@click.option("--nodes", type=click.File("rb"), required=True, metavar="FILE", help="The mesh, as JSON.")
@as_json
def compile_(file: IO[bytes], nodes: IO[bytes], json_: bool) -> None:
    """Say what each node of a described mesh would let in under the policy in FILE, without a server.

    \b
    The mesh is {"users": [{"name", "email"?}], "nodes": {NAME: {"ipv4", "ipv6"?, "user" or "tags",
    "routable_ips"?, "approved_routes"?}}}. Exit code: 1 where the policy is wrong.
    """
    from ghostwire_policy_acl.offline import compile_for

    text = texts.read(file)
    try:
        compiled = compile_for(text.source, _topology(nodes))
    except PolicyError as error:
        texts.refuse(text.name, error.findings, json_)
    if json_:
        print_json(compiled)
        return
    rows = (row for name, filters in compiled.items() for each in filters for row in _filter_rows(name, each))
    print_table(("node", "from", "to", "ports", "protocols"), rows, empty="no node lets anything in")


def _topology(file: IO[bytes]) -> dict[str, Any]:
    try:
        topology = json.load(file)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file.name}: not JSON: {error}") from None
    if not isinstance(topology, dict):
        raise UsageError(f"{file.name}: not a JSON object with users and nodes")
    return topology


def _filter_rows(name: str, each: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    protocols = joined(each["proto"]) if len(each["proto"]) < 256 else "any"
    ranges = [(entry["net"], _ports(entry["ports"])) for entry in each["dst"]]
    return [(name, _few(each["src"]), net, ports, protocols) for net, ports in ranges]


def _few(words: Sequence[str]) -> str:
    """The first of many; programs get all of them."""
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return joined(words[:SHOWN]) + more


def _ports(ports: Sequence[int]) -> str:
    first, last = ports
    return "any" if (first, last) == (0, 65535) else str(first) if first == last else f"{first}-{last}"
