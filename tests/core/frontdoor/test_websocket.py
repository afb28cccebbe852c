"""WebSockets at the front door, with a client library and by hand."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.app import AdminRoute
from ghostwire.frontdoor.protocol import MAX_MESSAGE

HEAD = (
    "GET /echo HTTP/1.1\nhost: x\nconnection: Upgrade\nupgrade: websocket\n"
    "sec-websocket-version: 13\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="
)


class Endpoints:
    """``/echo`` sends back what it gets, ``/flood`` sends without end, ``/tick`` a little in each pass of the loop."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.flooding = 0

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept(websocket.headers.get("sec-websocket-protocol"))
        try:
            while True:
                await websocket.send_bytes(await websocket.receive_bytes())
        except WebSocketDisconnect as gone:
            self.codes.append(gone.code)

    async def flood(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_bytes(bytes(65536))
            self.flooding += 1

    async def tick(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.send_bytes(b"tick")
                await asyncio.sleep(0)
        self.codes.append(1006)


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest_asyncio.fixture
async def door(endpoints) -> AsyncIterator[FrontDoor]:
    routes = [WebSocketRoute(f"/{name}", getattr(endpoints, name)) for name in ("echo", "flood", "tick")]
    door = FrontDoor(Starlette(routes=routes))
    await door.start("127.0.0.1", 0)
    yield door
    await door.close()


def opened(door: FrontDoor, path: str, **options: object) -> connect:
    return connect(f"ws://127.0.0.1:{door.port}{path}", proxy=None, **options)


async def until(fulfilled) -> None:
    async with asyncio.timeout(10):
        while not fulfilled():
            await asyncio.sleep(0.01)


async def refused(websocket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(websocket.recv(), 10)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_messages_go_both_ways_uncompressed(door):
    async with opened(door, "/echo", subprotocols=["derp"], max_size=None) as websocket:
        assert websocket.subprotocol == "derp"
        assert websocket.protocol.extensions == []
        for size in (1, 125, 65536, MAX_MESSAGE):
            await websocket.send(bytes(size))
            assert await websocket.recv() == bytes(size)


async def test_where_there_is_no_route_there_is_no_websocket(door):
    with pytest.raises(InvalidStatus) as answer:
        await opened(door, "/nowhere")
    assert answer.value.response.status_code == 403


async def test_a_websocket_counts_as_a_connection_until_it_ends(door):
    admission = door._backend.admission
    async with opened(door, "/echo") as websocket:
        await websocket.ping()
        assert admission.count == 1
    await until(lambda: admission.count == 0)


async def test_an_app_is_told_that_its_client_left(door, endpoints):
    async with opened(door, "/echo"):
        pass
    await until(lambda: endpoints.codes == [1000])


async def test_a_message_that_is_too_long_ends_it(door):
    async with opened(door, "/echo") as websocket:
        await websocket.send(bytes(MAX_MESSAGE + 1))
        assert await refused(websocket) == 1009


async def test_an_app_that_sends_to_who_was_hung_up_on_is_told_and_nothing_is_logged(door, endpoints, caplog):
    async with opened(door, "/tick") as websocket:
        await websocket.send(bytes(MAX_MESSAGE + 1))
        with suppress(ConnectionClosed):
            while await websocket.recv() == b"tick":
                pass
        assert websocket.close_code == 1009
    await until(lambda: endpoints.codes == [1006])
    assert caplog.records == []


async def test_a_message_without_end_ends_it(door):
    async with opened(door, "/echo") as websocket:
        websocket.transport.write(Frame(Opcode.BINARY, b"", fin=False).serialize(mask=True))
        websocket.transport.write(Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * 2000)
        assert await refused(websocket) == 1009


async def test_text_that_is_no_text_ends_it_without_a_line_in_the_log(door, caplog):
    caplog.set_level(logging.DEBUG, "ghostwire")
    async with opened(door, "/echo") as websocket:
        websocket.transport.write(Frame(Opcode.TEXT, b"\xff").serialize(mask=True))
        assert await refused(websocket) == 1007
    assert caplog.text == ""


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace("sec-websocket-version: 13", "sec-websocket-version: 12"),
        HEAD.replace("sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "sec-websocket-key: short"),
        HEAD.replace("\nsec-websocket-version: 13", ""),
        HEAD + "".join(f"\nx-{number}: x" for number in range(200)),
        HEAD + "\nx: " + 10_000 * "x",
    ],
)
async def test_a_head_that_is_no_websockets_is_answered_in_one_line(door, client, head, caplog):
    asking = await client.tcp(door.port)
    status, _ = await asking.ask(head)
    assert status in (400, 426)
    assert await asking.rest() == b""
    asking.close()
    assert caplog.text == ""
    await until(lambda: door._backend.admission.count == 0)


@pytest.mark.parametrize("head", [HEAD.replace("GET", "POST"), HEAD + "\ncontent-length: 3"])
async def test_what_cannot_be_a_websocket_is_plain_http(door, client, head):
    asking = await client.tcp(door.port)
    status, _ = await asking.ask(head, b"abc" if "length" in head else b"")
    assert status == 404
    asking.close()


async def test_pings_whose_answers_nobody_reads_do_not_pile_up(door, client):
    asking = await client.tcp(door.port, limit=1024)
    asking.writer.write(HEAD.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    await asking.reader.readuntil(b"\r\n\r\n")
    asking.writer.transport.pause_reading()
    pings = Frame(Opcode.PING, bytes(125)).serialize(mask=True) * 10_000
    (connection,) = door._backend.state.connections
    for _ in range(20):
        asking.writer.write(pings)
        await asyncio.wait_for(asking.writer.drain(), 10)
    await until(lambda: not connection.writable.is_set())
    assert connection.transport.get_write_buffer_size() < 2_000_000
    asking.writer.transport.abort()


async def test_a_client_that_does_not_read_is_hung_up_on_when_the_app_ends(door, client, endpoints):
    asking = await client.tcp(door.port, limit=1024)
    asking.writer.write(HEAD.replace("/echo", "/flood").replace("\n", "\r\n").encode() + b"\r\n\r\n")
    await asking.reader.readuntil(b"\r\n\r\n")
    asking.writer.transport.pause_reading()
    before = -1
    while endpoints.flooding != before:
        before = endpoints.flooding
        await asyncio.sleep(0.1)
    (task,) = door._backend.state.tasks
    task.cancel()
    await until(lambda: not door._backend.state.connections)
    asking.writer.transport.abort()


async def test_a_door_that_closes_ends_its_websockets(door, endpoints):
    async with opened(door, "/echo") as websocket:
        await websocket.send(b"x")
        assert await websocket.recv() == b"x"
        await asyncio.wait_for(door.close(), 4)
        assert await refused(websocket) == 1012
    assert endpoints.codes == [1012]


async def test_tls_carries_them_too(endpoints, tls):
    door = FrontDoor(Starlette(routes=[WebSocketRoute("/echo", endpoints.echo)]), tls=tls)
    await door.start("127.0.0.1", 0)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with connect(f"wss://127.0.0.1:{door.port}/echo", proxy=None, ssl=trusting, max_size=None) as websocket:
        for size in (1, MAX_MESSAGE):
            await websocket.send(bytes(size))
            assert await websocket.recv() == bytes(size)
    await until(lambda: door._backend.admission.count == 0)
    await door.close()


@pytest.mark.parametrize("admin", [True, False])
async def test_where_no_route_is_one_a_request_for_one_is_like_any_other(app, client, admin):
    routes = [AdminRoute(WebSocketRoute("/x", app))] if admin else []
    door = FrontDoor(Starlette(routes=[Mount("/", routes=[*app.routes, *routes])]))
    await door.start("127.0.0.1", 0)
    asking = await client.tcp(door.port)
    status, _ = await asking.ask(HEAD.replace("/echo", "/about"))
    assert status == (403 if admin else 200)
    asking.close()
    await door.close()
