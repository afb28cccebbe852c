"""The choice of a home region: the best, kept unless another is clearly better."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.keys import NodeKey
from ghostwire.node.netcheck.home import FRAME, GAIN, MEMORY, SILENCE, HomeChoice

NODE = NodeKey(bytes(range(32)))
REGIONS = (1, 2, 3)
START = 1_000 * SECOND
MINUTE = 60 * SECOND


class Scene:
    """A choice and its time; latencies are in milliseconds."""

    def __init__(self, home: int | None = None) -> None:
        self.choice, self.now = HomeChoice(NODE, home), START

    def look(self, latencies: dict[int, float] | None = None, *, after: int = MINUTE, **options: Any) -> int | None:
        self.now += after
        given = {"regions": REGIONS, "connected": True, "heard": None, **options}
        found = {region: round(value * MILLISECOND) for region, value in (latencies or {}).items()}
        return self.choice.choose(found, now=self.now, **given)


def test_the_first_home_is_the_fastest_region() -> None:
    assert Scene().look({1: 30, 2: 20, 3: 25}) == 2


def test_a_clearly_faster_region_becomes_the_home() -> None:
    scene = Scene()
    scene.look({1: 50})
    assert scene.look({1: 50, 2: 20}) == 2
    assert scene.choice.reason == "the fastest"


@pytest.mark.parametrize(("old", "new"), [(20, 10.1), (9, 0.1), (60, 40.1), (300, 200.1)])
def test_a_little_faster_is_not_enough(old: float, new: float) -> None:
    scene = Scene()
    scene.look({1: old})
    assert scene.look({1: old, 2: new}) == 1
    assert scene.choice.reason.startswith("kept")


@pytest.mark.parametrize(("old", "new"), [(20, 10), (60, 40), (300, 200)])
def test_ten_milliseconds_and_a_third_are_enough(old: float, new: float) -> None:
    scene = Scene()
    scene.look({1: old})
    assert scene.look({1: old, 2: new}) == 2


def test_one_slow_answer_does_not_move_a_node() -> None:
    scene = Scene()
    scene.look({1: 10, 2: 30})
    assert scene.look({1: 900, 2: 30}) == 1


def test_what_was_fast_more_than_five_minutes_ago_no_longer_counts() -> None:
    scene = Scene()
    scene.look({1: 10, 2: 30})
    assert scene.look({1: 100, 2: 30}, after=MEMORY) == 1
    assert scene.look({1: 100, 2: 30}, after=MINUTE) == 2


def test_a_home_that_does_not_answer_is_left_at_once() -> None:
    scene = Scene()
    scene.look({1: 10, 2: 30})
    assert scene.look({2: 30}) == 2


def test_a_home_that_was_just_heard_is_alive_though_it_does_not_answer() -> None:
    scene = Scene()
    scene.look({1: 10, 2: 30})
    assert scene.look({2: 30}, heard=scene.now + MINUTE - FRAME + 1) == 1
    assert scene.look({2: 30}, heard=scene.now + MINUTE - FRAME) == 2


def test_while_nothing_answers_the_home_stays_for_two_minutes_and_then_one_is_drawn_and_kept() -> None:
    scene = Scene()
    scene.look({1: 10})
    assert scene.look({}, after=SILENCE - 1) == 1
    drawn = scene.look({}, after=MINUTE)
    assert drawn in REGIONS
    for _ in range(10):
        assert scene.look({}, after=MINUTE) == drawn
    assert scene.look({1: 40, 2: 10, 3: 40}) == 2


def test_a_home_that_is_heard_stays_however_long_nothing_is_measured() -> None:
    scene = Scene()
    scene.look({1: 10})
    for _ in range(10):
        assert scene.look({}, heard=scene.now) == 1


def test_nodes_without_any_answer_spread_over_the_regions() -> None:
    drawn = {HomeChoice(NodeKey(bytes([n]) * 32)) for n in range(40)}
    homes = [each.choose({}, REGIONS, START, connected=True, heard=None) for each in drawn]
    assert set(homes) == set(REGIONS)


def test_the_same_node_draws_the_same_region_again() -> None:
    assert Scene().look({}) == Scene().look({})


def test_a_region_that_is_no_more_is_left() -> None:
    scene = Scene()
    scene.look({1: 10})
    assert scene.look({2: 90}, regions=(2, 3)) == 2
    assert scene.look({}, regions=()) is None


def test_a_region_that_takes_nobody_new_is_left_and_not_entered() -> None:
    scene = Scene()
    scene.look({1: 10})
    assert scene.look({1: 10, 2: 90}, closing={1}) == 2
    assert scene.look({1: 10, 2: 90}, closing={1}) == 2
    assert scene.look({1: 10}, closing={1}) == 2


def test_a_home_that_closes_is_kept_where_there_is_no_other() -> None:
    scene = Scene()
    scene.look({1: 10})
    assert scene.look({1: 10}, closing={1}, regions=(1,)) == 1


def test_a_node_starts_where_it_was() -> None:
    assert Scene(3).look({1: 20, 3: 25}) == 3


LATENCIES = st.dictionaries(st.sampled_from(REGIONS), st.floats(0.1, 500), max_size=3)


@given(st.lists(st.tuples(LATENCIES, st.integers(0, 600))))
def test_while_the_server_is_away_a_home_never_changes(looks: list[tuple[dict[int, float], int]]) -> None:
    scene = Scene()
    scene.look({2: 40})
    for latencies, seconds in looks:
        assert scene.look(latencies, after=seconds * SECOND, connected=False) == 2


@given(st.floats(0, 400), st.lists(st.lists(st.floats(0, 9.99), min_size=3, max_size=3), min_size=1))
def test_regions_within_ten_milliseconds_never_make_a_node_flap(least: float, looks: list[list[float]]) -> None:
    scene, homes = Scene(), set()
    for noise in looks:
        homes.add(scene.look({region: least + 0.1 + each for region, each in zip(REGIONS, noise, strict=True)}))
    assert len(homes) == 1


@given(st.lists(st.tuples(LATENCIES, st.integers(0, 600), st.booleans()), min_size=1))
def test_a_home_is_always_a_region_and_changes_only_for_good_reason(
    looks: list[tuple[dict[int, float], int, bool]],
) -> None:
    scene, before = Scene(), None
    for latencies, seconds, connected in looks:
        home = scene.look(latencies, after=seconds * SECOND, connected=connected)
        assert home in REGIONS
        if before is not None and home != before and before in latencies:
            assert connected
            assert latencies[before] * MILLISECOND >= GAIN
        before = home
