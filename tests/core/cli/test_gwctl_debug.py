"""gwctl debug: how a path choice is explained to people and programs, and how the map fares."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
from click.testing import Result

from ghostwire.cli import main
from ghostwire.cli.gwctl_debug import debug
from ghostwire.node.paths.report import CandidateReport, Moment, PathsReport
from ghostwire.node.upkeep import MapStatus

Run = Callable[..., Result]
Serve = Callable[[str], Any]
UDP = CandidateReport(
    transport="udp",
    endpoint="192.0.2.7:41641",
    relayed=False,
    learned="call-me-maybe",
    state="used",
    latency_ms=3.14,
    points=60,
    why="the fastest",
)
DERP = CandidateReport(
    transport="derp",
    endpoint="900/nodekey:00",
    relayed=True,
    learned="map",
    state="connected",
    why="not needed",
    region="north",
    relay="north-1",
)
REPORT = PathsReport(
    peer=2,
    name="alice",
    state="direct",
    why="it answers",
    using=("udp 192.0.2.7:41641",),
    latency_ms=3.14,
    candidates=(UDP, DERP),
    history=(Moment(ago_s=120, what="searching"), Moment(ago_s=1.25, what="direct over udp 192.0.2.7:41641")),
)


def answering(serve: Serve, report: PathsReport) -> Any:
    fake = serve("node")
    fake.answers["POST", "/v1/paths"] = (200, msgspec.to_builtins(report))
    return fake


def test_it_shows_the_choice_the_candidates_and_the_last_decisions(serve: Serve, run: Run) -> None:
    fake = answering(serve, REPORT)
    result = run(debug, "paths", "alice")
    assert result.exit_code == 0
    assert fake.asked == [("POST", "/v1/paths", {"target": "alice"})]
    lines = result.stdout.splitlines()
    assert lines[0] == "alice: direct over udp 192.0.2.7:41641, 3.1 ms; it answers"
    rows = [" ".join(line.split()) for line in lines]
    assert "udp 192.0.2.7:41641 call-me-maybe used 3.1 ms 60 the fastest" in rows
    assert "derp (relayed) relay north (north-1) map connected - 0 not needed" in rows
    assert lines[-2:] == ["2 min ago  searching", "1.2 s ago  direct over udp 192.0.2.7:41641"]


def test_paths_in_use_are_named_for_people(serve: Serve, run: Run) -> None:
    using = ("udp 192.0.2.7:41641", "derp 900/nodekey:00", "pigeon somewhere")
    answering(serve, msgspec.structs.replace(REPORT, state="searching", using=using, latency_ms=None))
    first = run(debug, "paths", "alice").stdout.splitlines()[0]
    named = "udp 192.0.2.7:41641 and relay north (north-1) and pigeon somewhere"
    assert first == f"alice: searching over {named}; it answers"


def test_what_a_peer_that_is_asleep_will_be_reached_over_is_told(serve: Serve, run: Run) -> None:
    answering(serve, msgspec.structs.replace(REPORT, state="asleep", why="no data for 45 s", latency_ms=None))
    first = run(debug, "paths", "alice").stdout.splitlines()[0]
    assert first == "alice: asleep, next over udp 192.0.2.7:41641; no data for 45 s"


def test_a_peer_that_nothing_was_sent_to_has_neither_candidates_nor_decisions(serve: Serve, run: Run) -> None:
    answering(serve, PathsReport(peer=2, name="alice", state="asleep", why="no data moved yet"))
    assert run(debug, "paths", "alice").stdout == "alice: asleep; no data moved yet\n\nno candidate is known\n"


def test_programs_get_the_report_as_it_is(serve: Serve, run: Run) -> None:
    answering(serve, REPORT)
    assert msgspec.convert(json.loads(run(debug, "paths", "alice", "--json").stdout), PathsReport) == REPORT


def test_what_others_wrote_cannot_drive_the_terminal(serve: Serve, run: Run) -> None:
    evil = "\x1b]0;owned\x07"
    answering(serve, msgspec.structs.replace(REPORT, name=evil, why=evil, history=(Moment(ago_s=1, what=evil),)))
    shown = run(debug, "paths", "alice").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_an_unknown_peer_is_one_line(serve: Serve, run: Run) -> None:
    message = "no node named ghost is in the mesh; gwctl status lists them"
    serve("node").answers["POST", "/v1/paths"] = (404, {"error": {"code": "not-found", "message": message}})
    result = run(debug, "paths", "ghost")
    assert (result.exit_code, result.stderr) == (8, f"error: {message}\n")


def of_map(serve: Serve, *, connected: bool = True, **fields: Any) -> None:
    status = {"map": msgspec.to_builtins(MapStatus(**fields)), "server": {"connected": connected}, "peers": [{}, {}]}
    serve("node").answers["GET", "/v1/status"] = (200, status)


def test_a_map_that_was_never_compared_says_so_and_what_it_lacks(serve: Serve, run: Run) -> None:
    of_map(serve, connected=False, revision=41, lacks=3)
    assert run(debug, "map").stdout.splitlines() == [
        "revision 41 of the mesh, 2 peers; as the server told it last",
        "it lacks 3 nodes, for which the server was asked",
        "not compared with the server's whole map since the start; that is done about once a day",
    ]


def test_a_map_that_differed_says_when_it_was_compared_and_in_what(serve: Serve, run: Run) -> None:
    hour = int(time.time()) - 7300
    of_map(serve, revision=41, comparisons=3, compared=hour, divergences=1, differed="nodes 2, 3")
    assert run(debug, "map").stdout.splitlines() == [
        "revision 41 of the mesh, 2 peers; the server keeps it in step",
        "it lacks nothing",
        "compared with the server's whole map 3 times, last 2 h ago",
        "differed from it: once, last in nodes 2, 3",
    ]
    assert json.loads(run(debug, "map", "--json").stdout)["divergences"] == 1


def test_a_node_without_a_map_says_so(serve: Serve, run: Run) -> None:
    of_map(serve)
    assert run(debug, "map").stdout == "this node has no map yet; see: gwctl status\n"


def test_gwctl_has_the_group() -> None:
    assert main.GWCTL["debug"].load() is debug
