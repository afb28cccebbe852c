"""What a hostile child sends is taken apart or refused; what is measured of it is judged, in time without a clock."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ghostwire import Buffer
from ghostwire.engine import SECOND
from ghostwire.errors import RemoteProtocolError
from ghostwire.plugins.isolation.frames import MAX_PATHS, burst_head, name_frame, parse_frame
from ghostwire.plugins.isolation.names import Names, Table
from ghostwire.plugins.isolation.protocol import Pong, Said, encode, from_child, is_endpoint
from ghostwire.plugins.isolation.watch import Limits, Watch


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        frame = parse_frame(memoryview(data))
        assert sum(map(len, frame.datagrams)) <= len(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        from_child(data)


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=64), st.integers(0, 2**32 - 1))
def test_a_burst_comes_out_as_it_went_in(burst: list[bytes], number: int) -> None:
    frame = parse_frame(memoryview(burst_head(number, list(map(len, burst))) + b"".join(burst)))
    assert frame.path == number
    assert [bytes(each) for each in frame.datagrams] == burst


@given(st.text(max_size=300))
def test_a_name_comes_out_as_it_went_in_unless_it_is_no_endpoint(text: str) -> None:
    if any("\ud800" <= each <= "\udfff" for each in text):
        return
    try:
        assert parse_frame(memoryview(name_frame(7, text))).text == text
    except RemoteProtocolError:
        assert not is_endpoint(text)


def test_messages_come_out_as_they_went_in() -> None:
    for message in (Pong(number=3), Said(level=30, text="hello")):
        assert from_child(encode(message)) == message


class Told:
    """A channel that only counts."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, parts: Sequence[Buffer]) -> bool:
        self.frames.append(b"".join(parts))
        return True


def test_both_ends_forget_the_same_paths_and_name_them_again() -> None:
    names: Names[int] = Names()
    table: Table[int] = Table()
    told = Told()
    for path in (*range(MAX_PATHS + 10), 0, MAX_PATHS):
        before = len(told.frames)
        number = names.number(path, lambda: "x", told.send)
        assert number is not None
        if len(told.frames) > before:
            table.put(number, path)
        assert table.get(number) == path
    assert len(told.frames) == MAX_PATHS + 11


def run(
    watch: Watch, seconds: int, *, cpu: float = 0, memory: int = 0, moving: bool = False, answers: bool = True
) -> str:
    for second in range(1, seconds + 1):
        verdict = watch.look(
            second * SECOND, cpu=int(cpu * second * SECOND), memory=memory, moved=second if moving else 0
        )
        if verdict:
            return f"{second}: {verdict}"
        if answers:
            watch.ponged(watch.number)
    return ""


def test_a_healthy_process_is_left_alone() -> None:
    assert run(Watch(0), 60, cpu=1, memory=1 << 20, moving=True) == ""
    assert run(Watch(0), 60, cpu=0.1) == ""


def test_one_that_answers_nothing_hangs() -> None:
    assert run(Watch(0), 60, answers=False) == "6: hangs: it answered nothing for 5 s"


def test_memory_has_a_limit() -> None:
    assert run(Watch(0, Limits(memory=1 << 20)), 60, memory=2 << 20).startswith("1: holds 2 MiB")


def test_the_processor_may_not_be_burnt_while_nothing_moves() -> None:
    assert run(Watch(0), 60, cpu=1) == "10: burnt the processor for 10 s while no data moved"


def test_a_machine_that_slept_is_no_hang() -> None:
    watch = Watch(0)
    watch.look(SECOND, cpu=0, memory=0, moved=0)
    assert watch.look(3600 * SECOND, cpu=0, memory=0, moved=0) == ""
    assert watch.look(3601 * SECOND, cpu=0, memory=0, moved=0) == ""
