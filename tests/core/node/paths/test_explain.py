"""What is told of a path choice: its state and reason, its candidates, its last decisions."""

from __future__ import annotations

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.explain import explain
from ghostwire.node.paths.report import CandidateReport, PathsReport

from .conftest import LAN, RELAY, WAN, World, deaf, make_world, talk

OVER_WAN, OVER_RELAY = f"udp {WAN.endpoint}", f"derp {RELAY.endpoint}"


def told(world: World, *, connected: bool = True) -> PathsReport:
    return explain(world.peer, "alice", world.now, connected=connected)


def told_of(world: World, endpoint: str) -> CandidateReport:
    (found,) = [each for each in told(world).candidates if each.endpoint == endpoint]
    return found


def test_a_direct_path_is_told_with_its_latency_its_reason_and_what_the_others_lack(world: World) -> None:
    world.answering[WAN], world.flow = 20 * MILLISECOND, talk
    world.carrying.add(WAN)
    world.awake()
    world.until(lambda: world.state == "direct")
    report = told(world)
    assert (report.peer, report.name, report.state, report.why) == (7, "alice", "direct", "it answers")
    assert report.using == (OVER_WAN,)
    assert report.latency_ms is not None
    assert 20 <= report.latency_ms < 40
    first, *_ = report.candidates
    assert (first.endpoint, first.state, first.why) == (WAN.endpoint, "used", "it answers")
    assert (told_of(world, LAN.endpoint).state, told_of(world, LAN.endpoint).answered_s) == ("silent", None)
    assert told_of(world, RELAY.endpoint).state == "connected"
    assert [moment.what for moment in report.history][-1] == f"direct over {OVER_WAN}: it answers"


def test_a_search_in_vain_says_that_nothing_answers_and_what_packets_go_over(world: World) -> None:
    world.flow = talk
    world.awake()
    world.run(3 * SECOND)
    report = told(world)
    assert report.state == "searching"
    assert report.why.endswith("; none of its 2 addresses answers")
    assert report.using == (OVER_RELAY,)
    assert (told_of(world, RELAY.endpoint).state, report.latency_ms) == ("used", None)


def test_a_peer_whose_whereabouts_nobody_knows_is_said_to_be_so() -> None:
    world = make_world(relay=None, known=())
    world.awake()
    assert told(world).why == "no address of it is known, and there is no relay"
    assert told(world).using == told(world).candidates == ()
    world = make_world(known=())
    world.awake()
    assert told(world).why == "no address of it is known"
    assert told(world).using == (OVER_RELAY,)


def test_a_path_that_carries_no_packets_is_told_as_barred_and_for_how_long(world: World) -> None:
    world.answering[WAN], world.flow = 20 * MILLISECOND, talk
    world.awake()
    world.until(lambda: world.state == "direct")
    world.flow = deaf
    world.until(lambda: world.attached == (RELAY,))
    assert "carries no packets" in told(world).why
    assert told_of(world, WAN.endpoint).state == "barred"
    assert "tried again in 30 s" in told_of(world, WAN.endpoint).why


def test_nothing_is_used_by_a_peer_that_is_asleep(world: World) -> None:
    world.answering[WAN] = 20 * MILLISECOND
    world.awake()
    world.run(60 * SECOND)
    report = told(world, connected=False)
    assert (report.state, report.why) == ("asleep", "no data for 45 s")
    assert {each.state for each in report.candidates}.isdisjoint({"used"})
    (relay,) = [each for each in report.candidates if each.relayed]
    assert relay.state == "not connected"
