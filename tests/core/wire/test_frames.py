"""Frames over a byte stream, however it is chopped."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import RemoteProtocolError
from ghostwire.wire.frames import FrameReader, frame_header


def framed(*frames: bytes) -> bytes:
    return b"".join(frame_header(len(frame)) + frame for frame in frames)


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(0, 500), max_size=20))
def test_any_chopping_gives_the_same_frames(frames: list[bytes], cuts: list[int]) -> None:
    reader = FrameReader(50)
    received = [frame for chunk in chopped(framed(*frames), cuts) for frame in reader.feed(chunk)]
    assert received == frames


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_random_bytes_never_make_more_than_frames_or_a_protocol_error(chunks: list[bytes]) -> None:
    reader = FrameReader(64)
    with suppress(RemoteProtocolError):
        for chunk in chunks:
            assert all(len(frame) <= 64 for frame in reader.feed(chunk))


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(RemoteProtocolError, match="17 bytes; at most 16"):
        FrameReader(16).feed(frame_header(17))


def test_a_frame_of_the_limit_passes() -> None:
    assert FrameReader(16).feed(framed(bytes(16))) == [bytes(16)]


def test_an_announced_length_reserves_no_memory() -> None:
    reader = FrameReader(64 * 1024 * 1024)
    tracemalloc.start()
    reader.feed(frame_header(64 * 1024 * 1024) + b"x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000


def test_a_large_frame_in_small_pieces_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        data, reader, start = framed(bytes(size)), FrameReader(size), time.process_time()
        frames = [frame for at in range(0, len(data), 1000) for frame in reader.feed(data[at : at + 1000])]
        assert [len(frame) for frame in frames] == [size]
        return time.process_time() - start

    small, large = min(seconds(1_000_000) for _ in range(3)), min(seconds(8_000_000) for _ in range(3))
    assert large < 40 * max(small, 0.0005)


def test_many_small_frames_in_one_piece_take_linear_time() -> None:
    def seconds(count: int) -> float:
        data, start = framed(b"x") * count, time.process_time()
        assert len(FrameReader(16).feed(data)) == count
        return time.process_time() - start

    small, large = min(seconds(10_000) for _ in range(3)), min(seconds(80_000) for _ in range(3))
    assert large < 40 * max(small, 0.0005)
