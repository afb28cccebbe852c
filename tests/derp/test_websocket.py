"""DERP over WebSockets: the adapter against an ASGI server's rules, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from starlette.websockets import WebSocket, WebSocketDisconnect

from ghostwire_derp.websocket import HIGH, LOW, MAX_WAITING, MESSAGE_BYTES, serve

CLIENT = ("192.0.2.7", 4711)


class Recorder(asyncio.Protocol):
    """What a relay is to the adapter: remembers what it hears."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.pauses: list[str] = []
        self.lost = asyncio.Event()
        self.client = ""
        self.transport: Any = None
        self.on_data: Callable[[bytes], object] = lambda data: None

    def attach(self, transport: asyncio.Transport, client: str, rest: bytes) -> asyncio.Protocol:
        self.transport, self.client, self.heard = transport, client, bytearray(rest)
        transport.set_write_buffer_limits(high=HIGH, low=LOW)
        transport.set_protocol(self)
        return self

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost.is_set()
        self.lost.set()

    def pause_writing(self) -> None:
        self.pauses.append("pause")

    def resume_writing(self) -> None:
        self.pauses.append("resume")


class Browser:
    """The other end and the server between, by ASGI's rules; ``open_`` says whether it takes messages."""

    def __init__(self, *subprotocols: str) -> None:
        self.scope = {"type": "websocket", "path": "/derp", "headers": [], "client": CLIENT, "query_string": b""}
        self.scope["subprotocols"] = list(subprotocols)
        self.to_relay: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.to_relay.put_nowait({"type": "websocket.connect"})
        self.got: list[dict[str, Any]] = []
        self.open_ = asyncio.Event()
        self.open_.set()
        self.arrived = asyncio.Event()
        self.gone = False

    async def send(self, message: Any) -> None:
        await self.open_.wait()
        if self.gone:
            raise OSError("the client is gone")
        self.got.append(message)
        self.arrived.set()

    def says(self, data: bytes) -> None:
        self.to_relay.put_nowait({"type": "websocket.receive", "bytes": data})

    def leaves(self) -> None:
        self.gone = True
        self.to_relay.put_nowait({"type": "websocket.disconnect", "code": 1006})

    @property
    def heard(self) -> bytes:
        return b"".join(message["bytes"] for message in self.got if message["type"] == "websocket.send")

    async def until(self, fulfilled: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not fulfilled():
                self.arrived.clear()
                await self.arrived.wait()

    def connect(self, attach: Any) -> asyncio.Task[None]:
        websocket = WebSocket(self.scope, self.to_relay.get, self.send)
        return asyncio.create_task(serve(websocket, attach))


@pytest.fixture
def relay() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def browser(relay) -> AsyncIterator[Browser]:
    browser = Browser("chat", "derp")
    browser.task = browser.connect(relay.attach)
    await browser.until(lambda: browser.got)
    yield browser
    browser.open_.set()
    browser.leaves()
    await asyncio.wait_for(browser.task, 5)
    await asyncio.wait_for(relay.lost.wait(), 5)


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def ended(awaited: Awaitable[Any]) -> None:
    await asyncio.wait_for(awaited, 5)


async def test_the_subprotocol_is_chosen_among_those_offered(browser, relay):
    assert browser.got == [{"type": "websocket.accept", "subprotocol": "derp", "headers": []}]
    assert relay.client == CLIENT[0]
    assert relay.transport.get_extra_info("peername") == CLIENT
    assert relay.transport.get_extra_info("socket") is None


@pytest.mark.parametrize("offered", [[], ["chat"], ["DERP2", "xderp"]])
async def test_without_the_subprotocol_nothing_is_attached(offered):
    def attach(*_: object) -> asyncio.Protocol:
        raise AssertionError("attached")

    browser = Browser(*offered)
    await ended(browser.connect(attach))
    assert [message["type"] for message in browser.got] == ["websocket.close"]


async def test_bytes_arrive_as_one_stream_whatever_the_messages(browser, relay):
    whole = bytes(range(256)) * 1000
    for start in range(0, len(whole), 99_991):
        browser.says(whole[start : start + 99_991])
    browser.says(b"")
    await turns()
    assert relay.heard == whole


async def test_a_long_message_is_delivered_in_pieces(browser, relay):
    sizes: list[int] = []
    relay.on_data = lambda data: sizes.append(len(data))
    browser.says(bytes(2 * MESSAGE_BYTES + 7))
    await turns()
    assert sizes == [MESSAGE_BYTES, MESSAGE_BYTES, 7]


async def test_bytes_leave_in_order_and_in_messages_of_bounded_size(browser, relay):
    whole = bytes(range(256)) * 400
    for start in range(0, len(whole), 9_973):
        relay.transport.write(whole[start : start + 9_973])
    await browser.until(lambda: len(browser.heard) == len(whole))
    assert browser.heard == whole
    assert max(len(message.get("bytes", b"")) for message in browser.got) <= MESSAGE_BYTES
    assert relay.transport.get_write_buffer_size() == 0


async def test_small_writes_leave_together(browser, relay):
    browser.open_.clear()
    for number in range(100):
        relay.transport.write(bytes([number]))
    await turns()
    browser.open_.set()
    await browser.until(lambda: len(browser.heard) == 100)
    assert len(browser.got) <= 3


async def test_a_relay_that_pauses_reading_is_left_alone(browser, relay):
    relay.on_data = lambda data: relay.transport.pause_reading()
    browser.says(bytes(MESSAGE_BYTES + 1))
    browser.says(b"more")
    await turns()
    assert len(relay.heard) == MESSAGE_BYTES
    assert not relay.transport.is_reading()
    assert browser.to_relay.qsize() == 1  # where the server holds the client up
    relay.on_data = lambda data: None
    relay.transport.resume_reading()
    await turns()
    assert len(relay.heard) == MESSAGE_BYTES + 5


async def test_a_slow_reader_pauses_the_relay_until_he_has_read(browser, relay):
    browser.open_.clear()
    relay.transport.write(bytes(HIGH))
    assert relay.pauses == []
    relay.transport.write(b"x")
    assert relay.pauses == ["pause"]
    relay.transport.write(b"x")
    await turns()
    assert relay.transport.get_write_buffer_size() == HIGH + 2
    browser.open_.set()
    await browser.until(lambda: len(browser.heard) == HIGH + 2)
    await turns()
    assert relay.pauses == ["pause", "resume"]


async def test_a_reader_who_takes_nothing_is_given_up_in_the_end(browser, relay):
    browser.open_.clear()
    for _ in range(MAX_WAITING // HIGH + 1):
        relay.transport.write(bytes(HIGH))
    await ended(relay.lost.wait())
    assert relay.transport.is_closing()


async def test_an_aborted_stream_ends_though_nobody_reads(browser, relay):
    browser.open_.clear()
    relay.transport.write(b"x")
    await turns()
    relay.transport.abort()
    await ended(relay.lost.wait())
    relay.transport.write(b"late")
    relay.transport.abort()
    assert browser.heard == b""


async def test_an_aborted_stream_says_goodbye_to_who_reads(browser, relay):
    relay.transport.abort()
    await ended(browser.task)
    assert browser.got[-1] == {"type": "websocket.close", "code": 1001, "reason": ""}


async def test_a_closed_stream_sends_first_what_was_written(browser, relay):
    relay.transport.write(b"last words")
    relay.transport.close()
    await ended(browser.task)
    assert browser.heard == b"last words"
    assert browser.got[-1]["type"] == "websocket.close"


async def test_text_is_no_derp(browser, relay):
    browser.to_relay.put_nowait({"type": "websocket.receive", "text": "hello"})
    await ended(browser.task)
    assert relay.heard == b""
    assert browser.got[-1]["code"] == 1003


@pytest.mark.parametrize("writing", [False, True])
async def test_a_client_that_leaves_ends_the_stream(browser, relay, writing):
    browser.leaves()
    if writing:
        relay.transport.write(b"too late")
    await ended(relay.lost.wait())
    await ended(browser.task)
    assert relay.transport.is_closing()


async def test_a_refused_client_is_hung_up_on():
    def attach(transport: asyncio.Transport, client: str, rest: bytes) -> asyncio.Protocol:
        transport.abort()
        return asyncio.Protocol()

    browser = Browser("derp")
    await ended(browser.connect(attach))
    assert [message["type"] for message in browser.got] == ["websocket.accept", "websocket.close"]


async def test_a_bug_in_the_relay_is_not_swallowed(relay):
    def bug(data: bytes) -> None:
        raise ZeroDivisionError("a bug")

    relay.on_data = bug
    browser = Browser("derp")
    task = browser.connect(relay.attach)
    browser.says(b"x")
    with pytest.raises(ExceptionGroup) as raised:
        await ended(task)
    assert raised.group_contains(ZeroDivisionError)
    assert relay.lost.is_set()


async def test_starlette_turns_a_lost_client_into_the_error_that_is_expected():
    browser = Browser("derp")
    websocket = WebSocket(browser.scope, browser.to_relay.get, browser.send)
    await websocket.accept("derp")
    browser.leaves()
    with pytest.raises(WebSocketDisconnect):
        await websocket.send_bytes(b"x")


async def test_nothing_is_delivered_once_the_stream_was_ended(browser: Browser, relay: Recorder) -> None:
    def stop(data: bytes) -> None:
        relay.transport.abort()
        relay.transport.resume_reading()

    relay.on_data = stop
    browser.says(bytes(3 * MESSAGE_BYTES))
    await relay.lost.wait()
    assert len(relay.heard) == MESSAGE_BYTES
