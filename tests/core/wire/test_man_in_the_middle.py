"""The control session over plain HTTP, on real loopback sockets, with somebody in between who records and tampers."""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from ghostwire.capabilities.contexts import Sockets
from ghostwire.errors import AuthenticationFailed, Unavailable
from ghostwire.frontdoor import FrontDoor
from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Endpoint
from ghostwire.server.channel import ControlStream, ControlUpgrade
from ghostwire.uplink.channel import Channel, connect
from ghostwire.wire import messages
from ghostwire.wire.messages import Credentials, Hello, Host, PeerEndpoints, Report

SECRET = "pre-auth-secret-in-the-hello"
ENDPOINT = "203.0.113.9:41641"
Tamper = Callable[[bytes, int], bytes]


class RealSockets(Sockets):
    """Plain asyncio connections."""

    def udp(self, host: str, port: int) -> Any:
        raise NotImplementedError

    async def connect(self, protocol: Any, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Any:
        return await asyncio.get_running_loop().create_connection(protocol, host, port, ssl=tls)


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Middle:
    """Forwards both directions, keeps what it saw, and lets ``tamper(data, offset)`` change what goes to the server."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.to_server, self.to_node = bytearray(), bytearray()
        self.tamper: Tamper = lambda data, offset: data
        self.tamper_answer: Tamper = lambda data, offset: data
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        for source, sink, seen, change in (
            (reader, server_writer, self.to_server, lambda data, at: self.tamper(data, at)),
            (server_reader, writer, self.to_node, lambda data, at: self.tamper_answer(data, at)),
        ):
            task = asyncio.ensure_future(self._forward(source, sink, seen, change))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: Any, sink: Any, seen: bytearray, change: Tamper) -> None:
        try:
            while data := await source.read(65536):
                offset = len(seen)
                seen += data
                sink.write(change(data, offset))
        except ConnectionError:
            pass
        finally:
            sink.close()

    async def close(self) -> None:
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class World:
    """A server, a node's keys, and the middle between them."""

    def __init__(self) -> None:
        self.control, self.machine, self.node_key, self.disco = (PrivateKey.generate() for _ in range(4))
        self.streams: list[ControlStream] = []
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.upgrade = ControlUpgrade(self.control, os.urandom, self._accept)
        self.door = FrontDoor(no_app, [self.upgrade])

    def _accept(self, stream: ControlStream) -> None:
        self.streams.append(stream)
        stream.on_message(self.inbox.put_nowait)
        stream.send(messages.encode(PeerEndpoints(node=1, endpoints=(Endpoint("udp", ENDPOINT),))))

    async def start(self) -> None:
        await self.door.start("127.0.0.1", 0)
        self.middle = Middle(self.door.port)
        await self.middle.start()

    async def connect(self) -> Channel:
        key = self.control.public(ControlKey)
        return await connect(self.middle.url, self.machine, key, RealSockets(), os.urandom)

    async def join(self) -> Channel:
        channel = await self.connect()
        channel.send(
            Hello(
                protocol=1,
                node_key=self.node_key.public(NodeKey),
                disco_key=self.disco.public(DiscoKey),
                proof=channel.prove(self.node_key),
                host=Host(hostname="kitchen-laptop"),
                credentials=Credentials("auth_key", SECRET),
            )
        )
        return channel

    async def talk(self) -> None:
        channel = await self.join()
        await channel.receive()
        channel.send(Report(session=1, sequence=1, endpoints=(Endpoint("udp", ENDPOINT),)))
        await self.inbox.get()
        await channel.close()

    async def replay(self, data: bytes) -> bytes:
        """What the server answers to these bytes on a connection of their own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.door.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer

    async def close(self) -> None:
        await self.middle.close()
        self.upgrade.close()
        await self.door.close()


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start()
    yield world
    await world.close()


def split_at_head(data: bytes) -> tuple[bytes, bytes]:
    head, end, rest = bytes(data).partition(b"\r\n\r\n")
    return head + end, rest


async def test_who_listens_sees_no_key_no_token_no_endpoint_no_name(world: World) -> None:
    await world.talk()
    seen = bytes(world.middle.to_server + world.middle.to_node)
    assert len(seen) > 400
    keys = [world.control, world.machine, world.node_key, world.disco]
    for secret in [key.public_raw for key in keys] + [key.raw for key in keys]:
        assert secret not in seen
        assert secret.hex().encode() not in seen
        assert b64encode(secret)[:-1] not in seen
    for text in (SECRET, ENDPOINT, "kitchen-laptop", "auth_key", "hello"):
        assert text.encode() not in seen


async def test_a_whole_recording_played_again_has_no_effect(world: World) -> None:
    await world.talk()
    assert len(world.streams) == 1
    answer = await world.replay(bytes(world.middle.to_server))
    assert len(world.streams) == 1
    assert world.inbox.empty()
    _, rest = split_at_head(answer)
    assert len(rest) == 82  # message 2, then the server hangs up on the first record


async def test_message_1_played_again_with_records_of_another_session_has_no_effect(world: World) -> None:
    await world.talk()
    first = bytes(world.middle.to_server)
    world.middle.to_server.clear()
    await world.talk()
    second = bytes(world.middle.to_server)
    (head, records), (other_head, other_records) = split_at_head(first), split_at_head(second)
    await world.replay(head + other_records)
    await world.replay(other_head + records)
    await world.replay(head + records + other_records)
    assert len(world.streams) == 2


async def test_a_flipped_bit_in_message_1_is_noticed_by_the_server(world: World) -> None:
    def flip(data: bytes, offset: int) -> bytes:
        at = data.index(b"ghostwire-handshake: ") + 70
        return data[:at] + (b"B" if data[at : at + 1] != b"B" else b"C") + data[at + 1 :]

    world.middle.tamper = flip
    with pytest.raises(AuthenticationFailed):
        await world.connect()
    assert world.streams == []


async def test_a_flipped_bit_in_message_2_is_noticed_by_the_node(world: World) -> None:
    world.middle.tamper_answer = lambda data, offset: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(AuthenticationFailed):
        await world.connect()


async def test_a_flipped_bit_in_the_first_record_is_noticed_before_anything_happens(world: World) -> None:
    channel = await world.connect()
    world.middle.tamper = lambda data, offset: data[:20] + bytes([data[20] ^ 1]) + data[21:]
    channel.send(Report(session=1, sequence=1))
    with pytest.raises(Unavailable):
        await asyncio.wait_for(channel.receive(), 5)
    assert world.streams == []


@pytest.mark.parametrize("position", [0, 1, 2, 17])
async def test_a_stripped_byte_is_noticed_and_nothing_after_it_heard(world: World, position: int) -> None:
    channel = await world.join()
    await channel.receive()
    stripped: list[int] = []

    def strip_once(data: bytes, offset: int) -> bytes:
        if stripped or len(data) < 30:
            return data
        stripped.append(offset)
        return data[:position] + data[position + 1 :]

    world.middle.tamper = strip_once
    refusal = asyncio.ensure_future(channel.receive())
    sequence = 0
    while not refusal.done():  # a length that lost its first byte announces more than follows at once
        sequence += 1
        channel.send(Report(session=1, sequence=sequence))
        await asyncio.sleep(0)
    assert isinstance(refusal.result(), messages.Refused)
    assert stripped
    assert world.inbox.empty()


async def test_a_swallowed_record_is_noticed_with_the_next(world: World) -> None:
    channel = await world.join()
    await channel.receive()
    world.middle.tamper = lambda data, offset: b""
    seen = len(world.middle.to_server)
    channel.send(Report(session=1, sequence=1))
    while len(world.middle.to_server) == seen:
        await asyncio.sleep(0.001)
    world.middle.tamper = lambda data, offset: data
    channel.send(Report(session=1, sequence=2))
    refused = await asyncio.wait_for(channel.receive(), 5)
    assert isinstance(refused, messages.Refused)
    assert world.inbox.empty()


async def test_a_server_of_the_middles_own_is_not_believed(world: World) -> None:
    impostor = ControlUpgrade(PrivateKey.generate(), os.urandom, lambda stream: None)
    door = FrontDoor(no_app, [impostor])
    await door.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{door.port}"
    with pytest.raises(AuthenticationFailed, match="has another key than the join token named"):
        await connect(url, world.machine, world.control.public(ControlKey), RealSockets(), os.urandom)
    await door.close()
