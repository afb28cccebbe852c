"""When a router counts as dead, and when packets go back to it."""

from __future__ import annotations

import pytest

from ghostwire.engine import SECOND

from .conftest import World

LAN = "10.1.0.0/16"


@pytest.fixture
def pair() -> World:
    """Routers 2 and 3 of one prefix; both answer, and nothing moves."""
    world = World()
    world.route(5, LAN, 2)
    world.route(8, LAN, 3)
    world.answers = {2, 3}
    world.run(1)
    return world


def fall_over(world: World) -> float:
    """Router 2 dies while data goes to it; the seconds until the other has the prefix."""
    world.answers.discard(2)
    began = world.now
    world.sends(2)
    while world.via(LAN) == 2:
        world.run(0.1)
        assert world.now - began < 60 * SECOND
    return (world.now - began) / SECOND


def test_a_router_that_dies_under_traffic_is_left_well_within_ten_seconds(pair: World) -> None:
    assert fall_over(pair) < 6
    assert len([peer for _, peer in pair.asked if peer == 2]) == 3


def test_nobody_is_asked_and_nothing_is_due_while_no_data_moves(pair: World) -> None:
    pair.run(3600)
    assert pair.asked == []
    assert pair.router.deadline() is None


def test_a_router_that_answers_data_is_never_asked(pair: World) -> None:
    pair.sends(2)
    for _ in range(60):
        pair.run(1)
        pair.heard(2)
        pair.see(2, unanswered=pair.now)
    assert pair.asked == []


def test_one_way_traffic_makes_a_live_router_answer_and_keep_its_prefix(pair: World) -> None:
    pair.sends(2)
    for _ in range(60):
        pair.run(1)
        pair.see(2, unanswered=pair.signs[2].unanswered or pair.now)
    assert pair.via(LAN) == 2
    assert 5 < len(pair.asked) <= 24


def test_where_pongs_come_a_silent_router_is_asked_rarely(pair: World) -> None:
    pair.sends(2)
    for _ in range(60):
        pair.see(2, unanswered=pair.signs[2].unanswered or pair.now, ponged=pair.now)
        pair.run(1)
    assert pair.via(LAN) == 2
    assert len(pair.asked) <= 4


def test_a_router_whose_program_answers_pings_and_whose_tunnel_is_dead_is_left_too(pair: World) -> None:
    pair.answers.discard(2)
    pair.sends(2)
    began = pair.now
    while pair.via(LAN) == 2:
        pair.see(2, ponged=pair.now)
        pair.run(0.5)
    assert pair.now - began < 10 * SECOND


def test_packets_go_back_after_thirty_seconds_of_health(pair: World) -> None:
    fall_over(pair)
    pair.see(2, asleep=True)
    pair.run(60)
    pair.answers.add(2)
    began = pair.now
    while pair.via(LAN) == 3:
        pair.run(1)
    assert 30 <= (pair.now - began) / SECOND <= 30 + 60 + 5
    pair.see(2, unanswered=0)
    pair.run(3600)
    assert pair.via(LAN) == 2


def test_a_router_that_dies_again_while_it_recovers_has_to_begin_anew(pair: World) -> None:
    fall_over(pair)
    pair.see(2, asleep=True)
    pair.answers.add(2)
    pair.run(20)
    pair.answers.discard(2)
    pair.run(120)
    assert pair.via(LAN) == 3


def test_a_router_that_flaps_is_left_alone_for_longer_each_time(pair: World) -> None:
    waits = []
    for _ in range(3):
        fall_over(pair)
        pair.see(2, asleep=True)
        pair.answers.add(2)
        began = pair.now
        while pair.via(LAN) == 3:
            pair.run(1)
        pair.see(2, unanswered=0)
        waits.append((pair.now - began) / SECOND)
    assert 30 <= waits[0] < 45
    assert waits[1] >= 60
    assert waits[2] >= 120


def test_a_dead_router_is_asked_ever_more_rarely(pair: World) -> None:
    fall_over(pair)
    pair.see(2, asleep=True)
    pair.asked.clear()
    pair.run(600)
    assert len({moment for moment, _ in pair.asked}) < 50


def test_a_pong_of_a_dead_router_makes_it_be_asked_at_once(pair: World) -> None:
    fall_over(pair)
    pair.run(200)
    pair.answers.add(2)
    pair.asked.clear()
    pair.see(2, ponged=pair.now)
    pair.run(2)
    assert [peer for _, peer in pair.asked] == [2]


def test_where_all_are_dead_the_first_keeps_the_prefix_and_whoever_answers_gets_it_at_once(pair: World) -> None:
    fall_over(pair)
    pair.answers.clear()
    pair.sends(3)
    pair.run(20)
    assert pair.via(LAN) == 2
    pair.answers.add(3)
    pair.run(70)
    assert pair.via(LAN) == 3


def test_the_only_router_of_a_prefix_is_not_watched(world: World) -> None:
    world.route(5, LAN, 2)
    world.sends(2)
    world.run(60)
    assert world.asked == []


def test_an_exit_node_is_watched_so_that_people_are_told(world: World) -> None:
    world.route(5, "0.0.0.0/0", 2)
    world.router.prefer(2, accept=True, now=world.now)
    world.run(1)
    world.sends(2)
    world.run(9)
    assert world.router.dead_since(2) is not None
    assert world.via("0.0.0.0/0") == 2, "nothing leaves by another way"
