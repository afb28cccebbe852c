"""A plain TCP balancer: each connection to the next server that takes it. Who they are is none of its business."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress


class Balancer:
    """On ``port`` of the loopback. It connects from many addresses of it, as clients of many networks would."""

    def __init__(self, backends: Sequence[int]) -> None:
        self.backends = list(backends)
        self.port = 0
        self._turn, self._address = itertools.count(), itertools.count()
        self._open: set[asyncio.StreamWriter] = set()
        self._served: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End it and all that goes through it."""
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._served)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            found = await self._connect()
            if found is None:
                return
            behind, back = found
            self._open.add(back)
            try:
                await asyncio.gather(_pump(reader, back), _pump(behind, writer))
            finally:
                self._open.discard(back)
                back.transport.abort()
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first, address = next(self._turn), next(self._address)
        own = f"127.{10 + address % 200}.{address // 200 % 250}.1"
        for place in range(len(self.backends)):
            port = self.backends[(first + place) % len(self.backends)]
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on until either side ends, which ends both."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
