"""When a search pings: not before the peer lets its pings in, as far as one can know, nor while it should be still."""

from __future__ import annotations

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Ask, Call
from ghostwire.node.paths.rounds import AFTER_KNOCKS, GAPS, PATIENCE, REMEMBERED, SPREAD, STILL

from .conftest import LAN, OTHER, PEER, RELAY, WAN, Way, World, direct

BURST = PATIENCE + sum(GAPS[1:])
"""How long a burst is that nobody answers."""


def pings(world: World, since: int = 0) -> int:
    """That reach the far side."""
    return sum(world.pings(path, since) for path in (LAN, WAN, OTHER))


def called(world: World, *paths: object) -> None:
    """The peer calls, saying so."""
    world.paths.called(PEER, paths or (LAN, WAN), world.now)  # type: ignore[arg-type]
    world.settle()


def heard(world: World, over: Way = RELAY) -> None:
    """A pong over the relay: the peer has heard the last call."""
    ask = world.seen(Ask)[-1]
    assert isinstance(ask, Ask)
    world.paths.ponged(PEER, over, ask.transaction, world.now)
    world.settle()


@pytest.fixture
def mute(world: World) -> World:
    """The peer never calls back of itself."""
    world.calls_back = None
    return world


@pytest.mark.parametrize("slow", [900 * MILLISECOND, 3 * SECOND])
def test_a_peer_that_is_slow_to_call_back_is_pinged_when_it_does_and_not_before(world: World, slow: int) -> None:
    world.calls_back = slow
    world.awake()
    took = world.until(lambda: pings(world) > 0)
    assert slow <= took <= slow + 20 * MILLISECOND


def test_a_peer_that_never_calls_back_is_pinged_all_the_same(mute: World) -> None:
    mute.awake()
    took = mute.until(lambda: pings(mute) > 0)
    assert PATIENCE <= took <= PATIENCE + 20 * MILLISECOND


def test_whoever_is_called_pings_when_the_call_back_was_heard_since_the_caller_may_not_have_known_where_to_knock(
    mute: World,
) -> None:
    called(mute)
    mute.run(3 * SECOND)
    assert pings(mute) == 0
    heard(mute)
    mute.run(20 * MILLISECOND)
    assert pings(mute) == 2


def test_a_stock_peer_that_calls_nobody_back_is_pinged_after_its_pong_over_the_relay(mute: World) -> None:
    mute.awake()
    mute.run(SECOND)
    heard(mute)
    mute.run(20 * MILLISECOND)
    assert pings(mute) == 2


def test_that_pong_counts_over_the_relay_alone(mute: World) -> None:
    mute.awake()
    mute.run(SECOND)
    heard(mute, WAN)
    mute.run(SECOND)
    assert pings(mute) == 0


def test_a_peer_whose_pings_come_is_waited_for_no_longer(mute: World) -> None:
    mute.awake()
    mute.run(2 * SECOND)
    mute.paths.pinged(PEER, OTHER, mute.now)
    mute.settle()
    assert mute.pings(OTHER) == 1
    mute.run(20 * MILLISECOND)
    assert mute.pings(WAN) == 1


def test_a_peer_to_whom_no_call_could_be_sent_is_waited_for_no_longer_than_calls_take(mute: World) -> None:
    mute.awake()
    mute.paths.uncalled(PEER, mute.now)
    took = mute.until(lambda: pings(mute) > 0)
    assert AFTER_KNOCKS <= took <= AFTER_KNOCKS + 20 * MILLISECOND


def test_a_way_that_answered_of_late_is_tried_again_without_much_waiting(mute: World) -> None:
    direct(mute)
    mute.answering.clear()
    mute.flow = None
    mute.run(60 * SECOND)
    assert mute.state == "asleep"
    before = mute.now
    mute.awake()
    mute.until(lambda: pings(mute, before) > 0, SECOND)


def in_vain(world: World) -> int:
    """A burst that nobody answers; when its last pings were sent."""
    world.awake()
    world.flow = lambda world: world.send(answered=False)
    world.run(BURST + SECOND)
    last = world.now - SECOND
    assert pings(world, last - SECOND) > 0, "the burst's last round"
    return last


def test_after_a_burst_in_vain_a_search_is_still_for_longer_than_a_router_remembers(mute: World) -> None:
    last = in_vain(mute)
    before = mute.now
    mute.run(STILL + SPREAD + PATIENCE + SECOND)
    assert STILL - SECOND > REMEMBERED
    assert pings(mute, before) > 0
    first = min(at for at, each in mute.decisions if isinstance(each, Call) and at > before)
    assert REMEMBERED < first - last <= STILL + SPREAD


def test_whoever_calls_without_news_does_not_end_the_stillness_but_prolongs_it(mute: World) -> None:
    in_vain(mute)
    mute.run(20 * SECOND)
    before = mute.now
    called(mute)
    mute.run(STILL - SECOND)
    assert pings(mute, before) == 0
    assert not mute.seen(Call, before)


def test_whoever_calls_from_elsewhere_ends_it(mute: World) -> None:
    in_vain(mute)
    mute.run(20 * SECOND)
    called(mute, OTHER)
    heard(mute)
    mute.run(20 * MILLISECOND)
    assert mute.pings(OTHER) > 0


def test_whoever_calls_when_routers_have_forgotten_ends_it(mute: World) -> None:
    last = in_vain(mute)
    mute.run(last + REMEMBERED + SECOND - mute.now)
    before = mute.now
    called(mute)
    assert mute.seen(Call, before)
    heard(mute)
    mute.run(20 * MILLISECOND)
    assert mute.pings(WAN, before) > 0
