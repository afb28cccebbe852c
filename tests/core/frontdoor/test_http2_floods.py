"""Strangers who speak HTTP/2 by the rules, and only want to be a burden."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import h2.events as events
import pytest
import pytest_asyncio
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ghostwire.frontdoor import FrontDoor, http2, http2_stream, protocol, turns
from ghostwire.frontdoor.admission import Admission
from ghostwire.frontdoor.http2_frames import AT_ONCE, FRAME_HEAD, MAX_FRAME, Frames
from ghostwire.frontdoor.turns import Turns

PATIENCE = 20.0
BIG = 512 * 1024
DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
WHOLE, BODY, OPEN = 5, 4, 0
"""Flags of a request's head: all of it, and no body; all of it, and a body comes; the beginning of one."""


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def head(path: str = "/about") -> bytes:
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]
    return bytes(Encoder().encode(fields))


class Client:
    """Sends frames as they are, and reads what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._h2 = H2Connection()
        self._h2.initiate_connection()
        self._h2.data_to_send()
        self.writer.write(protocol.PREFACE + frame(SETTINGS))

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def ask(self, stream: int, path: str = "/about", flags: int = WHOLE) -> None:
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]
        self._h2.send_headers(stream, fields, end_stream=flags == WHOLE)
        self._h2.data_to_send()
        self.send(frame(HEADERS, flags, stream, head(path)))

    async def until(self, kind: type) -> Any:
        """The first event of that kind; EOFError at the end."""
        async with asyncio.timeout(PATIENCE):
            while data := await self.reader.read(65536):
                for event in self._h2.receive_data(data):
                    if isinstance(event, kind):
                        return event
            raise EOFError


async def about(request: Request) -> PlainTextResponse:
    return PlainTextResponse("here")


async def wait(request: Request) -> PlainTextResponse:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return PlainTextResponse("too late")


@pytest_asyncio.fixture
async def door() -> AsyncIterator[FrontDoor]:
    app = Starlette(
        routes=[Route("/about", about), Route("/wait", wait), Route("/big", lambda _: Response(bytes(BIG)))]
    )
    made = FrontDoor(cast("Any", app), http2=True)
    await made.start("127.0.0.1", 0)
    yield made
    await made.close()


async def connect(door: FrontDoor) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", door.port))


@given(st.lists(st.tuples(st.sampled_from([0, 4, 6, 8, 200]), st.integers(0, 300))), st.lists(st.integers(1, 400)))
def test_what_arrives_is_taken_whole_and_a_few_frames_at_a_time(sizes: Any, cuts: list[int]) -> None:
    heads = [frame(kind, content=bytes(size)) for kind, size in sizes]
    stream, frames = b"".join([protocol.PREFACE, *heads]), Frames(1000)
    parts: list[bytes] = []
    while stream:
        cut = cuts.pop() if cuts else len(stream)
        parts += frames.parts(stream[:cut])
        stream = stream[cut:]
    assert b"".join(parts) == b"".join([protocol.PREFACE, *heads])
    begins, at = [], len(protocol.PREFACE)
    for each in heads:
        begins.append(at)
        at += len(each)
    at = 0
    for part in parts:
        assert sum(at <= begin < at + len(part) for begin in begins) <= AT_ONCE
        at += len(part)


def test_a_head_in_many_frames_is_no_longer_than_one_in_one() -> None:
    frames = Frames(1000)
    list(frames.parts(protocol.PREFACE + frame(HEADERS, OPEN, 1, bytes(600)) + frame(CONTINUATION, 4, 1, bytes(400))))
    list(frames.parts(frame(HEADERS, OPEN, 3, bytes(600))))
    with pytest.raises(FrameTooLargeError):
        list(frames.parts(frame(CONTINUATION, OPEN, 3, bytes(401))[:FRAME_HEAD]))
    with pytest.raises(FrameTooLargeError):
        list(Frames(1000).parts(protocol.PREFACE + frame(PING, content=bytes(MAX_FRAME + 1))))


async def test_who_has_endless_work_takes_turns_with_everybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SLICE", 0.001)
    done = {"endless": 0, "other": 0}

    class Endless:
        def __init__(self, name: str) -> None:
            self.name = name

        def step(self) -> bool:
            done[self.name] += 1
            return done["endless"] + done["other"] < 1_000_000

    shared = Turns()
    shared.add(Endless("endless"))
    shared.add(Endless("other"))
    for _ in range(20):
        await asyncio.sleep(0)  # each pass of the loop comes back to us
    assert 0 < done["endless"] + done["other"] < 1_000_000
    assert abs(done["endless"] - done["other"]) <= 1


async def test_a_flood_of_frames_does_not_keep_another_client_waiting(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    receive = H2Connection.receive_data

    def counted(self: H2Connection, data: bytes) -> Any:
        if not self.config.client_side:
            taken.append(len(data))
        return receive(self, data)

    monkeypatch.setattr(H2Connection, "receive_data", counted)
    flooding, other = await connect(door), await connect(door)
    flooding.send(*[frame(PING, content=bytes(8))] * 50_000)
    other.ask(1)
    await other.until(events.StreamEnded)
    assert 0 < sum(taken) < 50_000 * 17  # it was answered before all of the flood was looked at
    assert max(taken) <= (AT_ONCE + 2) * 17 + len(protocol.PREFACE)


async def test_a_head_of_small_frames_without_end_ends_the_connection(door: FrontDoor) -> None:
    client, other = await connect(door), await connect(door)
    client.send(frame(HEADERS, OPEN, 1, head()), *[frame(CONTINUATION, OPEN, 1, bytes(2000))] * 20)
    with pytest.raises(EOFError):
        await client.until(events.ResponseReceived)
    other.ask(1)
    await other.until(events.StreamEnded)


async def test_a_small_head_that_unpacks_to_a_large_one_ends_the_connection(door: FrontDoor) -> None:
    client = await connect(door)
    made = Encoder()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/about"), ("bomb", "v" * 3000)]
    client.send(frame(HEADERS, WHOLE, 1, bytes(made.encode([*fields, *fields[4:] * 10]))))
    with pytest.raises(EOFError):
        await client.until(events.ResponseReceived)


async def test_an_answer_that_nobody_takes_is_given_up(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_stream, "ANSWER_TIMEOUT", 0.05)
    client = await connect(door)
    client.ask(1, "/big")
    assert (await client.until(events.StreamReset)).stream_id == 1
    other = await connect(door)
    other.ask(1)
    await other.until(events.StreamEnded)


async def test_one_address_has_only_so_many_requests_under_way(door: FrontDoor) -> None:
    requests = door._backend.requests
    requests.per_address = 5
    first, second = await connect(door), await connect(door)
    for stream in (1, 3, 5):
        first.ask(stream, "/wait")
    await reaches(requests, 3)
    for stream in (1, 3, 5):
        second.ask(stream, "/wait")
    refused = await second.until(events.StreamReset)
    assert (refused.stream_id, refused.error_code) == (5, ErrorCodes.REFUSED_STREAM)
    first.writer.close()
    await reaches(requests, 2)
    second.ask(7)
    await second.until(events.StreamEnded)
    await reaches(requests, 2)


async def reaches(requests: Admission, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while requests.count != count:
            await asyncio.sleep(0.01)


async def test_a_connection_ends_after_so_many_requests(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "REQUESTS", 2)
    client = await connect(door)
    for stream in (1, 3):
        client.ask(stream)
        await client.until(events.StreamEnded)
    client.ask(5)
    assert (await client.until(events.ConnectionTerminated)).error_code == ErrorCodes.NO_ERROR
    async with asyncio.timeout(PATIENCE):
        await client.reader.read()


async def test_who_keeps_us_waiting_makes_room_for_who_comes_though_he_began_a_request(door: FrontDoor) -> None:
    door._backend.admission.total = 3
    answered, unfinished, untaken = [await connect(door) for _ in range(3)]
    answered.ask(1, "/wait")
    unfinished.send(frame(HEADERS, 4, 1, head("/wait")))
    untaken.ask(1, "/big")
    await untaken.until(events.DataReceived)
    await reaches(door._backend.requests, 3)
    for gone in (unfinished, untaken):
        await other_is_served(door)
        with pytest.raises((EOFError, OSError)):
            await gone.until(events.StreamEnded)
    answered.send(frame(PING, content=bytes(8)))
    await answered.until(events.PingAckReceived)


async def other_is_served(door: FrontDoor) -> None:
    """It then waits for an answer, which its door's end ends."""
    client = await connect(door)
    client.ask(1, "/wait")
    client.send(frame(PING, content=bytes(8)))
    await client.until(events.PingAckReceived)


async def test_who_is_answered_before_his_body_is_whole_may_end_it_and_is_not_reset(door: FrontDoor) -> None:
    client = await answered_early(door)
    client.send(*[frame(DATA, 0, 1, bytes(MAX_FRAME))] * 3, frame(DATA, 1, 1, b"end"), frame(PING, content=bytes(8)))
    assert not await resets_until_ping(client)
    await reaches(door._backend.requests, 0)


async def test_a_body_that_does_not_end_after_its_answer_is_reset_once(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_stream, "MAX_LINGER", MAX_FRAME)
    client = await answered_early(door)
    assert door._backend.requests.count == 1  # it counts as long as its body comes
    client.send(frame(DATA, 0, 1, bytes(MAX_FRAME)))
    assert (await client.until(events.StreamReset)).error_code == ErrorCodes.NO_ERROR
    client.send(*[frame(DATA, 0, 1, bytes(100))] * 3, frame(PING, content=bytes(8)))
    assert not await resets_until_ping(client)
    await reaches(door._backend.requests, 0)


async def test_a_body_that_pauses_after_its_answer_is_reset(door: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_stream, "LINGER", 0.05)
    client = await answered_early(door)
    assert (await client.until(events.StreamReset)).error_code == ErrorCodes.NO_ERROR
    await reaches(door._backend.requests, 0)


async def answered_early(door: FrontDoor) -> Client:
    """Its answer is there, and its body, of stream 1, is not."""
    client = await connect(door)
    client.ask(1, flags=BODY)
    await client.until(events.StreamEnded)
    return client


async def resets_until_ping(client: Client) -> int:
    """Resets that come before the answer to a ping does."""
    data, resets = b"", 0
    async with asyncio.timeout(PATIENCE):
        while True:
            data += await client.reader.readexactly(9)
            size, kind = int.from_bytes(data[:3], "big"), data[3]
            await client.reader.readexactly(size)
            resets, data = resets + (kind == 3), b""
            if kind == PING:
                return resets
