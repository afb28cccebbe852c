"""Doubles of what the program gives to a relay protocol."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio
import uvloop
from nacl.public import Box
from nacl.public import PrivateKey as BoxKey
from nacl.public import PublicKey as BoxPublicKey

from ghostwire import Load, Metrics, RelayContext, Relaying, ServerContext, Siblings, Sockets
from ghostwire.engine import Clock
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import Relay
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire_derp import frames
from ghostwire_derp.relay.shared import drop_relay
from ghostwire_derp.settings import Settings
from ghostwire_derp.stun import StunService

HERE = Path(__file__).parent


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What is here and not in a folder below runs on both event loops."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.parent == HERE else {"asyncio": asyncio.new_event_loop}


class OpenRelaying(Relaying):
    """Admits everybody, and remembers what is announced."""

    budget = 0

    def __init__(self, *, first: bool = True) -> None:
        self.private_key = PrivateKey.generate()
        self.first = first
        self.announced: list[int] = []

    def admits(self, key: NodeKey) -> bool:
        return True

    def on_removed(self, removed: Callable[[Sequence[NodeKey]], None]) -> None:
        pass

    @property
    def siblings(self) -> Siblings:
        return Siblings()

    def on_siblings(self, changed: Callable[[], None]) -> None:
        pass

    def announce(self, *, stun_port: int) -> None:
        self.announced.append(stun_port)

    def measure(self, load: Callable[[], Load]) -> None:
        pass


MakeContext = Callable[..., RelayContext]


@pytest.fixture
def relay_context(tmp_path: Path) -> Iterator[MakeContext]:
    """``relay_context(first=.., clock=.., sockets=.., **settings)`` is the context of a relay that admits everybody."""

    made: list[RelayContext] = []

    def make(
        *, first: bool = True, clock: Clock | None = None, sockets: Sockets | None = None, **settings: Any
    ) -> RelayContext:
        context = RelayContext(
            settings=Settings(**settings),
            clock=clock or SystemClock(),
            entropy=os.urandom,
            metrics=Metrics(),
            log=logging.getLogger("ghostwire.plugin.derp"),
            sockets=sockets or SystemSockets(),
            state=tmp_path,
            relaying=OpenRelaying(first=first),
        )
        made.append(context)
        return context

    yield make
    for context in made:
        drop_relay(context.relaying)


class StunClient:
    """A UDP socket that only hears the address it asks."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, port))

    async def ask(self, datagram: bytes) -> bytes:
        self.socket.send(datagram)
        return await self.receive()

    async def receive(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 2000), 5)

    @property
    def address(self) -> tuple[str, int]:
        host, port, *_ = self.socket.getsockname()
        return host, port


@pytest.fixture
def stun_client() -> Iterator[Callable[[str, int], StunClient]]:
    """``stun_client(host, port)`` is a client of a STUN server there."""
    clients: list[StunClient] = []

    def make(host: str, port: int) -> StunClient:
        clients.append(StunClient(host, port))
        return clients[-1]

    yield make
    for client in clients:
        client.socket.close()


class RunningStun:
    """A STUN server, the context it was given and the port it announced."""

    def __init__(self, context: RelayContext) -> None:
        self.context, self.service = context, StunService(context)

    @property
    def port(self) -> int:
        (port,) = self.context.relaying.announced  # type: ignore[attr-defined]
        return int(port)

    @property
    def metrics(self) -> dict[str, float]:
        return self.context.metrics.values()


@pytest_asyncio.fixture
async def stun_service(relay_context: MakeContext) -> AsyncIterator[RunningStun]:
    """A STUN server on every address of this machine."""
    running = RunningStun(relay_context(stun="0.0.0.0:0"))
    await running.service.start()
    yield running
    await running.service.close()
    await running.service.close()


class SmallMesh:
    """A mesh of a few keys and relays."""

    def __init__(self) -> None:
        self.admitted: set[NodeKey] = set()
        self.relays: list[Relay] = []

    def list(self, kind: type[Any]) -> Sequence[Any]:
        return list(self.relays) if kind is Relay else []

    async def write(self, work: Callable[[Any], Any]) -> Any:
        raise AssertionError("nothing is to be written")

    def admits(self, key: NodeKey) -> bool:
        return key in self.admitted


@pytest.fixture
def server_context(relay_context: MakeContext) -> Callable[..., ServerContext]:
    """``server_context(mesh=.., **options)`` is the context of a coordination server with a `SmallMesh`."""

    def make(*, mesh: SmallMesh | None = None, **options: Any) -> ServerContext:
        base = relay_context(**options)
        fields = {name: getattr(base, name) for name in base.__struct_fields__}
        unused = dict.fromkeys(set(ServerContext.__struct_fields__) - fields.keys())
        return ServerContext(**{**unused, **fields, "join_token": lambda secret: secret, "mesh": mesh or SmallMesh()})

    return make


class DerpClient:
    """A DERP client over any byte stream."""

    def __init__(self, write: Callable[[bytes], Awaitable[None]], read: Callable[[], Awaitable[bytes]]) -> None:
        self.key = BoxKey.generate()
        self.name = bytes(self.key.public_key)
        self.write, self._read, self._buffer = write, read, b""
        self.close: Callable[[], None] = lambda: None

    @classmethod
    async def native(cls, port: int, trust: ssl.SSLContext | None = None) -> Self:
        """Over TCP, after the HTTP Upgrade."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        writer.write(b"GET /derp HTTP/1.1\r\nhost: relay\r\nconnection: Upgrade\r\nupgrade: DERP\r\n\r\n")
        assert b"101" in await reader.readuntil(b"\r\n\r\n")

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        client = cls(write, lambda: reader.read(65536))
        client.close = writer.close
        return client

    async def frame(self) -> tuple[int, bytes]:
        while len(self._buffer) < 5 or len(self._buffer) < 5 + int.from_bytes(self._buffer[1:5], "big"):
            data = await asyncio.wait_for(self._read(), 10)
            assert data, "the stream ended"
            self._buffer += data
        kind, length = frames.header.unpack_from(self._buffer)
        payload, self._buffer = self._buffer[5 : 5 + length], self._buffer[5 + length :]
        return kind, payload

    async def login(self) -> None:
        kind, payload = await self.frame()
        assert (kind, payload[:8]) == (frames.SERVER_KEY, frames.MAGIC)
        box = Box(self.key, BoxPublicKey(payload[8:40]))
        info = bytes(box.encrypt(json.dumps({"version": 2, "CanAckPings": True}).encode()))
        await self.write(frames.frame(frames.CLIENT_INFO, self.name + info))
        kind, payload = await self.frame()
        assert kind == frames.SERVER_INFO
        assert json.loads(box.decrypt(payload))["version"] == 2

    async def send(self, to: DerpClient, data: bytes) -> None:
        await self.write(frames.frame(frames.SEND_PACKET, to.name + data))


@pytest.fixture
def derp_client() -> type[DerpClient]:
    """The class of a DERP client."""
    return DerpClient
