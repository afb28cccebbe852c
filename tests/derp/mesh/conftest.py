"""Relays of one region on loopback, and clients that speak DERP and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from ghostwire import Siblings
from ghostwire.config import Config, RelayConfig
from ghostwire.folders import Folders
from ghostwire.keys import PrivateKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire.plugins.host import Host
from ghostwire.plugins.selection import Selection
from ghostwire.relay.program import Order, RelayProgram
from ghostwire.wire.box import Box
from ghostwire_derp import frames

MESH_KEY = b"\x5a" * 32
PATIENCE = 10.0


class Client:
    """A node at a relay: what it receives is (kind, payload)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: PrivateKey) -> None:
        self._reader, self._writer, self.private = reader, writer, key
        self.key = key.public_raw

    @classmethod
    async def connect(cls, port: int, *, key: PrivateKey | None = None, host: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /derp HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        client = cls(reader, writer, key or PrivateKey.generate())
        await client.log_in()
        return client

    async def log_in(self) -> None:
        kind, greeting = await self.receive()
        assert kind == frames.SERVER_KEY
        box = Box(self.private, greeting[8:40])
        info = msgspec.json.encode({"version": 2, "CanAckPings": True})
        self.say(frames.CLIENT_INFO, self.key + box.seal(info, lambda size: bytes(size)))
        kind, sealed = await self.receive()
        assert kind == frames.SERVER_INFO
        box.open(sealed)

    def say(self, kind: int, payload: bytes) -> None:
        self._writer.write(frames.frame(kind, payload))

    def send(self, to: Client, data: bytes) -> None:
        self.say(frames.SEND_PACKET, to.key + data)

    async def receive(self) -> tuple[int, bytes]:
        async with asyncio.timeout(PATIENCE):
            kind, size = frames.header.unpack(await self._reader.readexactly(frames.HEADER_BYTES))
            return kind, await self._reader.readexactly(size)

    async def packet(self) -> tuple[bytes, bytes]:
        """The next packet: source and data."""
        while True:
            kind, payload = await self.receive()
            if kind == frames.RECV_PACKET:
                return payload[:32], payload[32:]

    async def gone(self) -> bytes:
        """The key of the next PeerGone."""
        while True:
            kind, payload = await self.receive()
            if kind == frames.PEER_GONE:
                return payload[:32]

    async def ended(self) -> None:
        """Wait until the relay has closed the stream."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self.receive()

    async def reach(self, to: Client) -> None:
        """Send until it arrives: relays tell each other of clients in their own time."""
        async with asyncio.timeout(PATIENCE):
            coming = asyncio.ensure_future(to.packet())
            while not coming.done():
                self.send(to, b"hello")
                await asyncio.wait([coming], timeout=0.02)
            assert await coming == (self.key, b"hello")

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Region:
    """Relays that know each other."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._closing = folder, contextlib.AsyncExitStack()
        self.relays: list[RelayProgram] = []

    async def relay(self, name: str = "", *, port: int = 0, tls: bool = False) -> RelayProgram:
        """One more, which the others learn of when `introduce` is called."""
        relay = RelayConfig(listen=f"127.0.0.1:{port}", tls=tls, open=True)
        config = Config(relay=relay, plugin={"derp": {"stun": ""}})
        host = Host.compose("relay", Selection(config))
        program = RelayProgram(host, config, Folders(self._folder / (name or str(len(self.relays)))), Order())
        await program.start()
        self._closing.push_async_callback(program.close)
        self.relays.append(program)
        return program

    def introduce(self, *, mesh_key: bytes = MESH_KEY) -> None:
        """Tell each relay of all others."""
        for relay in self.relays:
            others = tuple(self.record(other) for other in self.relays if other is not relay)
            relay.relaying.mesh_with(Siblings(others, mesh_key))

    def record(self, relay: RelayProgram, **changes: Any) -> MapRelay:
        number = self.relays.index(relay) + 1
        record = MapRelay(
            id=number,
            name=f"r{number}",
            region=1,
            region_name="home",
            host="127.0.0.1",
            port=relay.serving.door.port,
            tls=bool(relay.certificate()),
            certificate=relay.certificate(),
            key=relay.relaying.private_key.public(RelayKey),
        )
        return msgspec.structs.replace(record, **changes)

    async def client(self, relay: RelayProgram, key: PrivateKey | None = None) -> Client:
        client = await Client.connect(relay.serving.door.port, key=key)
        self._closing.push_async_callback(client.close)
        return client

    async def close(self) -> None:
        await self._closing.aclose()


def links(relay: RelayProgram) -> float:
    return relay.serving.metrics.values()["ghostwire_relay_mesh_links"]


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    made = Region(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostwire_derp.mesh.service.RETRY", 0.05)
