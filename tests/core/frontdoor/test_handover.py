"""A connection leaves its transport, and nothing else changes."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ghostwire.frontdoor.handover import take_socket
from ghostwire.testing import Network, simulate

TOTAL = 8 * 1024 * 1024
WAITING = 256 * 1024
"""Far more than the send buffer of a socket that was made small."""


class Early(asyncio.Protocol):
    """Reads up to ``limit`` bytes, answers, and has its socket taken away in the middle of a burst."""

    def __init__(self, taken: asyncio.Future[tuple[socket.socket | None, bytes]], limit: int) -> None:
        self.taken, self.limit = taken, limit
        self.heard, self.calls = b"", 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if not self.limit:
            self.take()

    def data_received(self, data: bytes) -> None:
        self.calls += self.taken.done()
        self.heard += data
        if len(self.heard) >= self.limit:
            self.transport.write(b"switch")
            self.take()

    def take(self) -> None:
        self.taken.set_result((take_socket(self.transport), self.heard))

    def eof_received(self) -> None:
        self.calls += self.taken.done()

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls += 1


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


async def taken_from(listening: socket.socket, limit: int, feed: Callable[[int], Any]) -> tuple[Any, Early, bytes, Any]:
    """(socket taken, its former protocol, what that one heard, what ``feed`` gives), ``feed`` run in a thread."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    protocol = Early(future, limit)
    server = await loop.create_server(lambda: protocol, sock=listening)
    peer = asyncio.create_task(asyncio.to_thread(feed, listening.getsockname()[1]))
    taken, heard = await asyncio.wait_for(future, 10)
    server.close()
    return taken, protocol, heard, peer


def blast(port: int) -> bytes:
    """Send `TOTAL` bytes as fast as they go, then read until the other side ends."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(bytes(range(256)) * (TOTAL // 256))
        peer.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: peer.recv(65536), b""))


@pytest.mark.parametrize("limit", [0, 1, 300_000])
async def test_no_byte_is_lost_under_load(listening: socket.socket, limit: int) -> None:
    taken, protocol, heard, peer = await taken_from(listening, limit, blast)
    assert taken.gettimeout() == 0
    taken.setblocking(True)
    rest = await asyncio.to_thread(lambda: b"".join(iter(lambda: taken.recv(65536), b"")))
    assert heard + rest == bytes(range(256)) * (TOTAL // 256)
    taken.sendall(b" and after")
    taken.close()
    assert await peer == (b"switch" if limit else b"") + b" and after"
    assert protocol.calls == 0


async def test_the_new_owner_may_use_the_loop(listening: socket.socket) -> None:
    taken, _, heard, peer = await taken_from(listening, 1, blast)
    loop = asyncio.get_running_loop()
    size, done = len(heard), loop.create_future()

    def readable() -> None:
        nonlocal size
        size += (got := len(taken.recv(65536)))
        if not got:
            done.set_result(None)

    loop.add_reader(taken.fileno(), readable)
    await asyncio.wait_for(done, 10)
    loop.remove_reader(taken.fileno())
    assert size == TOTAL
    taken.close()
    assert await peer == b"switch"


def say_and_wait(port: int, said: bytes = b"x") -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(said)
        return b"".join(iter(lambda: peer.recv(65536), b""))


async def take_and_close() -> tuple[int, Early | None]:
    """(descriptors open afterwards, the former protocol if anything still holds it)."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken, protocol, _, peer = await taken_from(listening, 1, say_and_wait)
    former = weakref.ref(protocol)
    protocol.transport.close()  # harmless afterwards
    del protocol
    taken.close()
    assert await peer == b"switch"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    return len(os.listdir("/proc/self/fd")), former()


@pytest.mark.filterwarnings("error")
async def test_nothing_leaks() -> None:
    first, *others = [await take_and_close() for _ in range(5)]
    assert others == [first] * 4
    assert first[1] is None


async def test_what_waits_to_be_written_keeps_the_connection_where_it_is(listening: socket.socket) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    gate = asyncio.get_running_loop().create_future()

    class Full(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(bytes(WAITING))
            assert take_socket(transport) is None
            transport.close()
            assert take_socket(transport) is None

        def connection_lost(self, exc: Exception | None) -> None:
            gate.set_result(exc)

    server = await asyncio.get_running_loop().create_server(Full, sock=listening)
    assert len(await asyncio.to_thread(say_and_wait, listening.getsockname()[1], b"")) == WAITING
    await gate
    server.close()


async def test_without_descriptors_the_connection_stays_where_it_is(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", exhausted)
    taken, protocol, _, peer = await taken_from(listening, 1, say_and_wait)
    assert taken is None
    protocol.transport.write(b" still here")
    protocol.transport.close()
    assert await peer == b"switch still here"


async def test_tls_of_the_event_loop_stays_there(tls: ssl.SSLContext, listening: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, sock=listening, ssl=tls)
    transport, _ = await asyncio.get_running_loop().create_connection(
        asyncio.Protocol, *listening.getsockname(), ssl=context
    )
    assert take_socket(transport) is None
    transport.close()
    server.close()


def test_a_simulated_stream_has_no_socket() -> None:
    async def scenario() -> None:
        network = Network(seed=1)
        server, host = network.host("server", "192.0.2.1"), network.host("client", "192.0.2.2")
        server.listen(80, asyncio.Protocol)
        transport, _ = await host.sockets.connect(asyncio.Protocol, "server", 80)
        assert take_socket(transport) is None
        assert not transport.is_closing()

    simulate(scenario)
