"""Candidates of a worse transport are asked when the better ones had their chance, and left as soon as those work."""

from __future__ import annotations

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Attach, Ping
from ghostwire.node.paths.stages import CHANCE
from ghostwire.node.paths.timing import BAR, UPGRADE

from .conftest import PEER, RELAY, WAN, Way, World, deaf, direct, make_world, talk

QUIC = Way("203.0.113.7:443#aa", "quic")


@pytest.fixture
def both() -> World:
    """A relay, and a candidate of each of two transports."""
    return make_world(known=(WAN, QUIC))


def over(world: World, *carrying: Way) -> None:
    """Data is answered where any attached path carries it, and comes back over the first that does."""
    way = next((each for each in world.attached if each in carrying), None)
    world.send(answered=way is not None)
    if way is not None:
        world.activity = world.activity._replace(over=way, direct=world.now if way is not RELAY else 0)


def filtered(world: World, *others: Way) -> int:
    """From now on somebody drops WireGuard over UDP and passes pings: how long it takes until QUIC alone is used."""
    world.carrying = {QUIC}
    world.answering[QUIC] = 40 * MILLISECOND
    world.flow = lambda world: over(world, QUIC, *others)
    return world.until(lambda: world.attached == (QUIC,))


def test_where_the_better_transport_answers_the_worse_one_is_never_asked(both: World) -> None:
    both.answering[QUIC] = MILLISECOND
    direct(both, WAN, 80 * MILLISECOND)
    both.run(300 * SECOND, 50 * MILLISECOND)
    assert both.pings(QUIC) == 0
    both.paths.offered(PEER, [WAN, QUIC, Way("203.0.113.9:443#aa", "quic")], both.now)
    both.settle()
    assert {each.path for each in both.seen(Ping) if isinstance(each, Ping)} == {WAN}


@pytest.mark.parametrize("relay", [RELAY, None], ids=["relay", "alone"])
def test_the_worse_transport_is_asked_in_the_third_round_of_a_search_and_in_every_one_after(relay: Way | None) -> None:
    world = make_world(relay=relay, known=(WAN, QUIC))
    world.flow = talk
    world.awake()
    took = world.until(lambda: world.pings(QUIC) == 1)
    assert CHANCE <= took <= 1410 * MILLISECOND
    assert world.pings(WAN) == 3, "one of them at the peer's call back, where there is a relay to knock and call over"
    assert world.until(lambda: world.pings(QUIC) == 3) < 5 * SECOND


def test_without_a_better_candidate_the_worse_transport_is_asked_at_once() -> None:
    world = make_world(relay=None, known=(QUIC,))
    world.awake()
    assert world.pings(QUIC) == 1


def test_a_stream_that_lost_its_udp_is_on_the_worse_transport_soon(both: World) -> None:
    direct(both)
    both.answering = {QUIC: 20 * MILLISECOND}
    both.flow = deaf
    both.until(lambda: both.state == "doubted")
    both.run(CHANCE - 50 * MILLISECOND)
    assert both.pings(QUIC) == 0
    assert both.until(lambda: both.attached == (QUIC,)) < 1200 * MILLISECOND
    assert both.state == "direct"


def test_udp_that_comes_back_is_used_again_when_it_is_looked_for(both: World) -> None:
    direct(both)
    both.answering, both.flow = {QUIC: 20 * MILLISECOND}, deaf
    both.until(lambda: both.attached == (QUIC,))
    both.flow = talk
    both.run(100 * SECOND, 50 * MILLISECOND)
    both.answering[WAN] = 80 * MILLISECOND
    assert both.until(lambda: both.attached == (WAN,)) <= UPGRADE + SECOND


def test_where_the_better_path_is_barred_the_worse_transport_is_asked_at_once(both: World) -> None:
    direct(both)
    began = both.now
    assert filtered(both, RELAY) < 3500 * MILLISECOND
    assert "it answers" in both.peer.why
    barred = next(at for at, what in both.peer.history if at > began and "carries no packets" in what)
    assert both.now - barred < 200 * MILLISECOND, "two round trips after the bar"


def test_without_a_relay_the_worse_transport_takes_over_and_nothing_is_sent_nowhere() -> None:
    world = make_world(relay=None, known=(WAN, QUIC))
    direct(world)
    began = world.now
    assert filtered(world) < 3500 * MILLISECOND
    attached = [each.paths for each in world.seen(Attach, began) if isinstance(each, Attach)]
    assert all(attached), attached


def test_one_way_traffic_that_nothing_answers_stays_where_it_is(both: World) -> None:
    direct(both)
    both.answering[QUIC] = 20 * MILLISECOND
    both.flow = deaf
    for _ in range(30):
        both.run(10 * SECOND, 50 * MILLISECOND)
        both.activity = both.activity._replace(unanswered=0, heard=both.now)
        both.paths.pinged(PEER, QUIC, both.now)
        assert WAN in both.attached


@pytest.mark.parametrize("minutes", [1, 4])
@pytest.mark.parametrize("relay", [RELAY, None], ids=["relay", "alone"])
def test_when_the_filter_goes_it_is_udp_again_as_soon_and_nothing_moved_meanwhile(
    minutes: int, relay: Way | None
) -> None:
    world = make_world(relay=relay, known=(WAN, QUIC))
    direct(world)
    began = world.now
    filtered(world, RELAY)
    settled = world.now
    world.run(60 * minutes * SECOND - (settled - began), 20 * MILLISECOND)
    assert not world.seen(Attach, settled + 1), "tests of the barred path disturb nothing"
    world.carrying.add(WAN)
    world.flow = lambda world: over(world, WAN, QUIC)
    took = world.until(lambda: world.attached == (WAN,), 600 * SECOND)
    print(f"a filter of {minutes} min: back on UDP {took / SECOND:.0f} s after its end")
    assert took <= 60 * minutes * SECOND


@pytest.mark.parametrize("relay", [RELAY, None], ids=["relay", "alone"])
def test_where_handshakes_pass_again_and_data_does_not_the_worse_transport_carries_it_all_the_while(
    relay: Way | None,
) -> None:
    world = make_world(relay=relay, known=(WAN, QUIC))
    direct(world)
    filtered(world, RELAY)
    settled = world.now
    world.carrying.add(WAN)
    assert world.until(lambda: world.attached == (WAN, QUIC), 2 * BAR) <= BAR + 2 * SECOND
    world.until(lambda: world.attached == (QUIC,))
    attached = [each.paths for each in world.seen(Attach, settled) if isinstance(each, Attach)]
    assert all(QUIC in paths for paths in attached), attached
    world.run(50 * SECOND, 20 * MILLISECOND)
    assert world.attached == (QUIC,)


def test_links_that_change_give_the_better_transport_another_chance(both: World) -> None:
    direct(both)
    filtered(both, RELAY)
    both.carrying.add(WAN)
    both.flow = lambda world: over(world, WAN, QUIC)
    both.paths.links_changed(both.now)
    both.settle()
    assert both.until(lambda: both.attached == (WAN,)) < SECOND
