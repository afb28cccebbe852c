"""The judge of histories, judged: what it must find, and what it must let pass."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.cluster import checks
from tests.cluster.history import History, Operation
from tests.cluster.log import Log
from tests.cluster.sabotage import SABOTAGE, broken

from ghostwire.model import Record, User


def user(id_: int, name: str) -> User:
    return User(id=id_, stable_id=f"s{id_}", name=name)


def log_of(history: History, *commits: Sequence[Record]) -> Log:
    """A log with these records, a commit each revision."""
    log = Log("", history)
    for revision, commit in enumerate(commits, 1):
        for position, record in enumerate(commit):
            log._follow(revision, position, b"mark%d" % revision)
            log._apply(type(record), record.id, record)
    log._judge()
    return log


def asked(history: History, name: str, began: float, ended: float | None, outcome: str = "ok") -> Operation:
    operation = history.begin("add user", None, name)
    operation.began = began
    if ended is not None:
        operation.outcome, operation.ended = outcome, ended
    return operation


def judged(history: History, log: Log) -> set[str]:
    checks.writes(history, log)
    return set(history.violations)


def test_what_was_acknowledged_in_the_order_of_time_is_let_pass() -> None:
    history = History()
    asked(history, "a", 0, 1)
    asked(history, "b", 2, 3)
    asked(history, "c", 2.5, None)
    assert not judged(history, log_of(history, [user(1, "a")], [user(3, "c")], [user(2, "b")]))


@pytest.mark.parametrize(
    ("ended", "outcome", "names", "rule"),
    [
        (1, "ok", [], "no acknowledged write is lost"),
        (1, "ok", ["a", "b", "a"], "a write happens once, a refused one never"),
        (1, "failed", ["a"], "a write happens once, a refused one never"),
        (None, "unknown", ["a", "b", "a"], "a write happens once, a refused one never"),
    ],
    ids=["lost", "twice", "refused", "unknown-twice"],
)
def test_a_write_that_came_out_otherwise_than_was_said_is_found(
    ended: float | None, outcome: str, names: list[str], rule: str
) -> None:
    history = History()
    asked(history, "a", 0, ended, outcome)
    assert judged(history, log_of(history, *([user(1, name)] for name in names))) == {rule}


def test_a_write_that_is_older_than_one_that_ended_before_it_began_is_found() -> None:
    history = History()
    asked(history, "a", 0, 1)
    asked(history, "b", 2, 3)
    assert judged(history, log_of(history, [user(2, "b")], [user(1, "a")])) == {"writes are in the order of time"}


def test_two_that_hold_a_name_at_the_end_of_a_revision_are_found() -> None:
    history = History()
    log_of(history, [user(1, "a"), user(2, "b")], [user(2, "a"), user(1, "c")])
    assert not history.violations, "names may pass over within a revision"
    log_of(history, [user(1, "a")], [user(2, "a")])
    assert list(history.violations) == ["nothing is held twice"]


def test_a_gap_and_another_mark_are_found() -> None:
    history = History()
    log = log_of(history, [user(1, "a")])
    log._follow(3, 0, b"mark3")
    history.told(3, b"other")
    assert list(history.violations) == ["revisions are dense", "a revision has one mark"]


def test_time_in_which_nobody_could_be_served_does_not_count() -> None:
    history = History()
    history.outages.append((10.0, 50.0))
    history.waited(5.0, 60.0, limit=20.0)
    assert not history.violations
    history.waited(5.0, 80.0, limit=20.0)
    assert history.violations


@pytest.mark.parametrize("name", list(SABOTAGE))
def test_the_servers_can_still_be_broken_in_each_way_that_the_nemesis_is_tried_with(name: str, tmp_path: Any) -> None:
    assert (broken(name, tmp_path) / "ghostwire_storage_sql" / SABOTAGE[name][0]).exists()
