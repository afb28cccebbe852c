"""A front door on loopback, with an app, a control upgrade and an echoing upgrade behind it; on both event loops."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from ghostwire import RequestHead, StreamUpgrade
from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.answers import switching
from ghostwire.frontdoor.certificate import ensure_certificate, server_context


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoUpgrade(StreamUpgrade):
    token = "Echo"  # compared in lower case

    def __init__(self) -> None:
        self.heads: list[RequestHead] = []

    def take(self, head: RequestHead, transport: asyncio.Transport, rest: bytes) -> None:
        self.heads.append(head)
        protocol = Echo(transport)
        transport.set_protocol(protocol)
        transport.write(switching(self.token))
        if rest:
            protocol.data_received(rest)


async def about(request: Request) -> JSONResponse:
    body = (await request.body()).decode()
    return JSONResponse({"admin": request.state.admin, "uid": getattr(request.state, "uid", None), "body": body})


async def slow(request: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"begin "
        await asyncio.sleep(0.2)
        yield b"end"

    return StreamingResponse(parts())


async def broken(request: Request) -> JSONResponse:
    raise RuntimeError("a bug")


@pytest.fixture
def app() -> Starlette:
    routes = [Route("/about", about, methods=["GET", "POST"]), Route("/slow", slow), Route("/broken", broken)]
    return Starlette(routes=routes)


@pytest.fixture
def echo() -> EchoUpgrade:
    return EchoUpgrade()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    return server_context(*ensure_certificate(folder, ["localhost", "127.0.0.1"], int(time.time())))


@pytest_asyncio.fixture
async def door(app: Starlette, echo: EchoUpgrade) -> AsyncIterator[FrontDoor]:
    door = FrontDoor(app, [echo])
    await door.start("127.0.0.1", 0)
    yield door
    await door.close()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Short enough for a Unix socket whatever pytest calls the folder."""
    path = Path(f"/tmp/ghostwire-{os.getpid()}-{abs(hash(str(tmp_path))) % 10**8}.sock")
    path.unlink(missing_ok=True)
    return path


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def tcp(cls, port: int, **options: Any) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))

    @classmethod
    async def unix(cls, path: Path) -> Client:
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, request: str, body: bytes = b"") -> tuple[int, bytes]:
        """(status, body) of the answer to these head lines."""
        self.writer.write(request.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        status, lines = int(head.split()[1]), head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        return status, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
def client() -> type[Client]:
    return Client
