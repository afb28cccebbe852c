"""Time and randomness of tests."""

import pytest

from ghostwire.engine import SECOND
from ghostwire.testing import ManualClock, SeededEntropy


def test_both_times_advance_together() -> None:
    clock = ManualClock(now=5, wall=100)
    clock.advance(7)
    assert (clock.now(), clock.wall()) == (12, 107)


def test_the_wall_can_jump_alone_in_both_directions() -> None:
    clock = ManualClock(now=5, wall=100 * SECOND)
    clock.jump_wall(-40 * SECOND)
    assert (clock.now(), clock.wall()) == (5, 60 * SECOND)


def test_monotonic_time_never_runs_backwards() -> None:
    with pytest.raises(ValueError, match="jump_wall"):
        ManualClock().advance(-1)


def test_entropy_repeats_for_a_seed_and_differs_between_seeds() -> None:
    assert SeededEntropy(1)(32) == SeededEntropy(1)(32) != SeededEntropy(2)(32)


def test_a_child_does_not_depend_on_what_its_parent_gave_out() -> None:
    used, fresh = SeededEntropy(1), SeededEntropy(1)
    used(100)
    assert used.child("node")(16) == fresh.child("node")(16) != fresh.child("server")(16)
