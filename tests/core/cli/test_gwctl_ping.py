"""gwctl ping: what it asks the daemon, what it shows of each answer's path, how it ends."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import Result

from ghostwire.cli import gwctl_ping

Run = Callable[..., Result]
Serve = Callable[[str], Any]
DIRECT = {
    "address": "100.64.0.3",
    "name": "alice",
    "rtt_ms": 1.25,
    "path": {"transport": "udp", "endpoint": "192.0.2.7:41641", "relayed": False},
}
RELAYED = DIRECT | {
    "rtt_ms": 40.0,
    "path": {"transport": "derp", "endpoint": "1/key", "relayed": True, "region": "fra", "relay": "fra1"},
}
SILENCE = (503, {"error": {"code": "unavailable", "message": "100.64.0.3: no answer within 5 s"}})


@pytest.fixture
def answer(serve: Serve) -> Callable[..., Any]:
    """Has the daemon give these answers to pings in turn, the last one for good."""

    def put(*answers: Any) -> Any:
        fake = serve("node")
        rest = list(answers)

        def give() -> Any:
            found = rest.pop(0) if len(rest) > 1 else rest[0]
            return found if isinstance(found, tuple) else (200, found)

        fake.answers["POST", "/v1/ping"] = give
        return fake

    return put


def ping(run: Run, *words: str) -> Result:
    return run(gwctl_ping.ping, "alice", "-i", "0", *words)


def test_each_answer_is_shown_with_its_path_and_time_and_all_of_them_in_a_last_line(
    answer: Callable[..., Any], run: Run
) -> None:
    fake = answer(RELAYED, SILENCE, DIRECT)
    result = ping(run, "-c", "3")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "pinging alice",
        "answer from alice (100.64.0.3) over relay fra (fra1): 40.00 ms",
        "answer from alice (100.64.0.3) over udp 192.0.2.7:41641: 1.25 ms",
        "3 sent, 2 received, min/avg/max 1.25/20.62/40.00 ms",
    ]
    assert result.stderr == "no answer from alice: 100.64.0.3: no answer within 5 s\n"
    assert fake.asked[0][2] == {"target": "alice", "timeout": 5.0}


def test_four_pings_are_sent_where_nothing_else_is_said(answer: Callable[..., Any], run: Run) -> None:
    fake = answer(DIRECT)
    ping(run)
    assert len(fake.asked) == 4


def test_programs_get_the_numbers_and_every_answer(answer: Callable[..., Any], run: Run) -> None:
    answer(RELAYED, SILENCE, DIRECT)
    shown = json.loads(ping(run, "-c", "3", "--json").stdout)
    assert shown.pop("seconds") >= 0
    numbers = {"sent": 3, "received": 2, "min_ms": 1.25, "avg_ms": 20.625, "max_ms": 40.0, "direct": True}
    assert shown == numbers | {"answers": [RELAYED, None, DIRECT]}


def test_without_any_answer_it_exits_7_and_says_why_once(answer: Callable[..., Any], run: Run) -> None:
    answer(SILENCE)
    result = ping(run, "-c", "3", "--json")
    assert result.exit_code == 7
    shown = json.loads(result.stdout)
    assert (shown["sent"], shown["received"], shown["min_ms"], shown["answers"]) == (3, 0, None, [None] * 3)
    assert result.stderr.splitlines() == [
        "no answer from alice: 100.64.0.3: no answer within 5 s",
        "no answer from alice",
        "no answer from alice",
        "error: alice did not answer",
    ]


def test_an_unknown_name_is_asked_for_once(serve: Serve, run: Run) -> None:
    fake = serve("node")
    fake.answers["POST", "/v1/ping"] = (404, {"error": {"code": "not-found", "message": "no such node"}})
    result = ping(run, "-c", "5")
    assert (result.exit_code, len(fake.asked)) == (8, 1)
    assert result.stderr == "error: no such node\n"


def test_without_a_daemon_it_says_so(run: Run) -> None:
    result = ping(run)
    assert result.exit_code == 7
    assert "gwctl up" in result.stderr


def test_a_name_with_control_characters_cannot_drive_the_terminal(answer: Callable[..., Any], run: Run) -> None:
    answer(DIRECT | {"name": "\x1b]0;owned\x07x"})
    shown = ping(run, "-c", "1").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown


# Until it is direct


def test_until_direct_ends_with_the_first_direct_answer_and_says_after_how_many(
    answer: Callable[..., Any], run: Run
) -> None:
    fake = answer(RELAYED, SILENCE, RELAYED, DIRECT)
    result = ping(run, "--until-direct")
    assert result.exit_code == 0
    assert len(fake.asked) == 4
    first, *_, last = result.stdout.splitlines()
    assert first == "pinging alice until an answer comes directly"
    assert last.startswith("direct after 4 pings, ")
    assert last.endswith(" s")


def test_until_direct_exits_1_where_all_answers_are_relayed(answer: Callable[..., Any], run: Run) -> None:
    fake = answer(RELAYED)
    result = ping(run, "--until-direct", "-c", "6")
    assert (result.exit_code, len(fake.asked)) == (1, 6)
    assert result.stderr.startswith("error: alice is still relayed after 6 pings, ")
    assert result.stderr.endswith("; see: gwctl debug paths alice\n")


def test_until_direct_exits_7_without_any_answer(answer: Callable[..., Any], run: Run) -> None:
    answer(SILENCE)
    assert ping(run, "--until-direct", "-c", "2").exit_code == 7


def test_a_path_that_the_daemon_does_not_know_is_not_taken_for_a_direct_one(
    answer: Callable[..., Any], run: Run
) -> None:
    answer(DIRECT | {"path": None}, DIRECT)
    result = ping(run, "--until-direct", "--json")
    assert json.loads(result.stdout)["sent"] == 2


def test_a_deadline_ends_it_however_many_are_to_come(
    answer: Callable[..., Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = answer(RELAYED)
    slept: list[float] = []
    monkeypatch.setattr(gwctl_ping, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept)))
    result = run(gwctl_ping.ping, "alice", "--until-direct", "-i", "4")
    assert result.exit_code == 1
    assert slept == [4.0] * 7
    assert [body["timeout"] for _, _, body in fake.asked] == [5, 5, 5, 5, 5, 5, 5, 2]


# Interrupted


def test_an_interrupt_shows_what_there_is_and_exits_130(answer: Callable[..., Any], run: Run) -> None:
    interrupts = _interrupting(DIRECT, SILENCE)
    answer(DIRECT).answers["POST", "/v1/ping"] = lambda: next(interrupts)
    result = ping(run)
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1] == "1 sent, 1 received, min/avg/max 1.25/1.25/1.25 ms"


def _interrupting(first: Any, second: Any) -> Iterator[Any]:
    """Answers once; then a person presses Ctrl-C while the second one is awaited."""
    yield 200, first
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    yield second


@pytest.mark.parametrize("words", [("-W", "0"), ("-W", "-1"), ("-w", "0"), ("-i", "-1"), ("-c", "0")])
def test_a_time_or_number_that_cannot_be_is_refused_before_anything_is_sent(
    answer: Callable[..., Any], run: Run, words: tuple[str, str]
) -> None:
    fake = answer(DIRECT)
    result = ping(run, *words)
    assert result.exit_code == 2
    assert f"Invalid value for '{words[0]}'" in result.stderr
    assert not fake.asked


def test_the_help_names_the_exit_codes() -> None:
    shown = " ".join(gwctl_ping.ping.get_help(click.Context(gwctl_ping.ping)).split())
    assert "1 with --until-direct only over a relay, 7 none was answered, 130 interrupted" in shown
