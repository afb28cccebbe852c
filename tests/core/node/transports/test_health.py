"""When a transport is started again."""

from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.node.transports.health import FIRST, HEALTHY, LONGEST, MOST_RAISES, WINDOW, Health

NOW = 1_000 * SECOND


def failing(health: Health, now: int) -> int:
    health.starting(now)
    health.failed("no", now)
    deadline = health.deadline()
    assert deadline is not None
    return deadline - now


def test_the_pause_doubles_from_a_second_to_a_minute() -> None:
    health = Health(NOW)
    assert [failing(health, NOW) // SECOND for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (health.state, health.restarts) == ("failed", 7)


def test_a_minute_of_health_makes_the_next_pause_short_again_and_less_does_not() -> None:
    health = Health(NOW)
    for ran, pause in ((HEALTHY - 1, 1), (HEALTHY - 1, 2), (HEALTHY, 1), (0, 2)):
        health.starting(NOW)
        health.started(NOW)
        health.failed("broke", NOW + ran)
        assert health.deadline() == NOW + ran + pause * SECOND
        assert health.state == "restarting"


def test_only_raises_that_come_thick_make_it_fail() -> None:
    health = Health(NOW)
    assert not any(health.raised("x", NOW + number * WINDOW // 30) for number in range(100))
    health.starting(NOW)
    assert [health.raised("x", NOW) for _ in range(MOST_RAISES)] == [False] * (MOST_RAISES - 1) + [True]


def test_trouble_is_told_until_it_has_run_well_for_a_minute() -> None:
    health = Health(NOW)
    failing(health, NOW)
    health.starting(NOW)
    health.started(NOW)
    health.raised("oops", NOW + 5)
    assert health.trouble(NOW + HEALTHY) == "oops"
    assert health.trouble(NOW + HEALTHY + 5) == ""


def test_one_that_was_given_up_is_never_due_again() -> None:
    health = Health(NOW)
    failing(health, NOW)
    health.give_up("enough", NOW)
    assert (health.deadline(), health.state, health.trouble(NOW)) == (None, "failed", "enough")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3 * HEALTHY)), max_size=40))
def test_whatever_happens_it_is_tried_again_and_never_in_a_hurry(history: list[tuple[bool, int]]) -> None:
    health, now = Health(NOW), NOW
    for starts, after in history:
        health.starting(now)
        if starts:
            health.started(now)
        now += after
        health.failed("no", now)
        deadline = health.deadline()
        assert deadline is not None
        assert now + FIRST <= deadline <= now + LONGEST
        now = deadline
