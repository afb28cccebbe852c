"""gwctl on the server's machine: nodes, users and the server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from ghostwire.cli import gwctl_admin, gwctl_server

Run = Callable[..., Result]
Serve = Callable[[str], Any]
NODE = {
    "id": 7,
    "stable_id": "n-x",
    "name": "alice",
    "user": {"id": 1, "name": "ada"},
    "addresses": ["100.64.0.2", "fd00::2"],
    "tags": ["tag:web"],
    "ephemeral": True,
    "online": False,
    "last_seen": 1,
    "created": 1,
    "expires": None,
    "expired": True,
    "node_key": "nodekey:00",
    "machine_key": "mkey:00",
    "hostname": "box",
    "os": "linux",
    "version": "0.1.0",
    "endpoints": [["udp", "192.0.2.1:41641"]],
    "home": {"region": {"id": 900, "name": "north"}, "relay": "north-1"},
}


def test_nodes_are_listed_for_people_and_programs(serve: Serve, run: Run) -> None:
    serve("server").answers["GET", "/api/v1/nodes"] = (200, {"nodes": [NODE]})
    shown = run(gwctl_admin.nodes, "list").stdout
    assert all(word in shown for word in ("alice", "ada", "100.64.0.2, fd00::2", "expired", "ephemeral, tag:web"))
    assert json.loads(run(gwctl_admin.nodes, "list", "--json").stdout) == {"nodes": [NODE]}


def test_an_empty_mesh_says_how_to_fill_it(serve: Serve, run: Run) -> None:
    fake = serve("server")
    fake.answers |= {("GET", "/api/v1/nodes"): (200, {"nodes": []}), ("GET", "/api/v1/users"): (200, {"users": []})}
    assert "preauthkeys create" in run(gwctl_admin.nodes, "list").stdout
    assert "users create" in run(gwctl_admin.users, "list").stdout


def test_a_node_is_shown_with_all_it_has(serve: Serve, run: Run) -> None:
    serve("server").answers["GET", "/api/v1/nodes/alice"] = (200, NODE)
    shown = run(gwctl_admin.nodes, "show", "alice").stdout
    assert all(word in shown for word in ("mkey:00", "udp 192.0.2.1:41641", "linux", "ada", "north-1 in north (900)"))
    assert json.loads(run(gwctl_admin.nodes, "show", "alice", "--json").stdout) == NODE


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["rename", "a b", "carol"], ("PATCH", "/api/v1/nodes/a%20b", {"name": "carol"})),
        (["tag", "alice", "tag:web", "tag:db"], ("PATCH", "/api/v1/nodes/alice", {"tags": ["tag:web", "tag:db"]})),
        (["tag", "alice", "--none"], ("PATCH", "/api/v1/nodes/alice", {"tags": []})),
        (["expire", "alice"], ("POST", "/api/v1/nodes/alice/expire", {})),
        (["delete", "7", "--yes"], ("DELETE", "/api/v1/nodes/7", None)),
    ],
)
def test_a_node_is_changed_by_one_request(serve: Serve, run: Run, words: list[str], asked: tuple[Any, ...]) -> None:
    fake = serve("server")
    fake.answers[asked[0], asked[1]] = (200, {})
    assert run(gwctl_admin.nodes, *words).exit_code == 0
    assert fake.asked == [asked]


def test_a_tag_that_no_rule_names_is_warned_of(serve: Serve, run: Run) -> None:
    answer = {**NODE, "warnings": ["no access rule of the policy names tag:wbe"]}
    serve("server").answers["PATCH", "/api/v1/nodes/alice"] = (200, answer)
    result = run(gwctl_admin.nodes, "tag", "alice", "tag:wbe")
    assert (result.stdout, result.stderr) == (
        "alice is tagged tag:wbe\n",
        "warning: no access rule of the policy names tag:wbe\n",
    )
    assert json.loads(run(gwctl_admin.nodes, "tag", "alice", "tag:wbe", "--json").stdout) == answer


@pytest.mark.parametrize("words", [["tag", "alice"], ["tag", "alice", "tag:web", "--none"]], ids=["neither", "both"])
def test_tags_are_given_or_taken_away(serve: Serve, run: Run, words: list[str]) -> None:
    fake = serve("server")
    assert run(gwctl_admin.nodes, *words).exit_code == 2
    assert fake.asked == []


def test_users_are_listed_with_their_e_mail_addresses(serve: Serve, run: Run) -> None:
    users = [{"id": 1, "name": "ada", "issuer": "local", "email": "ada@example.com", "created": 1}]
    serve("server").answers["GET", "/api/v1/users"] = (200, {"users": users})
    assert "ada@example.com" in run(gwctl_admin.users, "list").stdout
    assert json.loads(run(gwctl_admin.users, "list", "--json").stdout) == {"users": users}


@pytest.mark.parametrize(("group", "name"), [(gwctl_admin.nodes, "alice"), (gwctl_admin.users, "ada")])
def test_nothing_is_deleted_unasked(serve: Serve, run: Run, group: Any, name: str) -> None:
    fake = serve("server")
    result = run(group, "delete", name)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert fake.asked == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["create", "ada"], ("POST", "/api/v1/users", {"name": "ada"})),
        (["create", "ada", "--email", "a@b.c"], ("POST", "/api/v1/users", {"name": "ada", "email": "a@b.c"})),
        (["set-email", "ada", "a@b.c"], ("PATCH", "/api/v1/users/ada", {"email": "a@b.c"})),
        (["set-email", "ada", ""], ("PATCH", "/api/v1/users/ada", {"email": ""})),
        (["rename", "ada", "grace"], ("PATCH", "/api/v1/users/ada", {"name": "grace"})),
        (["delete", "ada", "--yes"], ("DELETE", "/api/v1/users/ada", None)),
    ],
)
def test_a_user_is_changed_by_one_request(serve: Serve, run: Run, words: list[str], asked: tuple[Any, ...]) -> None:
    fake = serve("server")
    fake.answers[asked[0], asked[1]] = (200, {})
    assert run(gwctl_admin.users, *words).exit_code == 0
    assert fake.asked == [asked]


def test_a_conflict_is_said_in_one_line(serve: Serve, run: Run) -> None:
    refusal = {"error": {"code": "conflict", "message": "ada still has nodes"}}
    serve("server").answers["DELETE", "/api/v1/users/ada"] = (409, refusal)
    result = run(gwctl_admin.users, "delete", "ada", "--yes")
    assert (result.exit_code, result.stderr) == (8, "error: ada still has nodes\n")


def test_the_server_shows_its_address_key_and_size(serve: Serve, run: Run) -> None:
    info = {"version": "0.1.0", "url": "https://s:8080", "control_key": "ckey:00", "nodes": 3, "online": 2, "users": 1}
    info |= {
        "relays": 5,
        "relays_connected": 4,
        "policy": {"engine": "acl", "version": 3, "summary": "version 3 by ada"},
    }
    serve("server").answers["GET", "/api/v1/server"] = (200, info)
    shown = run(gwctl_server.server, "status").stdout
    assert all(
        word in shown for word in ("https://s:8080", "ckey:00", "3, 2 online", "5, 4 connected", "version 3 by ada")
    )
    assert json.loads(run(gwctl_server.server, "status", "--json").stdout) == info


def test_several_servers_are_shown_with_those_that_are_gone(serve: Serve, run: Run) -> None:
    one = {"id": "aa", "name": "one", "version": "1.0", "since": time.time() - 7200, "streams": 7, "gone": None}
    two = {**one, "id": "bb", "name": "two", "streams": 0, "gone": time.time() - 60}
    info = {"version": "1.0", "following": False, "servers": [one, two]}
    serve("server").answers["GET", "/api/v1/server"] = (200, info)
    shown = run(gwctl_server.server).stdout
    assert "out of reach" in shown
    (first,), (second,) = (
        [line.split() for line in shown.splitlines() if line.rstrip().endswith(name)] for name in (" aa", " bb")
    )
    assert first == ["one", "1.0", "2", "h", "ago", "7", "runs", "aa"]
    assert second == ["two", "1.0", "2", "h", "ago", "gone", "60", "s", "ago", "bb"]


def test_away_from_the_server_it_says_where_to_go(run: Run) -> None:
    result = run(gwctl_admin.nodes, "list")
    assert result.exit_code == 7
    assert "on the server's machine" in result.stderr
