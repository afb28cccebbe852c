"""HTTP/2 at the front door: beside HTTP/1.1 on the same port, and bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import h2.events as events
import pytest
import pytest_asyncio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor import http2 as spoken
from ghostwire.frontdoor.certificate import ensure_certificate, server_context

PATIENCE = 20.0
BIG = 512 * 1024


class Never:
    """No event."""


class App:
    """What stands behind the door; ``late`` is set once a request was given up."""

    def __init__(self) -> None:
        self.late = asyncio.Event()
        self.begun = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/about", self.about, methods=["GET", "POST"]),
                Route("/big", lambda request: Response(bytes(BIG))),
                Route("/wait", self.wait),
                Route("/fail", self.fail),
            ]
        )

    async def about(self, request: Request) -> JSONResponse:
        body = await request.body()
        scope = request.scope
        found = {"version": scope["http_version"], "scheme": scope["scheme"], "bytes": len(body)}
        return JSONResponse({**found, "host": request.headers["host"], "admin": request.state.admin})

    async def wait(self, request: Request) -> PlainTextResponse:
        self.begun.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.late.set()
        return PlainTextResponse("too late")

    async def fail(self, request: Request) -> Response:
        raise ValueError("a bug")


class Client:
    """A plain HTTP/2 client: what the library says, as it comes. With ``reads`` False it takes no window updates."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, greedy: bool = True) -> None:
        self.reader, self.writer, self.greedy = reader, writer, greedy
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.seen: list[Any] = []
        self.bodies: dict[int, bytes] = {}
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def ask(self, path: str, body: bytes | None = None, method: str = "GET") -> int:
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "gw.test"), (":path", path)]
        self.h2.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    async def until(self, kind: type, stream: int | None = None) -> Any:
        """The first event of that kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.seen:
                    if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                        self.seen.remove(event)
                        return event
                self.seen += await self._more()

    async def _more(self) -> list[Any]:
        data = await self.reader.read(65536)
        if not data:
            raise EOFError
        found = self.h2.receive_data(data)
        for event in found:
            if isinstance(event, events.DataReceived):
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + (event.data or b"")
                if self.greedy:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        return found


@pytest.fixture
def app() -> App:
    return App()


@pytest_asyncio.fixture
async def door(app: App) -> AsyncIterator[FrontDoor]:
    made = FrontDoor(app.app, http2=True)
    await made.start("127.0.0.1", 0)
    yield made
    await made.close()


async def connect(door: FrontDoor, greedy: bool = True) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", door.port), greedy)


async def test_both_versions_are_served_on_one_port(door: FrontDoor) -> None:
    client = await connect(door)
    stream = client.ask("/about", b"x" * 1000, "POST")
    await client.until(events.StreamEnded, stream)
    assert b'"version":"2"' in client.bodies[stream]
    assert b'"bytes":1000' in client.bodies[stream]
    assert b'"host":"gw.test"' in client.bodies[stream]
    assert b'"admin":false' in client.bodies[stream]
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"P")
    await writer.drain()
    writer.write(b"OST /about HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    assert b'"version":"1.1"' in await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()


async def test_a_preface_may_come_in_pieces(door: FrontDoor) -> None:
    client = await connect(door)
    client.ask("/about")
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    whole = H2Connection()
    whole.initiate_connection()
    for byte in whole.data_to_send():
        writer.write(bytes([byte]))
        await writer.drain()
    assert await asyncio.wait_for(reader.readexactly(9), PATIENCE)
    writer.close()


async def test_alpn_offers_it_and_leaves_the_choice_to_the_client(app: App, tmp_path: Path) -> None:
    pair = ensure_certificate(tmp_path, ["localhost"], 1_700_000_000)
    made = FrontDoor(app.app, tls=server_context(*pair), http2=True)
    await made.start("127.0.0.1", 0)
    chosen = []
    for offered in (["h2", "http/1.1"], ["http/1.1"], []):
        trust = ssl.create_default_context(cafile=str(pair[0]))
        if offered:
            trust.set_alpn_protocols(offered)
        streams = await asyncio.open_connection("localhost", made.port, ssl=trust)
        chosen.append(streams[1].get_extra_info("ssl_object").selected_alpn_protocol())
        if chosen[-1] == "h2":
            client = Client(*streams)
            stream = client.ask("/about")
            await client.until(events.StreamEnded, stream)
            assert b'"scheme":"https"' in client.bodies[stream]
        streams[1].close()
    assert chosen == ["h2", "http/1.1", None]
    await made.close()


async def test_an_answer_goes_no_faster_than_its_reader_and_holds_up_no_other(door: FrontDoor) -> None:
    client = await connect(door, greedy=False)
    slow = client.ask("/big")
    async with asyncio.timeout(PATIENCE):
        while len(client.bodies.get(slow, b"")) < 65535:
            client.seen += await client._more()
    assert len(client.bodies[slow]) == 65535  # its window, and no more
    client.h2.increment_flow_control_window(BIG)
    client.flush()
    other = client.ask("/about")
    await client.until(events.StreamEnded, other)
    assert len(client.bodies[slow]) == 65535
    client.h2.increment_flow_control_window(BIG, slow)
    client.flush()
    await client.until(events.StreamEnded, slow)
    assert len(client.bodies[slow]) == BIG


async def test_an_app_hears_of_a_request_that_is_given_up(door: FrontDoor, app: App) -> None:
    client = await connect(door)
    stream = client.ask("/wait")
    await asyncio.wait_for(app.begun.wait(), PATIENCE)
    client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()
    await asyncio.wait_for(app.late.wait(), PATIENCE)
    again = client.ask("/about")
    await client.until(events.StreamEnded, again)


async def test_a_request_that_fails_costs_only_itself(door: FrontDoor) -> None:
    client = await connect(door)
    stream = client.ask("/fail")
    await client.until(events.StreamEnded, stream)
    assert client.bodies[stream] == b"Internal Server Error"
    stream = client.ask("/about")
    await client.until(events.StreamEnded, stream)


async def test_more_streams_than_are_allowed_are_refused(door: FrontDoor) -> None:
    client = await connect(door)
    client.ask("/about")
    await client.until(events.ResponseReceived)
    assert client.h2.remote_settings.max_concurrent_streams == spoken.MAX_STREAMS
    client.h2.remote_settings[3] = 1 << 20  # a client that does not care
    client.h2.remote_settings.acknowledge()
    streams = [client.ask("/wait") for _ in range(spoken.MAX_STREAMS + 1)]
    with pytest.raises(EOFError):
        await client.until(Never, streams[-1])


async def test_a_client_that_gives_up_its_requests_all_the_time_is_hung_up_on(door: FrontDoor) -> None:
    client = await connect(door)
    for _ in range(spoken.RESETS + 20):
        stream = client.ask("/wait")
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
    ended = await client.until(events.ConnectionTerminated)
    assert ended.error_code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "junk",
    [bytes(9), b"\xff" * 64, b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n" * 3],
    ids=["empty data", "noise", "no window", "http1"],
)
async def test_garbage_after_the_preface_ends_the_connection_and_no_other(door: FrontDoor, junk: bytes) -> None:
    client, other = await connect(door), await connect(door)
    client.writer.write(junk * 4)
    with pytest.raises(EOFError):
        await client.until(Never)
    stream = other.ask("/about")
    await other.until(events.StreamEnded, stream)


async def test_closing_says_goodbye_and_lets_answers_finish(app: App) -> None:
    made = FrontDoor(app.app, http2=True)
    await made.start("127.0.0.1", 0)
    client = await connect(made, greedy=False)
    stream = client.ask("/big")
    await client.until(events.ResponseReceived, stream)
    closing = asyncio.get_running_loop().create_task(made.close())
    await client.until(events.ConnectionTerminated)
    client.writer.close()
    await asyncio.wait_for(closing, PATIENCE)


async def test_without_it_the_port_speaks_http1_alone(app: App) -> None:
    made = FrontDoor(app.app)
    await made.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    plain = H2Connection()
    plain.initiate_connection()
    writer.write(plain.data_to_send())
    assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 4")
    writer.close()
    await made.close()
