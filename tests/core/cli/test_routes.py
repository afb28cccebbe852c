"""gwctl routes, on the server's machine, and what gwctl nodes shows of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from ghostwire.cli import gwctl_routes
from ghostwire.cli.gwctl_admin import nodes
from ghostwire.cli.gwctl_routes import routes
from ghostwire.cli.main import GWCTL

Run = Callable[..., Result]
Serve = Callable[[str], Any]
PATH = gwctl_routes.PATH
ROUTE = {
    "id": 3,
    "node": {"id": 7, "name": "office"},
    "prefix": "10.1.0.0/16",
    "state": "approved",
    "approved_by": "auto",
    "advertised": True,
    "online": True,
    "down": False,
    "created": 1,
    "note": "",
}
REFUSED = {"node": {"id": 7, "name": "office"}, "prefix": "100.64.0.0/16", "reason": "belongs to the mesh itself"}
NODE = {"id": 7, "name": "office", "addresses": ["100.64.0.2"], "tags": [], "online": True}


def route(**changes: Any) -> dict[str, Any]:
    return {**ROUTE, **changes}


def test_routes_are_listed_for_people_and_programs(serve: Serve, run: Run) -> None:
    answer = {"routes": [ROUTE, route(id=4, state="waiting", approved_by="")], "refused": [REFUSED]}
    serve("server").answers["GET", PATH] = (200, answer)
    shown = run(routes, "list").stdout
    words = ("office", "10.1.0.0/16", "approved by the policy", "waiting", "online", "100.64.0.0/16", "belongs to the")
    assert all(word in shown for word in words)
    assert json.loads(run(routes, "list", "--json").stdout) == answer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"approved_by": "root"}, "approved by root"),
        ({"state": "rejected", "approved_by": "root"}, "rejected by root"),
        ({"down": True}, "down"),
        ({"online": False}, "offline"),
        ({"advertised": False, "approved_by": "root"}, "not advertised"),
        ({"note": "it overlaps 10.0.0.0/8 of lab"}, "it overlaps 10.0.0.0/8 of lab"),
    ],
)
def test_what_there_is_to_know_of_a_route_is_in_its_line(
    serve: Serve, run: Run, changes: dict[str, Any], words: str
) -> None:
    serve("server").answers["GET", PATH] = (200, {"routes": [route(**changes)], "refused": []})
    assert words in run(routes, "list").stdout


def test_routers_of_one_prefix_stand_together_the_first_of_them_first(serve: Serve, run: Run) -> None:
    listed = [route(id=2, node={"id": 9, "name": "b"}), route(id=1, prefix="11.0.0.0/8"), route(id=3)]
    serve("server").answers["GET", PATH] = (200, {"routes": listed, "refused": []})
    lines = run(routes, "list").stdout.splitlines()[2:]
    assert [line.split()[0] for line in lines if line.strip()] == ["2", "3", "1"]


def test_a_nodes_routes_are_asked_for_by_its_name(serve: Serve, run: Run) -> None:
    api = serve("server")
    api.answers["GET", f"{PATH}?node=a%26b"] = (200, {"routes": [], "refused": []})
    assert "gwctl route advertise" in run(routes, "list", "--node", "a&b").stdout


@pytest.mark.parametrize(
    ("verb", "said"), [("approve", "approved"), ("reject", "rejected"), ("delete --yes", "forgotten")]
)
def test_several_routes_of_a_node_are_decided_at_once(serve: Serve, run: Run, verb: str, said: str) -> None:
    api, words = serve("server"), verb.split()
    answer = {"routes": [ROUTE, route(id=4, prefix="fd00:1::/64")]}
    api.answers["POST", f"{PATH}/{words[0]}"] = (200, answer)
    result = run(routes, words[0], "office", "10.1.0.0/16", "4", *words[1:])
    assert result.stdout == f"{said}: 10.1.0.0/16, fd00:1::/64 of office\n"
    assert api.asked[-1][2] == {"node": "office", "routes": ["10.1.0.0/16", "4"]}
    assert json.loads(run(routes, words[0], "office", "4", *words[1:], "--json").stdout) == answer


def test_forgetting_asks_first(serve: Serve, run: Run) -> None:
    api = serve("server")
    assert run(routes, "delete", "office", "10.1.0.0/16").exit_code == 2
    assert api.asked == []


def test_approving_what_is_not_advertised_says_that_nobody_uses_it(serve: Serve, run: Run) -> None:
    serve("server").answers["POST", f"{PATH}/approve"] = (200, {"routes": [route(advertised=False)]})
    assert "not advertised" in run(routes, "approve", "office", "10.1.0.0/16").stderr


def test_a_conflict_is_one_line_and_an_exit_code(serve: Serve, run: Run) -> None:
    error = {"error": {"code": "conflict", "message": "it overlaps 10.0.0.0/8 of lab"}}
    serve("server").answers["POST", f"{PATH}/approve"] = (409, error)
    result = run(routes, "approve", "office", "10.1.0.0/16")
    assert result.exit_code == 8
    assert result.stderr == "error: it overlaps 10.0.0.0/8 of lab\n"


def test_a_decision_needs_a_prefix(run: Run) -> None:
    assert run(routes, "approve", "office").exit_code == 2
    assert "routes" in GWCTL


def test_nodes_are_listed_with_their_routes_where_one_has_any(serve: Serve, run: Run) -> None:
    waiting = {"prefix": "10.2.0.0/16", "state": "waiting", "advertised": True}
    gone = {"prefix": "10.3.0.0/16", "state": "approved", "advertised": False}
    used = {"prefix": "10.1.0.0/16", "state": "approved", "advertised": True}
    api = serve("server")
    api.answers["GET", "/api/v1/nodes"] = (200, {"nodes": [{**NODE, "routes": [used, waiting, gone]}, NODE]})
    shown = run(nodes, "list").stdout
    assert "10.1.0.0/16, 10.2.0.0/16 (waiting), 10.3.0.0/16 (approved, not advertised)" in shown
    api.answers["GET", "/api/v1/nodes/7"] = (200, {**NODE, "routes": [waiting]})
    assert "10.2.0.0/16 (waiting)" in run(nodes, "show", "7").stdout
    api.answers["GET", "/api/v1/nodes"] = (200, {"nodes": [{**NODE, "routes": []}]})
    assert "routes" not in run(nodes, "list").stdout
