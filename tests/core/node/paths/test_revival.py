"""A relayed peer that lost its session is offered another soon, and nobody else is bothered."""

from __future__ import annotations

import itertools

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Trial
from ghostwire.node.paths.revival import FORGOTTEN
from ghostwire.node.paths.timing import LONGEST_TEST_GAP, SESSION, TEST_GAP

from .conftest import RELAY, WAN, World, deaf, make_world, talk


def trials(world: World, since: int = 0) -> list[int]:
    """When handshakes began over the relay."""
    made = [(at, each) for at, each in world.decisions if isinstance(each, Trial) and at >= since]
    assert {path for _, (_, path) in made} <= {RELAY}
    return [at for at, _ in made]


def talking(world: World) -> World:
    """Over the relay alone."""
    world.flow = talk
    world.awake()
    world.run(20 * SECOND)
    assert world.attached == (RELAY,)
    assert trials(world) == []
    return world


def silenced(world: World, duration: int) -> list[int]:
    """Nothing answers for so long; how long after that began handshakes did."""
    world.flow, began = deaf, world.now
    world.run(duration)
    return [at - began for at in trials(world, began)]


def test_a_peer_that_answers_nothing_is_offered_a_session_whenever_its_silence_has_doubled(world: World) -> None:
    offers = silenced(talking(world), 30 * SECOND)
    for offer, expected in zip(offers, (2, 4, 8, 16), strict=True):
        assert 0 <= offer - expected * SECOND <= 50 * MILLISECOND


def test_handshakes_become_rare(world: World) -> None:
    offers = silenced(talking(world), 800 * SECOND)
    gaps = [later - earlier for earlier, later in itertools.pairwise(offers)]
    assert gaps == sorted(gaps)
    assert LONGEST_TEST_GAP <= gaps[-1] <= LONGEST_TEST_GAP + 50 * MILLISECOND


def test_data_that_comes_back_makes_the_next_silence_count_as_the_first(world: World) -> None:
    silenced(talking(world), 30 * SECOND)
    world.flow = talk
    world.run(TEST_GAP)
    assert silenced(world, 5 * SECOND)[0] <= FORGOTTEN + 50 * MILLISECOND


def test_short_silences_one_after_the_other_make_a_handshake_in_5_s(world: World) -> None:
    talking(world)
    began = world.now
    for _ in range(20):
        silenced(world, 2_200 * MILLISECOND)
        world.flow = talk
        world.run(300 * MILLISECOND)
    moments = trials(world, began)
    assert len(moments) >= 5
    assert all(later - earlier >= TEST_GAP for earlier, later in itertools.pairwise(moments))


def test_a_last_packet_waits_for_no_answer(world: World) -> None:
    talking(world)
    world.flow = None
    world.send(answered=False)
    world.run(40 * SECOND)
    assert trials(world) == []


def test_who_was_never_heard_is_left_to_the_tunnel(world: World) -> None:
    world.flow = deaf
    world.awake()
    world.run(20 * SECOND)
    assert trials(world) == []


def test_without_a_relay_nothing_is_tried() -> None:
    world = make_world(relay=None, known=(WAN,))
    world.flow = talk
    world.awake()
    world.run(SECOND)
    silenced(world, 20 * SECOND)
    assert world.seen(Trial) == []


def test_a_relayed_peer_is_looked_at_once_in_2_s_and_never_while_nothing_is_said(world: World) -> None:
    talking(world)
    world.flow = None
    looks = 0
    while world.now < world.activity.sent + SESSION - SECOND:
        due = world.peer.due
        assert due is not None
        world.clock.advance(max(0, due - world.now))
        world.paths.advance(world.now)
        world.settle()
        looks += 1
    assert looks <= SESSION // FORGOTTEN + 8, "and the rounds of the search"
    world.run(2 * SECOND)
    assert world.peer.due is None
