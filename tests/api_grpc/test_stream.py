"""A session's stream by itself: bounds, what drains, and its end; and frames that are converted once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import MachineKey, NodeKey
from ghostwire.model import Cursor, MapChange
from ghostwire.testing import simulated
from ghostwire.wire.api_errors import TooMany
from ghostwire.wire.messages import Interest, Refused, Report, encode
from ghostwire_api_grpc import frames
from ghostwire_api_grpc.stream import BURST, HIGH_WATER, MAX_PENDING, PATIENCE, REPORT_COST, GrpcStream


class Challenge:
    public = proof = b""

    def verify(self, key: Any, proof: bytes) -> bool:
        return proof == b"right"


def stream(left: list[str] | None = None) -> GrpcStream:
    ended = left if left is not None else []
    return GrpcStream(None, "192.0.2.1", MachineKey(bytes(32)), Challenge(), lambda: ended.append("left"))


@simulated
async def test_a_proof_is_looked_at_once() -> None:
    one = stream()
    assert one.verify(NodeKey(bytes(32)), b"right")
    assert not one.verify(NodeKey(bytes(32)), b"right")


@simulated
async def test_a_slow_reader_is_bounded_and_told_of_when_it_has_read() -> None:
    one, drained = stream(), []
    one.on_drained(lambda: drained.append(one.pending))
    frame = bytes(HIGH_WATER)
    sent = 0
    while one.send(frame):
        sent += 1
    assert MAX_PENDING <= sent * HIGH_WATER <= MAX_PENDING + 2 * HIGH_WATER
    for _ in range(sent):
        assert drained == []
        one.taken(await one.next(1) or b"")
    assert drained == [0]
    assert one.send(frame)


@simulated
async def test_nothing_comes_is_said_after_a_while_and_the_end_is_the_end() -> None:
    left: list[str] = []
    one = stream(left)
    assert await one.next(5) is None
    one.on_closed(lambda: left.append("closed"))
    one.send(b"last")
    one.close("because")
    one.close("again")
    assert not one.send(b"more")
    assert await one.next(5) == b"last"
    with pytest.raises(EOFError, match="because"):
        await one.next(5)
    one.end()
    one.end()
    assert left == ["left", "closed"]
    one.on_closed(lambda: left.append("late"))
    await asyncio.sleep(0)
    assert left[-1] == "late"


@simulated
async def test_a_session_that_nobody_watches_ends() -> None:
    left: list[str] = []
    one, other = stream(left), stream()
    one.welcomed()
    other.welcomed()
    assert other.begin()
    assert not other.begin()
    await asyncio.sleep(PATIENCE + 1)
    assert left == ["left"]
    assert not one.begin()
    assert not other.over


@simulated
async def test_messages_come_no_faster_than_over_the_control_session() -> None:
    one, heard = stream(), []
    with pytest.raises(RemoteProtocolError):
        one.take(Interest(node=1))
    one.on_message(heard.append)
    for number in range(BURST // REPORT_COST + 1):
        one.take(Report(session=1, sequence=number))
    with pytest.raises(TooMany):
        one.take(Interest(node=1))
    await asyncio.sleep(2)
    one.take(Interest(node=1))
    assert heard[-1] == Interest(node=1)


async def test_a_frame_is_converted_once_and_not_for_ever() -> None:
    kept = frames.Frames()
    frame = encode(MapChange(cursor=Cursor(1, b"m"), removed_nodes=(7,)))
    one = await kept.told(frame)
    assert one is await kept.told(bytes(bytearray(frame)))
    assert kept.converted == 1
    for number in range(frames.KEPT):
        await kept.told(encode(MapChange(cursor=Cursor(number + 2, b"m"))))
    assert await kept.told(frame) is not one
    large = encode(MapChange(cursor=Cursor(1, b"m"), removed_nodes=tuple(range(10**6, 10**6 + frames.LARGE))))
    told = await asyncio.gather(*[kept.told(large) for _ in range(3)])
    assert {each.binary() for each in told} == {told[0].binary()}


def test_a_refusal_is_known_for_the_last_message() -> None:
    told = frames.convert(encode(Refused(code="busy", message="later", retry_after=3)))
    assert told.refused is not None
    assert told.refused.retry_after == 3
