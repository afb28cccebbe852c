"""The replay window against a set that remembers everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ghostwire_transport_wireguard.replay import WINDOW, ReplayWindow

near = st.integers(min_value=-70, max_value=70)
far = st.integers(min_value=-WINDOW - 3, max_value=WINDOW + 3)
steps = st.lists(st.one_of(st.just(1), near, far), max_size=200)


class Model:
    """What the window must do."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def accept(self, counter: int) -> bool:
        greatest = max(self.seen, default=-1)
        if counter in self.seen or counter <= greatest - WINDOW:
            return False
        self.seen.add(counter)
        return True


@given(steps)
def test_each_counter_is_accepted_once_and_none_that_is_too_old(steps: list[int]) -> None:
    window, model, counter = ReplayWindow(), Model(), 0
    for step in steps:
        counter = max(0, counter + step)
        assert window.accept(counter) == model.accept(counter)


@given(steps)
def test_stepping_over_counters_in_order_is_the_same_as_asking(steps: list[int]) -> None:
    asked, stepped, counter = ReplayWindow(), ReplayWindow(), 0
    for step in steps:
        counter = max(0, counter + step)
        expected = asked.accept(counter)
        if counter == stepped.next:
            stepped.next += 1
            assert expected
        else:
            assert stepped.accept(counter) == expected


def test_the_window_reaches_back_exactly_8128_counters() -> None:
    window = ReplayWindow()
    assert window.accept(WINDOW)
    assert not window.accept(0)
    assert window.accept(1)
    assert not window.accept(1)


def test_a_leap_to_a_huge_counter_costs_no_more_than_a_window() -> None:
    window = ReplayWindow()
    assert window.accept(1 << 63)
    assert window._seen.bit_length() <= WINDOW
    assert window.accept((1 << 63) - WINDOW + 1)
    assert not window.accept((1 << 63) - WINDOW)
