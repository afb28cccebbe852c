"""What an administrator does on the server's machine: nodes and users."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ghostwire.cli import completion
from ghostwire.cli.api_client import ServerApi, segment
from ghostwire.cli.tables import age, as_json, joined, plain, print_fields, print_json, print_table
from ghostwire.errors import UsageError

if TYPE_CHECKING:
    from ghostwire.cli.program import Program


node_argument = click.argument("node", shell_complete=completion.nodes)
user_argument = click.argument("user", shell_complete=completion.users)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(question: str, yes: bool) -> None:
    """Ask before what can't be undone; UsageError where nobody is there to answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this cannot be undone: say --yes")
    click.confirm(question, abort=True)


# -- nodes


@click.group()
def nodes() -> None:
    """The mesh's nodes (on the server's machine)."""


@nodes.command("list")
@as_json
@click.pass_obj
def nodes_list(program: Program, json_: bool) -> None:
    """List all nodes."""
    found = ServerApi(program.folders).all("/api/v1/nodes", "nodes")
    if json_:
        print_json(found)
        return
    columns: tuple[str, ...] = ("id", "name", "user", "addresses", "online", "seen", "key expires", "flags")
    rows = [_node_row(node) for node in found["nodes"]]
    if any(node.get("routes") for node in found["nodes"]):
        columns += ("routes",)
        rows = [(*row, _routes(node)) for row, node in zip(rows, found["nodes"], strict=True)]
    print_table(columns, rows, empty="no nodes; `gwctl preauthkeys create` lets one join")


def _node_row(node: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(node["id"]),
        node["name"],
        (node.get("user") or {}).get("name", "-"),
        joined(node["addresses"]),
        "yes" if node.get("online") else "no",
        "now" if node.get("online") else age(node.get("last_seen")),
        _expiry(node),
        joined([*(["ephemeral"] if node.get("ephemeral") else []), *node.get("tags", ())]),
    )


def _routes(node: Mapping[str, Any]) -> str:
    """Its routes, each with what else is to be known than that peers use it."""
    return joined(map(_route, node.get("routes", ())))


def _route(route: Mapping[str, Any]) -> str:
    state = route["state"] if route["advertised"] else f"{route['state']}, not advertised"
    return route["prefix"] if state == "approved" else f"{route['prefix']} ({state})"


def _expiry(node: Mapping[str, Any]) -> str:
    if node.get("expired"):
        return "expired"
    return age(node["expires"]) if node.get("expires") else "never"


@nodes.command("show")
@node_argument
@as_json
@click.pass_obj
def nodes_show(program: Program, node: str, json_: bool) -> None:
    """Show everything about NODE (a name or an id)."""
    found = ServerApi(program.folders).get(f"/api/v1/nodes/{segment(node)}")
    if json_:
        print_json(found)
    else:
        print_fields(_node_fields(found))


def _node_fields(node: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    texts = ("id", "name", "stable_id", "hostname", "os", "version", "machine_key", "node_key")
    lists = ("addresses", "tags", "endpoints")
    return [
        *((name, str(node.get(name) or "")) for name in texts),
        *((name, joined(_text(value) for value in node.get(name) or ())) for name in lists),
        ("routes", _routes(node)),
        ("user", (node.get("user") or {}).get("name", "")),
        ("home", _home(node.get("home"))),
        ("online", "yes" if node.get("online") else "no"),
        ("last seen", age(node.get("last_seen"))),
        ("created", age(node.get("created"))),
        ("key expires", _expiry(node)),
        ("ephemeral", "yes" if node.get("ephemeral") else "no"),
    ]


def _home(home: Mapping[str, Any] | None) -> str:
    """Its home region, and the relay there that it is to be at."""
    if not home:
        return ""
    region = f"{home['region']['name']} ({home['region']['id']})"
    return f"{home['relay']} in {region}" if home.get("relay") else region


def _text(value: object) -> str:
    """An endpoint is a pair of transport and text; all else is text already."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@nodes.command("rename")
@node_argument
@click.argument("name")
@click.pass_obj
def nodes_rename(program: Program, node: str, name: str) -> None:
    """Give NODE another NAME."""
    ServerApi(program.folders).patch(f"/api/v1/nodes/{segment(node)}", {"name": name})
    click.echo(f"{node} is now {name}")


@nodes.command("tag", short_help="Give a node tags in place of its own.")
@node_argument
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@click.option("--none", is_flag=True, help="Take all its tags away: it acts for its user again.")
@as_json
@click.pass_obj
def nodes_tag(program: Program, node: str, tags: Sequence[str], none: bool, json_: bool) -> None:
    """Give NODE these tags (tag:web) in place of those that it has. A tagged node acts for no user."""
    if bool(tags) == none:
        raise UsageError("give the tags, for instance tag:web; or --none")
    changed = ServerApi(program.folders).patch(f"/api/v1/nodes/{segment(node)}", {"tags": tags})
    for warning in changed.get("warnings", ()):
        click.echo(f"warning: {plain(warning)}", err=True)
    if json_:
        print_json(changed)
    else:
        click.echo(f"{node} is tagged {joined(tags)}" if tags else f"{node} has no tags")


@nodes.command("expire")
@node_argument
@click.pass_obj
def nodes_expire(program: Program, node: str) -> None:
    """Stop accepting NODE's key: it has to join again."""
    ServerApi(program.folders).post(f"/api/v1/nodes/{segment(node)}/expire")
    click.echo(f"{node} is expired; `gwctl up --token-file FILE` there brings it back")


@nodes.command("delete")
@node_argument
@yes_option
@click.pass_obj
def nodes_delete(program: Program, node: str, yes: bool) -> None:
    """Remove NODE from the mesh for good."""
    confirm(f"Remove {node} from the mesh?", yes)
    ServerApi(program.folders).delete(f"/api/v1/nodes/{segment(node)}")
    click.echo(f"{node} is removed")


# -- users


@click.group()
def users() -> None:
    """The people nodes belong to (on the server's machine)."""


@users.command("list")
@as_json
@click.pass_obj
def users_list(program: Program, json_: bool) -> None:
    """List all users."""
    found = ServerApi(program.folders).all("/api/v1/users", "users")
    if json_:
        print_json(found)
        return
    columns = ("id", "name", "e-mail", "issuer", "created")
    print_table(columns, map(_user_row, found["users"]), empty="no users; `gwctl users create NAME` makes one")


def _user_row(user: Mapping[str, Any]) -> Sequence[str]:
    email, made = user.get("email") or "-", age(user.get("created"))
    return (str(user["id"]), user["name"], email, user.get("issuer", ""), made)


@users.command("create")
@click.argument("name")
@click.option("--email", metavar="ADDRESS", help="The e-mail address by which policies may name them.")
@as_json
@click.pass_obj
def users_create(program: Program, name: str, email: str | None, json_: bool) -> None:
    """Make the user NAME."""
    order = {"name": name, **({"email": email} if email else {})}
    made = ServerApi(program.folders).post("/api/v1/users", order)
    if json_:
        print_json(made)
    else:
        click.echo(f"user {name} is made; `gwctl preauthkeys create --user {name}` lets a node join for them")


@users.command("rename")
@user_argument
@click.argument("name")
@click.pass_obj
def users_rename(program: Program, user: str, name: str) -> None:
    """Give USER another NAME."""
    ServerApi(program.folders).patch(f"/api/v1/users/{segment(user)}", {"name": name})
    click.echo(f"{user} is now {name}")


@users.command("set-email")
@user_argument
@click.argument("address")
@click.pass_obj
def users_set_email(program: Program, user: str, address: str) -> None:
    """Say by which e-mail ADDRESS policies may name USER; '' for none. It is your word that it is theirs."""
    changed = ServerApi(program.folders).patch(f"/api/v1/users/{segment(user)}", {"email": address})
    click.echo(f"{user} is {plain(changed['email'])}" if changed.get("email") else f"{user} has no e-mail address")


@users.command("delete")
@user_argument
@yes_option
@click.pass_obj
def users_delete(program: Program, user: str, yes: bool) -> None:
    """Remove USER, who may have no nodes."""
    confirm(f"Remove the user {user}?", yes)
    ServerApi(program.folders).delete(f"/api/v1/users/{segment(user)}")
    click.echo(f"{user} is removed")
