"""What is no reason to give up a direct path: a peer without time for handshakes, a direct copy that got lost."""

from __future__ import annotations

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Trial

from .conftest import PEER, RELAY, WAN, World, deaf, talk


def test_a_peer_that_has_no_time_for_handshakes_does_not_lose_its_path(world: World) -> None:
    """Nothing comes over the relay either, so that nothing speaks against the path."""
    world.answering[WAN] = 20 * MILLISECOND
    world.paths.offered(PEER, [WAN], world.now)
    world.flow = deaf
    world.awake()
    world.until(lambda: world.attached == (WAN,))
    world.until(lambda: world.attached == (WAN, RELAY))
    world.run(5 * SECOND)
    assert world.attached == (WAN, RELAY)
    assert world.seen(Trial)
    world.flow = talk
    world.paths.established(PEER, WAN, world.now)
    assert world.until(lambda: world.attached == (WAN,)) <= 1200 * MILLISECOND


def test_a_path_that_brings_nothing_while_the_relay_does_is_given_up_though_it_never_brought_anything(
    world: World,
) -> None:
    world.answering[WAN] = 20 * MILLISECOND
    world.paths.offered(PEER, [WAN], world.now)
    world.awake()

    def by_relay(world: World) -> None:
        world.send(answered=RELAY in world.attached)

    world.until(lambda: world.attached == (WAN,))
    world.flow = by_relay
    assert world.until(lambda: world.attached == (RELAY,)) <= 3 * SECOND
    assert "carries no packets" in world.peer.why


def test_packets_over_the_relay_say_nothing_against_a_path_that_brings_packets_too(world: World) -> None:
    """A peer in doubt sends over both ways, and of two copies the direct one may get lost."""
    world.answering[WAN] = 20 * MILLISECOND
    world.paths.offered(PEER, [WAN], world.now)
    world.awake()
    world.until(lambda: world.attached == (WAN,))

    def both(world: World) -> None:
        world.send(answered=True)
        world.activity = world.activity._replace(over=RELAY, direct=world.now - 300 * MILLISECOND)

    world.flow = both
    world.run(10 * SECOND)
    for _ in range(10):
        world.paths.authenticated(PEER, RELAY, world.now)
        world.run(500 * MILLISECOND)
        assert world.attached == (WAN,)
