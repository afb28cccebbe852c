"""The waits between attempts."""

from ghostwire.testing import SeededEntropy
from ghostwire.uplink.backoff import Backoff


def test_waits_grow_to_a_minute_and_no_further() -> None:
    longest = Backoff(lambda size: b"\xff" * size)
    waits = [round(longest.next(), 3) for _ in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_full_jitter_reaches_down_to_no_wait_at_all() -> None:
    shortest = Backoff(lambda size: bytes(size))
    assert [shortest.next() for _ in range(4)] == [0, 0, 0, 0]


def test_two_nodes_that_lost_a_server_together_do_not_return_together() -> None:
    one, other = Backoff(SeededEntropy(1)), Backoff(SeededEntropy(2))
    assert [one.next() for _ in range(5)] != [other.next() for _ in range(5)]


def test_after_a_success_it_begins_again() -> None:
    waits = Backoff(lambda size: b"\xff" * size)
    for _ in range(5):
        waits.next()
    waits.reset()
    assert round(waits.next(), 3) == 1
