"""A ring gives what was put, in order, or says that it is full; whoever lies in its memory is found out."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import RemoteProtocolError
from ghostwire.plugins.isolation.channel import inherited, pair
from ghostwire.plugins.isolation.memory import shared
from ghostwire.plugins.isolation.names import send_burst
from ghostwire.plugins.isolation.ring import COUNTERS, Reader, Writer

CAPACITY = 256
LARGEST = 100


def ring() -> tuple[bytearray, Writer, Reader]:
    memory = bytearray(COUNTERS + CAPACITY)
    return memory, Writer(memoryview(memory)), Reader(memoryview(memory), memoryview(bytearray(LARGEST)))


def put(writer: Writer, reader: Reader, frame: bytes) -> bool:
    head = writer.put([frame[:3], frame[3:]])
    if head is None:
        return False
    writer.keep(head)
    reader.told(head)
    return True


def take(reader: Reader) -> bytes | None:
    place = reader.take()
    return None if place is None else bytes(reader.buffer[place[0] : sum(place)])


@given(st.lists(st.one_of(st.none(), st.binary(min_size=1, max_size=LARGEST)), max_size=200))
def test_frames_come_out_as_they_went_in_however_often_the_ring_turns(steps: list[bytes | None]) -> None:
    _, writer, reader = ring()
    waiting: list[bytes] = []
    for step in steps:
        if step is None:
            assert take(reader) == (waiting.pop(0) if waiting else None)
        elif put(writer, reader, step):
            waiting.append(step)
        else:
            assert waiting, "an empty ring has room for the largest frame"
    assert [take(reader) for _ in waiting] == waiting
    assert not reader.waiting


def test_a_full_ring_takes_no_more_until_something_is_read() -> None:
    _, writer, reader = ring()
    frame = bytes(range(56))  # 64 with its length: four fill the ring
    assert [put(writer, reader, frame) for _ in range(5)] == [True] * 4 + [False]
    assert take(reader) == frame
    assert put(writer, reader, b"again")
    assert not put(writer, reader, frame)


def test_what_was_not_told_is_not_there() -> None:
    _, writer, reader = ring()
    assert writer.put([b"lost"]) is not None
    assert take(reader) is None
    assert put(writer, reader, b"kept")
    assert take(reader) == b"kept"


def test_a_frame_stays_what_it_was_when_it_was_taken() -> None:
    memory, writer, reader = ring()
    assert put(writer, reader, b"sealed")
    place = reader.take()
    memory[COUNTERS:] = bytes(CAPACITY)
    assert place is not None
    assert bytes(reader.buffer[place[0] : sum(place)]) == b"sealed"


def test_a_frame_that_is_not_copied_stays_until_the_next_is_taken() -> None:
    memory, writer, _ = ring()
    reader = Reader(memoryview(memory))
    frame = bytes(range(100))
    assert put(writer, reader, frame)
    assert put(writer, reader, frame)
    assert take(reader) == frame
    assert not put(writer, reader, frame)
    assert take(reader) == frame
    assert put(writer, reader, frame)


@given(st.binary(min_size=CAPACITY, max_size=CAPACITY), st.lists(st.integers(0, 2**64 - 1), max_size=9))
def test_any_memory_and_any_head_give_frames_within_bounds_or_a_lie(memory: bytes, heads: list[int]) -> None:
    reader = Reader(memoryview(bytearray(COUNTERS) + memory), memoryview(bytearray(LARGEST)))
    for head in heads:
        with contextlib.suppress(RemoteProtocolError):
            reader.told(head)
            for _ in range(CAPACITY):
                if (frame := take(reader)) is None:
                    break
                assert len(frame) <= LARGEST


@given(st.lists(st.integers(0, 40), max_size=40))
def test_lengths_that_lie_are_found_out_or_stay_within_the_ring(numbers: list[int]) -> None:
    memory = bytearray(COUNTERS) + struct.pack("32Q", *(numbers + [0] * 32)[:32])
    reader = Reader(memoryview(memory), memoryview(bytearray(LARGEST)))
    with contextlib.suppress(RemoteProtocolError):
        reader.told(CAPACITY)
        while reader.take() is not None:
            pass


@pytest.mark.parametrize("head", [8, CAPACITY + 16, CAPACITY + 24, 2**64 - 1], ids=["back", "beyond", "far", "most"])
def test_a_head_that_cannot_be_is_a_lie(head: int) -> None:
    _, writer, reader = ring()
    assert put(writer, reader, b"12345678")
    with pytest.raises(RemoteProtocolError, match="more than the ring holds"):
        reader.told(head)


@pytest.mark.parametrize("length", [0, 9, LARGEST + 1, 2**64 - 1], ids=["none", "longer", "too-long", "most"])
def test_a_length_that_cannot_be_is_a_lie(length: int) -> None:
    memory, writer, reader = ring()
    assert put(writer, reader, b"12345678")
    memory[COUNTERS : COUNTERS + 8] = struct.pack("Q", length)
    with pytest.raises(RemoteProtocolError, match="where there is none"):
        reader.take()


@pytest.mark.parametrize("freed", [232, 2**64 - 1], ids=["more", "most"])
def test_a_reader_that_freed_what_is_not_there_lies(freed: int) -> None:
    memory, writer, reader = ring()
    frame = bytes(LARGEST)
    assert put(writer, reader, frame)
    assert put(writer, reader, frame)
    memory[0:8] = struct.pack("Q", freed)
    with pytest.raises(RemoteProtocolError, match="freed what was never sent"):
        writer.put([frame])


def test_a_reader_that_takes_its_word_back_lies() -> None:
    memory, writer, reader = ring()
    for _ in range(6):
        assert put(writer, reader, bytes(LARGEST))
        assert take(reader) == bytes(LARGEST)
    memory[0:8] = bytes(8)
    with pytest.raises(RemoteProtocolError, match="freed what was never sent"):
        _ = [put(writer, reader, bytes(LARGEST)) for _ in range(3)]


def test_the_memory_cannot_be_made_smaller() -> None:
    descriptor = shared()
    try:
        for size in (0, 1 << 30):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "sizes",
    [[1312] * 64, [1312] * 63 + [40], [40] + [1312] * 63, [1], [65_535], [65_535] * 64],
    ids=["even", "short-last", "short-first", "one", "large", "too-much"],
)
async def test_bursts_cross_both_ways(sizes: list[int]) -> None:
    ours, theirs = pair()
    child = inherited(*theirs)
    burst = [bytes([each]) * size for each, size in enumerate(sizes)]
    for source, sink in ((ours, child), (child, ours)):
        came: list[bytes] = []
        arrived = send_burst(source.send, 7, burst)
        await asyncio.sleep(0)
        assert sink.listen()
        while (frame := sink.receive()) is not None:
            assert frame.path == 7
            came += map(bytes, frame.datagrams)
        assert came == burst if arrived else came == burst[: len(came)]
        assert arrived or sum(sizes) > 2 << 20
    ours.close()
    assert not child.listen()
    child.close()


async def test_a_closed_channel_takes_and_gives_nothing() -> None:
    ours, theirs = pair()
    child = inherited(*theirs)
    assert child.send([b"x"])
    ours.close()
    ours.close()
    assert not ours.send([b"x"])
    assert ours.receive() is None
    assert not ours.listen()
    child.close()
