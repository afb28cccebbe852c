"""Both event loops, and a proxy by hand."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import h11
import pytest
import uvloop

from ghostwire.frontdoor.certificate import ensure_certificate


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for relay.example and 127.0.0.1, and its key."""
    return ensure_certificate(tmp_path_factory.mktemp("tls"), ["relay.example", "127.0.0.1"], int(time.time()))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own environment says."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


class ConnectProxy:
    """Passes every CONNECT on to ``port`` of this machine, or answers with ``answer`` instead."""

    def __init__(self, port: int = 0, answer: bytes | None = None) -> None:
        self._target, self._answer = port, answer
        self.heads: list[h11.Request] = []
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None) -> ConnectProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(65536))
        if not isinstance(event, h11.Request):
            return writer.close()
        self.heads.append(event)
        if self._answer is None:
            writer.write(http.send(h11.Response(status_code=200, headers=[], reason=b"Connection established")) or b"")
            return await self._splice(reader, writer)
        writer.write(self._answer)
        return writer.close() if self._answer else None

    async def _splice(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture
def proxies() -> type[ConnectProxy]:
    return ConnectProxy
