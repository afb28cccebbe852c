"""Whatever strangers send: an answer from 400 to 499, or a hang-up, never a fault of ours; and bounded memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire import RequestHead, StreamUpgrade
from ghostwire.frontdoor import FrontDoor
from ghostwire.testing import Network, simulate

TOKENS = st.sampled_from(
    [
        *(b"GET", b"POST", b" ", b"/", b"/x?y", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n", b"\r", b": "),
        *(b"Host: h", b"Connection: upgrade", b"Upgrade: echo", b"Upgrade: " + b"a," * 999, b"Content-Length: 5"),
        *(b"Content-Length: -1", b"Content-Length: 5, 6", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
        *(b"Expect: 100-continue", b"5\r\nhello\r\n", b"0\r\n\r\n", b"ffffffffffffffffff\r\n", b"\x00", b"\xff\xfe"),
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"X: " + b"y" * 70_000, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]
)
CHUNKS = st.lists(st.lists(TOKENS | st.binary(max_size=20), max_size=12).map(b"".join), max_size=6)


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Taker(StreamUpgrade):
    token = "echo"

    def take(self, head: RequestHead, transport: asyncio.Transport, rest: bytes) -> None:
        transport.close()


class Stranger(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data


async def converse(chunks: list[bytes]) -> bytes:
    network = Network(seed=1)
    server, host = network.host("server", "192.0.2.1"), network.host("stranger", "192.0.2.2")
    door = FrontDoor(app, [Taker()])
    server.listen(80, door.protocol_factory())
    transport, stranger = await host.sockets.connect(Stranger, "server", 80)
    for chunk in chunks:
        transport.write(chunk)
        await asyncio.sleep(0.01)
    await asyncio.sleep(200)
    assert door._backend.state.connections == set()
    assert door._backend.admission.count == 0
    return stranger.heard


@settings(max_examples=150, deadline=None)
@given(CHUNKS)
def test_random_requests_are_answered_or_hung_up_on(chunks: list[bytes]) -> None:
    heard = simulate(lambda: converse(chunks))
    if heard:
        assert heard.startswith((b"HTTP/1.1 4", b"HTTP/1.1 100"))
    assert b"HTTP/1.1 5" not in heard


@pytest.mark.parametrize("step", [b"x", b"x" * 1000])
def test_an_endless_head_is_cut_at_64_kib(step: bytes) -> None:
    heard = simulate(lambda: converse([b"GET /", *([step * (100_000 // len(step) // 100)] * 100)]))
    assert heard.startswith(b"HTTP/1.1 400")
