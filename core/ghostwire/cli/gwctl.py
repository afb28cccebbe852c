"""What a person does with his own node: up, down, status, ip, version."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import IO, TYPE_CHECKING, Any

import click

from ghostwire.cli import completion
from ghostwire.cli.api_client import NodeApi
from ghostwire.cli.tables import age, as_json, joined, print_fields, print_json, print_table, size
from ghostwire.cli.tokens import VARIABLE, given_token, token_file_option
from ghostwire.cli.ways import milliseconds, relay, way
from ghostwire.errors import NotFound, Unavailable, UsageError

if TYPE_CHECKING:
    from ghostwire.cli.program import Program

NOT_RUNNING = 1  # exit code of `gwctl status` where the daemon answers but the node is not up
MARGIN = 5.0  # seconds a request may take beyond the time the daemon itself was given


# -- up and down


@click.command()
@token_file_option
@click.option("--hostname", metavar="NAME", help="The name to ask for in the mesh.")
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="How long to wait for the mesh.")
@as_json
@click.pass_obj
def up(program: Program, token_file: IO[str] | None, hostname: str | None, timeout: float, json_: bool) -> None:
    """Bring this node into the mesh, starting its daemon if it does not run.

    The first time it needs a join token: from --token-file, the environment variable GHOSTWIRE_JOIN_TOKEN, or a
    hidden prompt; never from the command line, which other users can read.
    """
    api = NodeApi(program.folders)
    token = given_token(token_file)
    _start_daemon(program, api)
    if token is None and api.get("/v1/status")["state"] == "needs-login":
        token = _ask_for_token()
    click.echo("joining the mesh..." if token else "connecting...", err=True)
    order = {"token": token, "hostname": hostname, "timeout": timeout}
    status = api.post("/v1/up", order, timeout=timeout + MARGIN)
    if json_:
        print_json(status)
    else:
        own = status.get("self") or {}
        click.echo(f"up: {own.get('name', '')} {joined(own.get('addresses', ()))}")


def _ask_for_token() -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            "this node belongs to no mesh yet: give it a join token with --token-file FILE (- for stdin) "
            f"or in {VARIABLE}; `gwctl preauthkeys create` on the server makes one"
        )
    token: str = click.prompt("Join token", hide_input=True)
    return token.strip()


def _start_daemon(program: Program, api: NodeApi) -> None:
    if api.answers():
        return
    from ghostwire.cli import daemon

    click.echo("starting the node daemon...", err=True)
    log = program.folders.node / "client.log"
    daemon.start(_options(program), log, api.answers)


def _options(program: Program) -> list[str]:
    """The command line that gives a daemon the same configuration, folders and plugins as we were given."""
    options = []
    if program.config.file:
        options += ["--config", os.path.abspath(program.config.file)]
    if program.folders.given is not None:
        options += ["--state", os.path.abspath(program.folders.given)]
    for name in program.named:
        options += ["--plugin", name]
    return options


@click.command()
@click.option("--logout", is_flag=True, help="Also forget this node's keys: coming back needs a join token.")
@click.option("--force", is_flag=True, help="With --logout: forget them even where the server does not confirm it.")
@click.option("--stop", "stop_daemon", is_flag=True, help="Also end the daemon.")
@click.pass_obj
def down(program: Program, logout: bool, force: bool, stop_daemon: bool) -> None:
    """Take this node out of the mesh until the next `gwctl up`."""
    if force and not logout:
        raise UsageError("--force goes with --logout")
    api = NodeApi(program.folders)
    pid = api.listener()
    if pid is None and not logout:
        click.echo("down: the daemon does not run")
        return
    api.post("/v1/down", {"logout": logout, "force": force})
    if stop_daemon and pid is not None:
        from ghostwire.cli import daemon

        daemon.stop(pid)
    click.echo("logged out" if logout else "down")


# -- looking


@click.command()
@click.option("--peers/--no-peers", default=True, help="Leave the peers out.")
@as_json
@click.pass_context
def status(context: click.Context, peers: bool, json_: bool) -> None:
    """Show this node, its server, and each peer with its path.

    Exit code: 0 the node is up, 1 it is not (stopped, expired, starting, needs a join token), 7 no daemon answers.
    """
    answer = NodeApi(context.obj.folders).get("/v1/status")
    if not peers:
        answer.pop("peers", None)
    if json_:
        print_json(answer)
    else:
        print_fields(_own_fields(answer))
        _print_transports(answer.get("transports", ()))
        if peers and answer.get("self"):
            click.echo()
            print_peers(answer.get("peers", ()))
    if answer["state"] != "running":
        context.exit(NOT_RUNNING)


def _own_fields(answer: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    own, server = answer.get("self") or {}, answer.get("server") or {}
    trouble = answer.get("filter_trouble")
    return [
        ("state", _state(answer)),
        ("node", own.get("name", "")),
        ("addresses", joined(own.get("addresses", ()))),
        ("domain", answer.get("domain") or ""),
        ("server", _server(server)),
        ("home relay", _home(answer.get("home") or {})),
        ("interface", joined(filter(None, (answer.get("interface"), answer.get("tunnel"))))),
        ("filter", f"WARNING: filtered by this program: {trouble}" if trouble else ""),
        ("exit node", _exit((answer.get("routing") or {}).get("exit_node") or {})),
        ("routes", _routes(answer.get("routing") or {})),
        ("key expires", age(own["expires"]) if own.get("expires") else ""),
    ]


def _print_transports(transports: Sequence[Mapping[str, Any]]) -> None:
    """The transports, where there is anything to say of one: trouble, or that it runs in a process of its own."""
    if all(each["state"] == "running" and not each["isolated"] and not each["trouble"] for each in transports):
        return
    click.echo()
    columns = ("transport", "plugin", "state", "restarts", "process", "trouble")
    print_table(columns, map(_transport_row, transports), empty="")
    for each in transports:
        if lacking := [reason.partition(":")[0] for reason in each.get("lacking", ())]:
            click.echo(f"{each['name']} is confined without: {', '.join(lacking)} (why: gwctl status --json)")


def _transport_row(each: Mapping[str, Any]) -> Sequence[str]:
    process = "its own" if each["isolated"] else "the node's"
    return (each["name"], each["plugin"], each["state"], str(each["restarts"]), process, each["trouble"] or "-")


def _state(answer: Mapping[str, Any]) -> str:
    hints = {
        "needs-login": "needs-login: `gwctl up --token-file FILE` joins a mesh",
        "stopped": "stopped: `gwctl up` brings it back",
        "expired": "expired: its key is no longer accepted; `gwctl up --token-file FILE` joins again",
    }
    state: str = answer["state"]
    return hints.get(state, state)


def _server(server: Mapping[str, Any]) -> str:
    if not server.get("url"):
        return ""
    if server.get("connected"):
        return f"{server['url']} (connected)"
    began = server.get("last_connected")
    seen = f"last session began {age(began)}" if began else "never connected"
    reason = f"; {server['last_error']}" if server.get("last_error") else ""
    return f"{server['url']} ({seen}{reason})"


def _home(home: Mapping[str, Any]) -> str:
    if not home:
        return ""
    return relay(home["name"], home["relay"]) + ("" if home["connected"] else ": not connected")


def _exit(chosen: Mapping[str, Any]) -> str:
    if chosen.get("trouble"):
        return f"WARNING: {chosen['trouble']}"
    return f"{chosen.get('name', '')}{' (local networks directly)' if chosen.get('lan') else ''}"


def _routes(routing: Mapping[str, Any]) -> str:
    """How many there are of each kind; `gwctl route list` shows them."""
    states = Counter(each["state"] for each in routing.get("routes", ()) if each["state"] != "offered")
    states.update(f"offered, {each['state']}" for each in routing.get("advertised", ()))
    return joined(f"{count} {state}" for state, count in sorted(states.items()))


def print_peers(peers: Sequence[Mapping[str, Any]]) -> None:
    """Each peer with its addresses, path, latency, last handshake and bytes."""
    columns = ("peer", "addresses", "path", "endpoint", "latency", "handshake", "received", "sent")
    print_table(columns, map(_peer_row, peers), empty="no other node is in the mesh yet")


def _peer_row(peer: Mapping[str, Any]) -> Sequence[str]:
    path = (*way(peer.get("path") or {}), milliseconds(peer.get("latency_ms")))
    handshake = age(peer.get("last_handshake"))
    traffic = (size(peer.get("rx_bytes", 0)), size(peer.get("tx_bytes", 0)))
    return (peer["name"], joined(peer.get("addresses", ())), *path, handshake, *traffic)


@click.command()
@click.argument("peer", required=False, shell_complete=completion.peers)
@click.option("-4", "family", flag_value="4", help="Only IPv4.")
@click.option("-6", "family", flag_value="6", help="Only IPv6.")
@as_json
@click.pass_obj
def ip(program: Program, peer: str | None, family: str | None, json_: bool) -> None:
    """Print the mesh addresses of this node, or of PEER."""
    answer = NodeApi(program.folders).get("/v1/status")
    found = _find(answer, peer)
    addresses = [a for a in found["addresses"] if family in (None, str(ip_address(a).version))]
    if json_:
        print_json({"name": found["name"], "addresses": addresses})
    else:
        click.echo("\n".join(addresses))


def _find(answer: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    own: Mapping[str, Any] | None = answer.get("self")
    if name is None:
        if own is None:
            raise Unavailable("this node belongs to no mesh: `gwctl up --token-file FILE` joins one")
        return own
    short = name.removesuffix("." + (answer.get("domain") or ""))
    candidates: list[Mapping[str, Any]] = [*answer.get("peers", ()), *([own] if own else [])]
    for node in candidates:
        if short == node["name"] or name in node["addresses"]:
            return node
    raise NotFound(f"no node named {name} is in the mesh; `gwctl status` lists them")


# -- about itself


@click.command()
@as_json
@click.pass_obj
def version(program: Program, json_: bool) -> None:
    """Print the versions of gwctl and of the daemon, where it runs."""
    from ghostwire import __version__

    api = NodeApi(program.folders)
    running = api.get("/v1/version").get("version") if api.answers() else None
    if json_:
        print_json({"gwctl": __version__, "daemon": running})
    else:
        click.echo(f"gwctl {__version__}")
        click.echo(f"daemon {running or '(not running)'}")
