"""Browsers at a real relay behind the real front door: WebSockets of a client library, beside a native client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.app import application
from ghostwire.frontdoor.certificate import ensure_certificate, server_context
from ghostwire_derp import frames
from ghostwire_derp.relay.service import RelayService
from ghostwire_derp.relay.upgrade import DerpUpgrade
from ghostwire_derp.routes import DerpRoutes


class RunningRelay:
    """A relay's front door with WebSocket and native clients; ``contexts`` closes what was opened."""

    def __init__(self, door: FrontDoor, trust: ssl.SSLContext | None, contexts: Any, client: Any) -> None:
        self.door, self._trust, self._contexts, self._client = door, trust, contexts, client

    @property
    def url(self) -> str:
        return f"{'wss' if self._trust else 'ws'}://127.0.0.1:{self.door.port}/derp"

    async def websocket(self, **options: Any) -> Any:
        opening = connect(
            self.url, ssl=self._trust, proxy=None, subprotocols=["derp"], compression=None, max_size=None, **options
        )
        return await self._contexts.enter_async_context(opening)

    async def browser(self, size: int = 1 << 20) -> Any:
        """A client whose messages have at most this size."""
        websocket = await self.websocket(origin="https://anywhere.example")

        async def write(data: bytes) -> None:
            for start in range(0, len(data), size):
                await websocket.send(data[start : start + size])

        client = self._client(write, websocket.recv)
        client.websocket = websocket
        await client.login()
        return client

    async def native(self) -> Any:
        client = await self._client.native(self.door.port, self._trust)
        self._contexts.callback(client.close)
        await client.login()
        return client


@pytest_asyncio.fixture(params=["plain", "tls"])
async def relay(request, relay_context, derp_client, tmp_path) -> AsyncIterator[RunningRelay]:
    tls = trust = None
    if request.param == "tls":
        certificate, key = ensure_certificate(tmp_path, ["localhost", "127.0.0.1"], int(time.time()))
        tls, trust = server_context(certificate, key), ssl.create_default_context(cafile=str(certificate))
    context = relay_context()
    service = RelayService(context)
    door = FrontDoor(application([DerpRoutes(context)]), [DerpUpgrade(context)], tls=tls)
    await door.start("127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as contexts:
        running = RunningRelay(door, trust, contexts, derp_client)
        running.service = service
        yield running
        await service.close()
    await door.close()


async def test_two_browsers_send_each_other_packets(relay):
    ann, ben = await relay.browser(), await relay.browser()
    await ann.send(ben, b"hello")
    assert await ben.frame() == (frames.RECV_PACKET, ann.name + b"hello")
    await ben.send(ann, b"hello yourself")
    assert await ann.frame() == (frames.RECV_PACKET, ben.name + b"hello yourself")


async def test_a_browser_and_a_native_client_send_each_other_packets(relay):
    ann, ben = await relay.browser(), await relay.native()
    await ann.send(ben, b"hello")
    assert await ben.frame() == (frames.RECV_PACKET, ann.name + b"hello")
    await ben.send(ann, b"hello yourself")
    assert await ann.frame() == (frames.RECV_PACKET, ben.name + b"hello yourself")


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_frames_may_be_cut_anywhere(relay, size):
    ann, ben = await relay.browser(size), await relay.native()
    sent = [os.urandom(100), b"", os.urandom(300)]
    for data in sent:
        await ann.send(ben, data)
    assert [(await ben.frame())[1][32:] for _ in sent] == sent


async def test_the_largest_packets_pass_in_any_number_and_in_order(relay):
    ann, ben = await relay.native(), await relay.browser()
    packets = [bytes([number]) * frames.MAX_DATA for number in range(3)]
    for round_ in range(10):
        for data in packets:
            await ann.send(ben, data)
        assert [(await ben.frame())[1][32:] for _ in packets] == packets, round_


async def test_a_ping_is_answered(relay):
    ann = await relay.browser()
    await ann.write(frames.frame(frames.PING, b"12345678"))
    assert await ann.frame() == (frames.PONG, b"12345678")


async def test_a_browser_that_leaves_is_gone_for_those_who_heard_it(relay):
    ann, ben = await relay.browser(), await relay.browser()
    await ann.send(ben, b"hello")
    await ben.frame()
    await ann.websocket.close()
    assert await ben.frame() == (frames.PEER_GONE, ann.name + bytes([frames.DISCONNECTED]))


async def test_a_browser_that_does_not_read_costs_itself_alone(relay):
    slow, ann, ben = await relay.browser(), await relay.native(), await relay.browser()
    slow.websocket.transport.pause_reading()
    for _ in range(200):
        await ann.send(slow, bytes(frames.MAX_DATA))
    await ann.send(ben, b"hello")
    assert await ben.frame() == (frames.RECV_PACKET, ann.name + b"hello")
    slow.websocket.transport.abort()


async def test_without_the_subprotocol_there_is_no_stream(relay):
    with pytest.raises(InvalidStatus) as answer:
        await connect(relay.url, ssl=relay._trust, proxy=None)
    assert answer.value.response.status_code == 403


async def test_compression_is_never_agreed_on(relay):
    async with connect(relay.url, ssl=relay._trust, proxy=None, subprotocols=["derp"]) as websocket:
        assert websocket.protocol.extensions == []


@pytest.mark.parametrize("rubbish", [bytes(5), b"\x02\xff\xff\xff\xff" + bytes(100), "text"])
async def test_rubbish_ends_the_stream(relay, rubbish):
    websocket = await relay.websocket()
    await websocket.recv()
    with pytest.raises(ConnectionClosed):  # noqa: PT012
        for _ in range(100):
            await websocket.send(rubbish)
            await asyncio.wait_for(websocket.recv(), 10)


async def test_a_relay_that_stops_says_goodbye(relay):
    ann = await relay.browser()
    await relay.service.close()
    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(ann.websocket.recv(), 10)
    assert closed.value.rcvd.code == 1001
