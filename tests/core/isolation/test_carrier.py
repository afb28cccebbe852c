"""What a plugin receives in little pieces crosses as one burst, in order and apart by source."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from ghostwire import Path
from ghostwire.plugins.isolation.carrier import LITTLE, Carrier
from ghostwire.plugins.isolation.channel import Channel, inherited, pair
from ghostwire.plugins.isolation.frames import NAME

Came = list[tuple[str, list[bytes]]]


class Source(Path):
    transport, relayed = "loop", False

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def send(self, datagrams: Any) -> bool:
        return False


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = pair()
    child = inherited(*theirs)
    yield ours, child
    ours.close()
    child.close()


def carrier(child: Channel) -> Carrier:
    return Carrier(child, cast("Any", None), cast("Any", None), lambda where, error: pytest.fail(f"{where}: {error!r}"))


async def arrived(ours: Channel) -> Came:
    names: dict[int, str] = {}
    came: Came = []
    for _ in range(2):  # held, then told
        await asyncio.sleep(0)
    ours.listen()
    while (frame := ours.receive()) is not None:
        if frame.kind == NAME:
            names[frame.path] = frame.text
        else:
            came.append((names[frame.path], list(map(bytes, frame.datagrams))))
    return came


async def test_little_pieces_of_one_pass_are_one_burst(ends: tuple[Channel, Channel]) -> None:
    ours, child = ends
    carries, source = carrier(child), Source("a")
    buffer = bytearray(b"x")
    for number in range(70):
        buffer[0] = number  # what is delivered is valid during the call alone
        carries.receive(source, [memoryview(buffer)])
    await asyncio.sleep(0)
    pieces = [bytes([number]) for number in range(70)]
    assert await arrived(ours) == [("a", pieces[:64]), ("a", pieces[64:])]
    assert await arrived(ours) == []


async def test_other_sources_and_whole_bursts_keep_their_order(ends: tuple[Channel, Channel]) -> None:
    ours, child = ends
    carries = carrier(child)
    one, other, whole = Source("a"), Source("b"), [b"whole"] * (LITTLE + 1)
    carries.receive(one, [b"1"])
    carries.receive(one, [b"2"])
    carries.receive(other, [b"3"])
    carries.receive(other, whole)
    carries.receive(one, [b"4"])
    assert await arrived(ours) == [("a", [b"1", b"2"]), ("b", [b"3"]), ("b", whole), ("a", [b"4"])]


async def test_what_the_daemon_has_no_room_for_is_counted(ends: tuple[Channel, Channel]) -> None:
    _, child = ends
    carries, source = carrier(child), Source("a")
    for _ in range(40):
        carries.receive(source, [bytes(1312)] * 64)
    assert carries.dropped == 40 - 24  # two dozen bursts fill the ring
