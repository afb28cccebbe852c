"""How often the path in use is pinged, and how soon it is doubted, on a manual clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ghostwire import Activity
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Call
from ghostwire.node.paths.timing import BUSY_HEARTBEAT, HEARTBEAT

from .conftest import PEER, RELAY, WAN, World, deaf, direct, talk

MINUTE = 60


def answer(world: World) -> None:
    """The peer asks once a second, and this node has just answered."""
    if world.now % SECOND < 10 * MILLISECOND:
        world.activity = Activity(world.now, world.now, world.now, world.now, WAN)


def ask(world: World) -> None:
    """This node asks once a second; what was asked last is answered where the path works."""
    if world.now % SECOND < 10 * MILLISECOND:
        world.send(answered=WAN in world.answering)


@pytest.mark.parametrize("flow", [talk, answer, ask])
def test_a_path_over_which_all_that_asks_is_answered_is_pinged_every_three_seconds(
    world: World, flow: Callable[[World], None]
) -> None:
    direct(world)
    world.flow, began = flow, world.now
    world.run(MINUTE * SECOND)
    looks = MINUTE // 25
    assert world.pings(WAN, began) <= MINUTE * SECOND // HEARTBEAT + looks + 1
    assert world.state == "direct"


def test_a_path_over_which_a_stream_is_not_answered_is_pinged_every_second(world: World) -> None:
    direct(world)
    world.carrying.add(WAN)
    world.flow, began = deaf, world.now
    world.run(MINUTE * SECOND)
    assert MINUTE / 2 <= world.pings(WAN, began) <= 1.2 * MINUTE * SECOND // BUSY_HEARTBEAT


@pytest.mark.parametrize("phase", range(0, 1000, 130))
def test_who_asks_once_a_second_and_is_not_answered_has_the_relay_before_he_asks_the_third_time(
    world: World, phase: int
) -> None:
    direct(world)
    world.flow = ask
    world.run(10 * SECOND + phase * MILLISECOND)
    world.answering.clear()
    world.until(lambda: bool(world.activity.unanswered))
    assert world.until(lambda: RELAY in world.attached) <= 1200 * MILLISECOND


def hear(world: World) -> None:
    """The peer's packets come over the path, whatever becomes of ours; they need no answer."""
    world.activity = Activity(world.activity.sent, world.now, 0, world.now, WAN, world.now)


def test_a_peer_that_calls_does_not_trust_the_path_which_is_pinged_at_once(world: World) -> None:
    direct(world)
    world.run(SECOND)
    before = world.now
    world.paths.called(PEER, [WAN], world.now)
    world.settle()
    assert world.pings(WAN, before) == 1
    world.run(10 * SECOND)
    assert world.state == "direct"
    assert not world.seen(Call, before), "nor is it called back"


def test_a_path_that_brings_packets_and_takes_none_is_doubted_as_soon_as_the_peer_calls(world: World) -> None:
    direct(world)
    world.flow = hear
    world.run(SECOND)
    world.answering.clear()
    world.paths.called(PEER, [WAN], world.now)
    world.settle()
    assert world.until(lambda: world.attached == (WAN, RELAY)) <= 150 * MILLISECOND


def test_a_path_that_brings_packets_may_lose_a_ping(world: World) -> None:
    direct(world)
    world.flow = hear
    world.run(SECOND)
    world.answering.clear()
    pings, began = world.pings(WAN), world.now
    world.until(lambda: world.pings(WAN) > pings)
    world.answering[WAN] = 20 * MILLISECOND
    world.run(5 * SECOND)
    assert world.attached == (WAN,)
    assert not world.seen(Call, began)
