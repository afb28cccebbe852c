"""The local API over a real Unix socket."""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.errors import (
    Conflict,
    NotFound,
    PlatformError,
    Refused,
    Unavailable,
    UsageError,
)
from ghostwire.node import localapi
from ghostwire.node.exchange import MAX_BODY
from ghostwire.node.localapi import LocalApi

US = frozenset({os.geteuid()})
LOG = logging.getLogger("test")
ERRORS = {
    "/usage": UsageError("what?"),
    "/missing": NotFound("nobody"),
    "/conflict": Conflict("taken"),
    "/refused": Refused("no", "login-required"),
    "/away": Unavailable("away"),
    "/platform": PlatformError("no TUN"),
    "/bug": ZeroDivisionError("secret detail"),
}


async def echo(body: bytes) -> Any:
    return {"got": body.decode()}


def failing(error: Exception) -> Any:
    async def handler(body: bytes) -> Any:
        raise error

    return handler


ROUTES = {("POST", "/echo"): echo, **{("GET", path): failing(error) for path, error in ERRORS.items()}}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Path]:
    """The socket of a running API."""
    path = tmp_path / "node.sock"
    served = LocalApi(path, ROUTES, US, LOG)
    await served.start()
    yield path
    await served.close()
    assert not path.exists()


async def talk(path: Path, data: bytes) -> tuple[int, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(body)


async def ask(path: Path, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
    head = f"{method} {target} HTTP/1.1\r\nHost: node\r\nContent-Length: {len(body)}\r\n\r\n"
    return await talk(path, head.encode() + body)


async def test_a_request_reaches_its_handler_and_the_answer_comes_back(api: Path) -> None:
    assert await ask(api, "POST", "/echo?x=1", b"hello") == (200, {"got": "hello"})


async def test_a_body_in_pieces_and_with_expect_is_taken(api: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(api))
    writer.write(b"POST /echo HTTP/1.1\r\nHost: n\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(b"he")
    await writer.drain()
    writer.write(b"y!")
    assert (await reader.read()).endswith(b'{"got":"hey!"}')
    writer.close()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/usage", 400, "usage"),
        ("/missing", 404, "not-found"),
        ("/conflict", 409, "conflict"),
        ("/refused", 400, "login-required"),
        ("/away", 503, "unavailable"),
        ("/platform", 500, "platform"),
    ],
)
async def test_errors_have_a_status_a_code_and_one_line(api: Path, path: str, status: int, code: str) -> None:
    assert await ask(api, "GET", path) == (status, {"error": {"code": code, "message": str(ERRORS[path])}})


async def test_a_bug_is_logged_and_shows_no_detail(api: Path, caplog: pytest.LogCaptureFixture) -> None:
    status, answer = await ask(api, "GET", "/bug")
    assert (status, answer["error"]["code"]) == (500, "internal")
    assert "secret detail" not in json.dumps(answer)
    assert "secret detail" in caplog.text


async def test_unknown_routes_and_methods_are_told_apart(api: Path) -> None:
    assert (await ask(api, "GET", "/nothing"))[0] == 404
    assert (await ask(api, "GET", "/echo"))[0] == 405


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\nHost: n\r\nX: " + b"x" * 40_000, 431),
        (b"POST /echo HTTP/1.1\r\nHost: n\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99_999, 413),
    ],
)
async def test_malformed_and_oversized_requests_are_refused(api: Path, data: bytes, status: int) -> None:
    assert (await talk(api, data))[0] == status
    assert await ask(api, "POST", "/echo", b"x" * MAX_BODY) == (200, {"got": "x" * MAX_BODY})


async def test_a_client_that_says_nothing_is_let_go(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostwire.node.exchange.REQUEST_TIMEOUT", 0.05)
    reader, writer = await asyncio.open_unix_connection(str(api))
    writer.write(b"POST /echo HT")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_client_that_leaves_early_harms_nobody(api: Path) -> None:
    for data in (b"", b"POST /echo HTTP/1.1\r\nHost: n\r\nContent-Length: 9\r\n\r\nhalf"):
        _, writer = await asyncio.open_unix_connection(str(api))
        writer.write(data)
        writer.close()
        await writer.wait_closed()
    assert (await ask(api, "POST", "/echo"))[0] == 200


async def test_who_is_neither_root_nor_operator_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    served = LocalApi(path, ROUTES, frozenset({os.geteuid() + 1}), LOG)
    await served.start()
    status, answer = await ask(path, "POST", "/echo", b"let me in")
    assert (status, answer["error"]["code"]) == (403, "permission-denied")
    await served.close()


async def test_one_user_has_a_limited_number_of_connections(api: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localapi, "MAX_CLIENTS", 3)
    held = [await asyncio.open_unix_connection(str(api)) for _ in range(3)]
    with pytest.raises((ConnectionError, IndexError)):  # cut off without an answer
        await ask(api, "POST", "/echo")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    while True:  # until the API has seen them leave
        with contextlib.suppress(ConnectionError, IndexError):
            assert (await ask(api, "POST", "/echo"))[0] == 200
            break


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    served = LocalApi(path, ROUTES, US, LOG)
    await served.start()
    assert (await ask(path, "POST", "/echo"))[0] == 200
    await served.close()


async def test_a_socket_that_is_served_is_not_taken_over(api: Path) -> None:
    with pytest.raises(PlatformError, match="another server is running there"):
        await LocalApi(api, ROUTES, US, LOG).start()
    assert (await ask(api, "POST", "/echo"))[0] == 200


async def test_a_path_that_cannot_be_a_socket_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "node.sock", tmp_path / ("x" * 200)):
        with pytest.raises(PlatformError, match="--state"):
            await LocalApi(path, ROUTES, US, LOG).start()


async def test_closing_ends_what_goes_on(tmp_path: Path) -> None:
    async def forever(body: bytes) -> Any:
        await asyncio.Event().wait()

    path = tmp_path / "node.sock"
    served = LocalApi(path, {("GET", "/wait"): forever}, US, LOG)
    await served.start()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET /wait HTTP/1.1\r\nHost: n\r\n\r\n")
    await writer.drain()
    while not served._clients:
        await asyncio.sleep(0)
    await served.close()
    await served.close()
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
