"""gwctl route, gwctl exit-node, and what gwctl status says of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from click.testing import Result

from ghostwire.cli.gwctl import status
from ghostwire.cli.gwctl_exit_node import exit_node
from ghostwire.cli.gwctl_route import route
from ghostwire.node.routing.report import AdvertisedStatus, Chosen, ExitNode, ExitStatus, RouteStatus, Routing

Run = Callable[..., Result]
Serve = Callable[[str], Any]
ROUTING = Routing(
    routes=(
        RouteStatus(id=5, prefix="10.1.0.0/16", router="berlin", state="in use"),
        RouteStatus(id=6, prefix="10.1.0.0/16", router="hamburg", state="standby"),
        RouteStatus(
            id=7, prefix="192.0.2.0/24", router="berlin", state="refused", why="it holds 192.0.2.1, the server"
        ),
    ),
    advertised=(
        AdvertisedStatus(prefix="192.168.0.0/24", state="waiting"),
        AdvertisedStatus(prefix="192.168.1.0/24", state="approved", configured=True),
    ),
    exit_node=ExitStatus(name="berlin", stable_id="s", lan=False, trouble="berlin does not answer: packets go nowhere"),
)
BERLIN = ExitNode(
    name="berlin",
    stable_id="s",
    addresses=("100.64.0.2",),
    state="in use",
    home="fra",
    latency_ms=12.34,
    measured="relay",
)


def answering(serve: Serve, method: str, path: str, answer: Any) -> Any:
    fake = serve("node")
    fake.answers[method, path] = (200, msgspec.to_builtins(answer))
    return fake


def test_routes_are_listed_with_what_becomes_of_them(serve: Serve, run: Run) -> None:
    answering(serve, "GET", "/v1/routes", ROUTING)
    shown = run(route, "list").output
    assert "hamburg" in shown
    assert "it holds 192.0.2.1, the server" in shown
    assert "gwctl routes approve" in shown
    assert "ghostwire.toml" in shown
    assert json.loads(run(route, "list", "--json").output) == json.loads(msgspec.json.encode(ROUTING))


def test_without_any_route_a_line_says_so(serve: Serve, run: Run) -> None:
    answering(serve, "GET", "/v1/routes", Routing(accepts=False))
    shown = run(route, "list").output
    assert shown.startswith("no other node offers this one a route")
    assert "gwctl route accept on" in shown


def test_a_prefix_is_offered_and_withdrawn(serve: Serve, run: Run) -> None:
    fake = answering(serve, "POST", "/v1/routes/advertise", ROUTING)
    assert "192.168.0.0/24" in run(route, "advertise", "192.168.0.0/24").output
    fake.answers["POST", "/v1/routes/withdraw"] = (200, msgspec.to_builtins(Routing()))
    assert run(route, "withdraw", "exit").output == "this node offers no route\n"
    assert [body for *_, body in fake.asked] == [{"prefix": "192.168.0.0/24"}, {"prefix": "exit"}]


def test_routes_are_accepted_or_not(serve: Serve, run: Run) -> None:
    fake = answering(serve, "POST", "/v1/routes/accept", Routing(accepts=False))
    assert run(route, "accept", "off").output == "routes of other nodes are not used\n"
    assert fake.asked == [("POST", "/v1/routes/accept", {"accept": False})]


def test_exit_nodes_are_listed_with_their_latency_and_trouble_is_loud(serve: Serve, run: Run) -> None:
    answering(serve, "GET", "/v1/exit-nodes", {"exit_nodes": [BERLIN], "exit_node": ROUTING.exit_node})
    shown = run(exit_node, "list").output
    assert "12.3 ms (to its home relay)" in shown
    assert "WARNING: berlin does not answer" in shown


def test_the_best_exit_node_is_suggested(serve: Serve, run: Run) -> None:
    answering(serve, "POST", "/v1/exit-nodes/suggest", BERLIN)
    assert run(exit_node, "suggest").output == "berlin (12.3 ms (to its home relay))\n"


def test_an_exit_node_is_chosen_with_notes(serve: Serve, run: Run) -> None:
    chosen = Chosen(exit_node=ExitStatus(name="berlin", stable_id="s", lan=True), notes=("names",))
    fake = answering(serve, "POST", "/v1/exit-nodes/use", chosen)
    shown = run(exit_node, "use", "berlin", "--lan").output
    assert shown == (
        "packets to the internet go through berlin; those to local networks go there directly\nnote: names\n"
    )
    run(exit_node, "use", "berlin")
    assert [body["lan"] for *_, body in fake.asked] == [True, None]


def test_none_is_used_any_more(serve: Serve, run: Run) -> None:
    answering(serve, "POST", "/v1/exit-nodes/off", Chosen(exit_node=None))
    assert run(exit_node, "off").output == "no exit node is used\n"


def test_status_counts_routes_and_warns_of_an_exit_node_that_is_not_there(serve: Serve, run: Run) -> None:
    answer = {"state": "running", "self": {"name": "alice", "addresses": []}, "server": {}, "routing": ROUTING}
    answering(serve, "GET", "/v1/status", answer)
    shown = run(status).output
    assert "WARNING: berlin does not answer: packets go nowhere" in shown
    assert "1 in use, 1 offered, approved, 1 offered, waiting, 1 refused, 1 standby" in shown
