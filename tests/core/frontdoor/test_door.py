"""One port: HTTP and raw streams behind it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ghostwire.errors import PlatformError
from ghostwire.frontdoor import FrontDoor, listener
from ghostwire.frontdoor.guard import MAX_BODY

MakeClient = Any
ABOUT = "GET /about HTTP/1.1\nHost: h"
ECHO = "GET /x?y=1 HTTP/1.1\nHost: h\nX-A: 1\nX-A: 2\nConnection: keep-alive, Upgrade\nUpgrade: echo"


async def test_plain_requests_reach_the_app(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    status, body = await peer.ask("POST /about HTTP/1.1\nHost: h\nContent-Length: 2", b"hi")
    assert (status, json.loads(body)) == (200, {"admin": False, "uid": None, "body": "hi"})
    peer.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_every_address_means_those_of_ipv6_too_on_the_same_port(app: Any, address: str) -> None:
    door = FrontDoor(app)
    await door.start("0.0.0.0", 0)
    _, writer = await asyncio.open_connection(address, door.port)
    writer.close()
    await door.close()


async def test_without_ipv6_every_address_means_those_of_ipv4(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = listener._bound

    def without(family: socket.AddressFamily, *about: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return bound(family, *about)

    monkeypatch.setattr(listener, "_bound", without)
    door = FrontDoor(app)
    await door.start("0.0.0.0", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.close()
    await door.close()


async def test_a_kept_alive_connection_serves_one_request_after_another(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    for _ in range(3):
        assert (await peer.ask(ABOUT))[0] == 200
    peer.close()


async def test_pipelined_requests_are_answered_in_order(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    peer.writer.write(b"GET /about HTTP/1.1\r\nHost: h\r\n\r\nGET /none HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [(await peer.answer())[0], (await peer.answer())[0]] == [200, 404]
    peer.close()


async def test_a_head_in_single_bytes_is_understood(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    for byte in b"GET /about HTTP/1.1\r\nHost: h\r\n\r\n":
        peer.writer.write(bytes([byte]))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.answer())[0] == 200
    peer.close()


async def test_a_known_upgrade_gets_the_raw_stream(door: FrontDoor, echo: Any, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    assert (await peer.ask(ECHO, b"early"))[0] == 101
    assert await peer.reader.readexactly(5) == b"early"
    peer.writer.write(b"\x00raw\xff")
    assert await peer.reader.readexactly(5) == b"\x00raw\xff"
    (head,) = echo.heads
    assert (head.method, head.target, head.client) == ("GET", "/x?y=1", "127.0.0.1")
    assert head.headers["x-a"] == "1, 2"
    assert door._backend.admission.count == 0
    peer.close()


async def test_a_kept_alive_connection_can_be_upgraded(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    assert (await peer.ask(ABOUT))[0] == 200
    assert (await peer.ask(ECHO, b"x"))[0] == 101
    assert await peer.reader.readexactly(1) == b"x"
    peer.close()


async def test_an_upgrade_behind_a_pipelined_request_waits_for_its_answer(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    peer.writer.write(b"GET /about HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await peer.ask(ECHO, b"x"))[0] == 200
    assert (await peer.answer())[0] == 101
    assert await peer.reader.readexactly(1) == b"x"
    peer.close()


@pytest.mark.parametrize(
    "head",
    [
        ABOUT + "\nConnection: upgrade\nUpgrade: websocket",
        ABOUT + "\nConnection: upgrade, http2-settings\nUpgrade: h2c",
        ABOUT + "\nUpgrade: echo",
        ABOUT + "\nConnection: upgrade",
        "POST /about HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: echo\nContent-Length: 2",
        "GET /about HTTP/1.0\nHost: h\nConnection: upgrade\nUpgrade: echo",
    ],
)
async def test_every_other_upgrade_falls_through_to_the_app(
    door: FrontDoor, echo: Any, client: MakeClient, head: str
) -> None:
    peer = await client.tcp(door.port)
    assert (await peer.ask(head, b"hi"))[0] == 200
    assert echo.heads == []
    peer.close()


async def test_several_tokens_are_tried_in_order(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    assert (await peer.ask("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: what, ECHO"))[0] == 101
    peer.close()


async def test_a_head_that_is_too_long_is_refused(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    peer.writer.write(b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000)
    assert (await peer.answer())[0] == 400
    peer.close()


async def test_what_is_no_http_is_answered_400(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    status, body = await peer.ask("SSH-2.0-OpenSSH")
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad-request")
    peer.close()


async def test_garbage_in_a_body_under_way_only_ends_its_connection(
    door: FrontDoor, client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await client.tcp(door.port)
    peer.writer.write(b"POST /about HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    await peer.writer.drain()
    peer.writer.write(b"garbage\r\n")
    assert await peer.rest() == b""
    assert caplog.records == []


async def test_a_slow_head_is_answered_408(
    door: FrontDoor, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.protocol.HEAD_TIMEOUT", 0.1)
    for begun in (b"", b"GET / HT"):
        peer = await client.tcp(door.port)
        peer.writer.write(begun)
        assert b"HTTP/1.1 408" in await peer.rest()
        peer.close()


async def test_a_slow_second_head_is_answered_408(
    door: FrontDoor, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.protocol.HEAD_TIMEOUT", 0.1)
    peer = await client.tcp(door.port)
    assert (await peer.ask(ABOUT))[0] == 200
    peer.writer.write(b"GET /about")
    assert b"HTTP/1.1 408" in await peer.rest()
    peer.close()


async def test_a_slow_body_ends_its_connection(
    door: FrontDoor, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.protocol.BODY_TIMEOUT", 0.1)
    peer = await client.tcp(door.port)
    peer.writer.write(b"POST /about HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
    assert await peer.rest() == b""


@pytest.mark.parametrize("head", [f"Content-Length: {3 * MAX_BODY}", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_too_large_is_answered_413(door: FrontDoor, client: MakeClient, head: str) -> None:
    peer = await client.tcp(door.port)
    peer.writer.write(f"POST /about HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n".encode())
    chunk = b"x" * 0x8000
    for _ in range(MAX_BODY // len(chunk) + 1):
        peer.writer.write(b"8000\r\n%s\r\n" % chunk if "chunked" in head else chunk)
    assert (await peer.answer())[0] == 413
    if "chunked" in head:
        assert (await peer.ask("0\n\n" + ABOUT))[0] == 200
    peer.close()


async def test_a_body_that_comes_slowly_after_its_answer_gets_no_second_one(
    door: FrontDoor, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.protocol.BODY_TIMEOUT", 0.2)
    peer = await client.tcp(door.port)
    assert (await peer.ask("POST /slow HTTP/1.1\nHost: h\nContent-Length: 9"))[0] == 405
    peer.writer.write(b"abc")
    assert await peer.rest() == b""


async def test_an_upgraded_stream_is_not_timed_out(
    door: FrontDoor, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.protocol.HEAD_TIMEOUT", 0.05)
    peer = await client.tcp(door.port)
    assert (await peer.ask(ECHO))[0] == 101
    await asyncio.sleep(0.15)
    peer.writer.write(b"still here")
    assert await peer.reader.readexactly(10) == b"still here"
    peer.close()


async def test_one_address_has_only_so_many_connections(door: FrontDoor, client: MakeClient) -> None:
    door._backend.admission.per_address = 2
    first, second, third = [await client.tcp(door.port) for _ in range(3)]
    assert await third.rest() == b""
    first.close()
    await first.writer.wait_closed()
    assert (await second.ask(ABOUT))[0] == 200
    fourth = await client.tcp(door.port)
    assert (await fourth.ask(ABOUT))[0] == 200
    for peer in (second, fourth):
        peer.close()


async def test_clients_that_keep_us_waiting_make_room_for_others(door: FrontDoor, client: MakeClient) -> None:
    door._backend.admission.total = 3
    silent, slow, asking = [await client.tcp(door.port) for _ in range(3)]
    slow.writer.write(b"POST /about HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
    asking.writer.write(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"begin" in await asking.reader.readuntil(b"begin ")
    newer = [await client.tcp(door.port)]
    for waiting in (silent, slow, newer[0]):
        assert (await newer[-1].ask(ABOUT))[0] == 200
        assert await waiting.rest() == b""
        newer.append(await client.tcp(door.port))
    assert b"end" in await asking.reader.readuntil(b"end")
    assert door._backend.admission.count == 3
    for each in (asking, *newer):
        each.close()


async def test_a_bug_in_the_app_is_answered_500(door: FrontDoor, client: MakeClient) -> None:
    logging.getLogger("ghostwire.frontdoor.http").disabled = True
    peer = await client.tcp(door.port)
    status, body = await peer.ask("GET /broken HTTP/1.1\nHost: h")
    logging.getLogger("ghostwire.frontdoor.http").disabled = False
    assert status == 500
    assert b"Traceback" not in body
    peer.close()


async def test_answers_carry_the_date_and_no_advertisement(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    peer.writer.write(b"GET /about HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    answer = await peer.rest()
    assert b"\r\ndate: " in answer
    assert b"uvicorn" not in answer


@pytest.fixture
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_tls_carries_requests_and_upgrades(
    app: Any, echo: Any, tls: ssl.SSLContext, client: MakeClient, trusting: ssl.SSLContext
) -> None:
    door = FrontDoor(app, [echo], tls=tls)
    await door.start("127.0.0.1", 0)
    peer = await client.tcp(door.port, ssl=trusting)
    assert peer.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    assert (await peer.ask(ABOUT))[0] == 200
    assert (await peer.ask(ECHO, b"x"))[0] == 101
    assert await peer.reader.readexactly(1) == b"x"
    peer.close()
    await door.close()


@pytest_asyncio.fixture
async def sealed(app: Any, tls: ssl.SSLContext) -> AsyncIterator[FrontDoor]:
    door = FrontDoor(app, tls=tls)
    await door.start("127.0.0.1", 0)
    yield door
    await door.close()


async def test_one_address_has_only_so_many_tls_handshakes(
    sealed: FrontDoor, client: MakeClient, trusting: ssl.SSLContext
) -> None:
    (listener,) = sealed._listeners
    listener.admission.per_address = 2
    silent, garbled, third = [await client.tcp(sealed.port) for _ in range(3)]
    assert await third.rest() == b""
    garbled.writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await garbled.rest()
    peer = await client.tcp(sealed.port, ssl=trusting)
    assert (await peer.ask(ABOUT))[0] == 200
    assert listener.admission.count == 1
    for each in (silent, peer):
        each.close()


async def test_handshakes_that_take_long_make_room_for_others(
    sealed: FrontDoor, client: MakeClient, trusting: ssl.SSLContext
) -> None:
    (listener,) = sealed._listeners
    listener.admission.total = 2
    first, second = [await client.tcp(sealed.port) for _ in range(2)]
    while listener.admission.count < 2:
        await asyncio.sleep(0)
    peer = await client.tcp(sealed.port, ssl=trusting)
    assert (await peer.ask(ABOUT))[0] == 200
    assert await first.rest() == b""
    assert listener.admission.count == 1
    for each in (second, peer):
        each.close()


async def test_a_tls_handshake_has_its_time(
    sealed: FrontDoor, client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ghostwire.frontdoor.listener.TLS_TIMEOUT", 0.1)
    silent = await client.tcp(sealed.port)
    assert await silent.rest() == b""
    assert sealed._listeners[0].admission.count == 0
    assert caplog.records == []


async def test_a_closing_door_gives_up_tls_handshakes(sealed: FrontDoor, client: MakeClient) -> None:
    silent = await client.tcp(sealed.port)
    while not sealed._listeners[0].admission.count:
        await asyncio.sleep(0)
    await sealed.close()
    assert await silent.rest() == b""


async def test_without_descriptors_a_tls_door_pauses_and_goes_on(
    sealed: FrontDoor,
    client: MakeClient,
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Exhausted:
        def __init__(self, real: socket.socket) -> None:
            self.fileno = real.fileno

        def accept(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("ghostwire.frontdoor.listener.PAUSE", 0.2)
    (listener,) = sealed._listeners
    real = listener._socket
    monkeypatch.setattr(listener, "_socket", Exhausted(real))
    coming = asyncio.create_task(client.tcp(sealed.port, ssl=trusting))
    while not caplog.records:
        await asyncio.sleep(0.01)
    monkeypatch.setattr(listener, "_socket", real)
    peer = await coming
    assert (await peer.ask(ABOUT))[0] == 200
    assert [record.getMessage() for record in caplog.records] == ["cannot accept connections: Too many open files"]
    peer.close()


async def test_a_port_in_use_is_named(door: FrontDoor, app: Any) -> None:
    with pytest.raises(PlatformError, match=rf"port {door.port} on 127\.0\.0\.1 is in use; stop"):
        await FrontDoor(app).start("127.0.0.1", door.port)


async def test_only_doors_that_share_a_port_may_have_it_together(app: Any) -> None:
    one, other, lone = FrontDoor(app), FrontDoor(app), FrontDoor(app)
    await one.start("127.0.0.1", 0, shared=True)
    await other.start("127.0.0.1", one.port, shared=True)
    with pytest.raises(PlatformError, match="is in use"):
        await lone.start("127.0.0.1", one.port)
    for door in (one, other):
        await door.close()


async def test_an_address_of_another_machine_is_named(app: Any) -> None:
    with pytest.raises(PlatformError, match="no such address on this machine"):
        await FrontDoor(app).start("192.0.2.77", 0)


async def test_close_lets_an_answer_finish(door: FrontDoor, client: MakeClient) -> None:
    peer = await client.tcp(door.port)
    idle = await client.tcp(door.port)
    peer.writer.write(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    await peer.reader.readuntil(b"begin ")
    await door.close()
    assert b"end" in await peer.rest()
    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await client.tcp(door.port)
    await door.close()


async def test_signals_and_logging_stay_as_they_were(app: Any, client: MakeClient) -> None:
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handlers = list(logging.getLogger().handlers), list(logging.getLogger("uvicorn").handlers)
    door = FrontDoor(app)
    await door.start("127.0.0.1", 0)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == signals
    assert (logging.getLogger().handlers, logging.getLogger("uvicorn").handlers) == handlers
    await door.close()
