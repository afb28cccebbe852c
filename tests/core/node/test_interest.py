"""Telling the server which peers are wanted."""

from ghostwire.engine import SECOND
from ghostwire.node.interest import LINGER, Interests
from ghostwire.wire.messages import Interest

NOW = 1_000 * SECOND


def test_an_interest_is_declared_once_and_ends_45_seconds_after_the_last_packet() -> None:
    interests = Interests()
    interests.want(2, NOW)
    interests.want(2, NOW + 30 * SECOND)
    assert interests.drain() == [Interest(node=2)]
    assert interests.deadline() == NOW + 30 * SECOND + LINGER == NOW + 75 * SECOND
    interests.advance(NOW + 74 * SECOND)
    assert interests.drain() == []
    interests.advance(NOW + 75 * SECOND)
    assert interests.drain() == [Interest(node=2, wanted=False)]
    assert interests.deadline() is None


def test_the_deadline_is_that_of_the_peer_wanted_longest_ago() -> None:
    interests = Interests()
    interests.want(2, NOW)
    interests.want(3, NOW + SECOND)
    interests.want(2, NOW + 2 * SECOND)
    assert interests.deadline() == NOW + SECOND + LINGER


def test_after_a_reconnect_what_lasts_is_declared_again() -> None:
    interests = Interests()
    interests.want(2, NOW)
    interests.want(3, NOW)
    interests.advance(NOW + LINGER)
    interests.want(3, NOW + LINGER)
    interests.reconnected()
    assert interests.drain() == [Interest(node=3)]


def test_a_peer_that_left_the_mesh_is_forgotten_in_silence() -> None:
    interests = Interests()
    interests.want(2, NOW)
    interests.drain()
    interests.forget(2)
    interests.advance(NOW + LINGER)
    assert interests.drain() == []
    assert len(interests) == 0
