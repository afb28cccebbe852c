"""`gwctl relays`: the mesh's relays, made, changed and drained on the server's machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ghostwire.cli import completion
from ghostwire.cli.api_client import ServerApi, segment
from ghostwire.cli.durations import seconds
from ghostwire.cli.gwctl_admin import confirm, yes_option
from ghostwire.cli.tables import age, as_json, joined, print_fields, print_json, print_table, size
from ghostwire.errors import UsageError

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

PATH = "/api/v1/relays"
F = TypeVar("F", bound=Callable[..., Any])

relay_argument = click.argument("relay", shell_complete=completion.relays)


class _Field(NamedTuple):
    """What nodes need to know of a relay, as an option; ``usual`` is what a new one has, empty: it must be told."""

    name: str
    metavar: str
    help: str
    usual: str = ""
    type: click.IntRange | None = None


_PORT = click.IntRange(1, 65535)
_FIELDS = (
    _Field("--region", "NAME", "Its region: relays of one stand in for each other."),
    _Field("--region-id", "N", "The number of a region that is new.", "the next free from 900", _PORT),
    _Field("--host", "HOST", "The name or address that nodes connect to."),
    _Field("--port", "PORT", "The TCP port that nodes connect to.", "3478", _PORT),
    _Field("--stun-port", "PORT", "The UDP port of STUN, 0: none.", "what the relay says", click.IntRange(0, 65535)),
    _Field("--ipv4", "ADDRESS", "Its IPv4 address; '': as DNS says; none: not over IPv4.", "as DNS says"),
    _Field("--ipv6", "ADDRESS", "Its IPv6 address; '': as DNS says; none: not over IPv6.", "as DNS says"),
    _Field("--capacity", "N", "How many clients it can carry, beside its region's others.", "1000", click.IntRange(1)),
)


def _described(*, new: bool) -> Callable[[F], F]:
    """Gives a command the options that describe a relay, be it a new one or what is to be another way."""

    def decorate(command: F) -> F:
        for field in reversed(_FIELDS):
            text = f"{field.help} Usual: {field.usual}." if new and field.usual else field.help
            must = new and not field.usual
            option = click.option(field.name, type=field.type, required=must, metavar=field.metavar, help=text)
            command = option(command)
        return command

    return decorate


@click.group()
def relays() -> None:
    """The relays that nodes use where no direct path is (on the server's machine)."""


@relays.command("list", short_help="List all relays by region.")
@as_json
@click.pass_obj
def relays_list(program: Program, json_: bool) -> None:
    """List all relays by region: how many clients each has now, and how many nodes are at home there."""
    found = ServerApi(program.folders).all(PATH, "relays")
    if json_:
        print_json(found)
        return
    columns = ("id", "name", "region", "address", "stun", "state", "clients", "nodes", "capacity")
    by_region = sorted(found["relays"], key=lambda relay: (relay["region"]["id"], relay["id"]))
    print_table(columns, map(_row, by_region), empty="no relays; `gwctl relays create` lets one enrol")


def _row(relay: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(relay["id"]),
        relay["name"],
        _region(relay),
        _address(relay),
        str(relay["stun_port"] or "-"),
        _state(relay),
        "-" if relay["clients"] is None else str(relay["clients"]),
        str(relay["nodes"]),
        str(relay["capacity"]),
    )


def _region(relay: Mapping[str, Any]) -> str:
    return f"{relay['region']['name']} ({relay['region']['id']})"


def _address(relay: Mapping[str, Any]) -> str:
    host = f"[{relay['host']}]" if ":" in relay["host"] else relay["host"]
    return f"{host}:{relay['port']}"


def _state(relay: Mapping[str, Any]) -> str:
    """With its draining, whose end is told by the number of nodes."""
    draining = ["draining" if relay["nodes"] else "drained"] if relay["draining"] else []
    return joined([relay["state"], *draining])


@relays.command("show")
@relay_argument
@as_json
@click.pass_obj
def relays_show(program: Program, relay: str, json_: bool) -> None:
    """Show everything about RELAY (a name or an id)."""
    found = ServerApi(program.folders).get(f"{PATH}/{segment(relay)}")
    if json_:
        print_json(found)
    else:
        print_fields(_fields(found))


def _fields(relay: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    rate = relay["bytes_per_second"]
    texts = ("ipv4", "ipv6", "version", "source", "machine_key", "key", "certificate")
    return [
        ("id", str(relay["id"])),
        ("name", relay["name"]),
        ("region", _region(relay)),
        ("address", _address(relay)),
        ("tls", "yes" if relay["tls"] else "no"),
        ("stun port", str(relay["stun_port"] or "none")),
        *((name.replace("_", " "), relay[name] or "") for name in texts),
        ("state", _state(relay)),
        ("clients", "" if relay["clients"] is None else str(relay["clients"])),
        ("traffic", "" if rate is None else f"{size(rate)}/s"),
        ("nodes", str(relay["nodes"])),
        ("capacity", str(relay["capacity"])),
        ("created", age(relay["created"]) if relay["created"] else ""),
        ("token expires", age(relay["token_expires"]) if relay["token_expires"] else ""),
    ]


@relays.command("create", short_help="Make a relay, and print the token by which it enrols.")
@click.argument("name")
@_described(new=True)
@click.option("--ttl", default="", metavar="TIME", help="How long its token is good: 90s, 30m, 1h (usual), 7d.")
@as_json
@click.pass_obj
def relays_create(program: Program, /, name: str, ttl: str, json_: bool, **given: Any) -> None:
    """Make the relay NAME, and print the token by which it enrols, once.

    On the relay's machine: ghostwire relay --token-file FILE. Piped, only the token is printed:

    \b
        gwctl relays create a --region north --host a.example.com | ssh a ghostwire relay --token-file -
    """
    order = {"name": name, **_said(given), **({"ttl_seconds": seconds("--ttl", ttl)} if ttl else {})}
    made = ServerApi(program.folders).post(PATH, order)
    if json_:
        print_json(made)
        return
    relay = made["relay"]
    click.echo(f"relay {relay['name']} of region {_region(relay)} may enrol; its token:", err=True)
    click.echo(made["token"])
    until = age(relay["token_expires"])
    click.echo(f"good once, until it ends {until}; on its machine: ghostwire relay --token-file FILE", err=True)


@relays.command("set")
@relay_argument
@_described(new=False)
@as_json
@click.pass_obj
def relays_set(program: Program, /, relay: str, json_: bool, **given: Any) -> None:
    """Change what is known of RELAY; nodes follow at once."""
    order = _said(given)
    if not order:
        raise UsageError("say what to change, for instance --capacity 5000; see: gwctl relays set --help")
    changed = ServerApi(program.folders).patch(f"{PATH}/{segment(relay)}", order)
    _answer(changed, json_, f"{changed['name']} is changed")


def _answer(relay: Mapping[str, Any], json_: bool, text: str) -> None:
    """What became of a relay: the relay for programs, a line for people."""
    if json_:
        print_json(relay)
    else:
        click.echo(text)


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


@relays.command("drain", short_help="Move a relay's nodes to others, and give it no new ones.")
@relay_argument
@as_json
@click.pass_obj
def relays_drain(program: Program, relay: str, json_: bool) -> None:
    """Let RELAY take nobody new, and move its nodes to others of its region, a few each second."""
    drained = ServerApi(program.folders).post(f"{PATH}/{segment(relay)}/drain")
    _answer(drained, json_, f"{drained['name']} takes nobody new; {_left(drained)}")


def _left(drained: Mapping[str, Any]) -> str:
    name, nodes = drained["name"], drained["nodes"]
    if not nodes:
        return "it is drained"
    if not drained["takers"]:
        region = drained["region"]["name"]
        return (
            f"no other relay of region {region} takes its nodes ({nodes}): they go to another region, if there is one"
        )
    return f"its nodes ({nodes}) move to others of its region; `gwctl relays show {name}` says when it is drained"


@relays.command("undrain")
@relay_argument
@as_json
@click.pass_obj
def relays_undrain(program: Program, relay: str, json_: bool) -> None:
    """Let RELAY take nodes again."""
    found = ServerApi(program.folders).post(f"{PATH}/{segment(relay)}/undrain")
    _answer(found, json_, f"{found['name']} takes nodes again")


@relays.command("delete", short_help="Remove a relay from the mesh for good.")
@relay_argument
@yes_option
@as_json
@click.pass_obj
def relays_delete(program: Program, relay: str, yes: bool, json_: bool) -> None:
    """Remove RELAY from the mesh for good; `gwctl relays drain` first spares its nodes the break."""
    confirm(f"Remove the relay {relay} from the mesh?", yes)
    gone = ServerApi(program.folders).delete(f"{PATH}/{segment(relay)}")
    _answer(gone, json_, f"{relay} is removed")


@relays.command("derpmap")
@as_json
@click.pass_obj
def relays_derpmap(program: Program, json_: bool) -> None:
    """Print all relays as a DERP map in JSON, for stock clients."""
    print_json(ServerApi(program.folders).get("/api/v1/derpmap"))
