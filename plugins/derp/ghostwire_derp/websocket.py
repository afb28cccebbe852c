"""DERP over WebSockets, for browsers: the byte stream in binary messages whose boundaries mean nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from ghostwire import Buffer

SUBPROTOCOL = "derp"
MESSAGE_BYTES = 32 * 1024
"""What one message carries at most, either way: longer ones are taken piece by piece."""
MAX_WAITING = 4 * 1024 * 1024
"""Bytes that wait for a reader before he is given up, whatever the relay still wants to write."""
HIGH, LOW = 64 * 1024, 16 * 1024
CLOSE_PATIENCE = 1.0
"""Seconds for saying goodbye."""
UNSUPPORTED_DATA, GOING_AWAY = 1003, 1001
"""Codes of RFC 6455 section 7.4.1."""

Attach = Callable[[asyncio.Transport, str, bytes], asyncio.Protocol]
"""`Relay.attach`: owns a transport from this client, after these first bytes, and becomes its protocol."""


async def serve(websocket: WebSocket, attach: Attach) -> None:
    """Carry one client's stream until either side ends it; 403 where the client does not offer the subprotocol."""
    if SUBPROTOCOL not in websocket.scope["subprotocols"]:
        return await websocket.close()
    await websocket.accept(SUBPROTOCOL)
    client = websocket.client.host if websocket.client is not None else ""
    stream = WebSocketStream(websocket)
    attach(stream, client, b"")
    return await stream.run()


class WebSocketStream(asyncio.Transport):
    """A WebSocket as asyncio's transports are, with flow control both ways."""

    def __init__(self, websocket: WebSocket) -> None:
        super().__init__()
        self._websocket = websocket
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._reading, self._wake = asyncio.Event(), asyncio.Event()
        self._reading.set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: deque[Buffer] = deque()
        self._size = 0
        self._high, self._low = HIGH, LOW
        self._closing = self._full = False
        self._code = GOING_AWAY

    async def run(self) -> None:
        """Read and write until the end, and tell the protocol of it."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read()), group.create_task(self._write())]
                await asyncio.wait([*tasks, self._ended], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        finally:
            self.abort()
            self._protocol.connection_lost(None)
        await self._hang_up()

    async def _read(self) -> None:
        while True:
            await self._reading.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if not message.get("bytes"):
                if message.get("text") is None:
                    continue
                self._code = UNSUPPORTED_DATA
                return
            await self._deliver(message["bytes"])

    async def _deliver(self, data: bytes) -> None:
        for start in range(0, len(data), MESSAGE_BYTES):
            await self._reading.wait()
            self._receiver.data_received(data[start : start + MESSAGE_BYTES])

    async def _write(self) -> None:
        while not self._closing or self._waiting:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                message = self._next()
                try:
                    await self._websocket.send_bytes(message)
                except WebSocketDisconnect:
                    return
                self._sent(len(message))

    def _next(self) -> bytes:
        """As much of what waits as makes one message."""
        taken, size = [], 0
        while self._waiting and size < MESSAGE_BYTES:
            taken.append(memoryview(self._waiting.popleft()))
            size += len(taken[-1])
        if size > MESSAGE_BYTES:
            cut = len(taken[-1]) - (size - MESSAGE_BYTES)
            self._waiting.appendleft(taken[-1][cut:])
            taken[-1] = taken[-1][:cut]
        return b"".join(taken)

    def _sent(self, size: int) -> None:
        self._size -= size
        if self._full and self._size <= self._low:
            self._full = False
            self._protocol.resume_writing()

    async def _hang_up(self) -> None:
        """Say goodbye to who is still there; one who does not read is left to the front door."""
        connected = WebSocketState.CONNECTED
        if self._websocket.client_state is connected and self._websocket.application_state is connected:
            with contextlib.suppress(WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(CLOSE_PATIENCE):
                    await self._websocket.close(self._code)

    @property
    def _receiver(self) -> asyncio.Protocol:
        assert isinstance(self._protocol, asyncio.Protocol)
        return self._protocol

    # asyncio's transport

    def write(self, data: Buffer) -> None:
        """Send later; nothing is sent once the stream is closing."""
        if self._closing or not data:
            return
        self._waiting.append(bytes(data))
        self._size += len(data)
        self._wake.set()
        if self._size > MAX_WAITING:
            self.abort()
        elif self._size > self._high and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes written and not yet taken by the WebSocket."""
        return self._size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told to pause, and to go on."""
        self._high = HIGH if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        """Deliver nothing more; the client is held up once its connection is full."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Deliver again, unless the stream has ended."""
        if not self._closing:
            self._reading.set()

    def is_reading(self) -> bool:
        """Whether data is delivered."""
        return self._reading.is_set()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who gets what arrives."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what arrives."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether the stream has ended, or ends once all is sent."""
        return self._closing

    def close(self) -> None:
        """End once all is sent; harmless when called twice."""
        self._closing = True
        self._reading.clear()
        self._wake.set()

    def abort(self) -> None:
        """End now; harmless when called twice."""
        self.close()
        self._waiting.clear()
        if not self._ended.done():
            self._ended.set_result(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The client as ``peername``; there is no socket to take."""
        client = self._websocket.client
        return (client.host, client.port) if name == "peername" and client is not None else default
