"""The relay on real streams: sockets, TLS and asyncio transports, on both event loops."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nacl.public import PrivateKey as BoxKey

from ghostwire import Metrics, RelayContext, RequestHead, Siblings
from ghostwire.frontdoor.certificate import ensure_certificate, server_context
from ghostwire.keys import NodeKey
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire_derp.frames import CLIENT_INFO, NOTE_PREFERRED, PEER_GONE, PING, PONG, RECV_PACKET, SERVER_INFO, frame
from ghostwire_derp.relay.limits import Limits
from ghostwire_derp.relay.relay import Relay
from ghostwire_derp.relay.service import RelayService
from ghostwire_derp.relay.shared import drop_relay, relay_of
from ghostwire_derp.relay.upgrade import DerpUpgrade
from ghostwire_derp.settings import Settings

KINDS = ("socket", "tls", "transport")
every_kind = pytest.mark.parametrize("kind", KINDS)


class Caller:
    """A client at the far end of a real stream."""

    def __init__(self, inn: Inn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.inn, self.reader, self.writer = inn, reader, writer
        self.private = BoxKey.generate()
        self.key = bytes(self.private.public_key)

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(10):
            head = await self.reader.readexactly(5)
            return head[0], await self.reader.readexactly(int.from_bytes(head[1:], "big"))

    async def login(self, *behind: bytes) -> Caller:
        await self.frame()
        self.send(self.inn.tools.login(self.private, self.inn.admitting.private_key.public_raw), *behind)
        assert (await self.frame())[0] == SERVER_INFO
        return self

    async def ended(self) -> bool:
        """Whether the relay hangs up."""
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
            return True


class Inn:
    """A relay and its real streams."""

    def __init__(self, tools: Any, folder: Path) -> None:
        self.tools, self.admitting, self.metrics = tools, tools.Admitting(), Metrics()
        self.certificate, self.key = ensure_certificate(folder, ["localhost"], int(time.time()))
        self.limits, self.settings = Limits(), Settings()
        self.callers: list[Caller] = []
        self._relay: Relay | None = None

    @property
    def relay(self) -> Relay:
        """Made when it is needed first, with the limits and settings of then."""
        if self._relay is None:
            self._relay = Relay(
                self.admitting, self.settings, SystemClock(), os.urandom, self.metrics, limits=self.limits
            )
        return self._relay

    async def call(self, kind: str, buffers: int = 0) -> Caller:
        """A new stream of this kind; ``buffers`` bounds what the kernel holds for its reader."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.socket()
            if buffers:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            far.connect(listener.getsockname())
            near, _ = listener.accept()
        tls = None
        if kind == "tls":
            tls = ssl.create_default_context(cafile=str(self.certificate))
            near = server_context(self.certificate, self.key).wrap_socket(
                near, server_side=True, do_handshake_on_connect=False
            )
            shaking = asyncio.get_running_loop().run_in_executor(None, near.do_handshake)
        made = await asyncio.open_connection(
            sock=far, ssl=tls, server_hostname="localhost" if tls else None, limit=65536
        )
        if kind == "tls":
            await shaking
        caller = Caller(self, *made)
        self.callers.append(caller)
        await self.arrive(kind, near)
        return caller

    async def arrive(self, kind: str, near: socket.socket) -> None:
        if kind == "transport":
            near.setblocking(False)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, near)
            self.relay.attach(transport, "127.0.0.1")
        else:
            self.relay.take_socket(near, "127.0.0.1")

    async def join(self, kind: str, buffers: int = 0) -> Caller:
        return await (await self.call(kind, buffers)).login()

    async def close(self) -> None:
        self.relay.close()
        for caller in self.callers:
            caller.writer.close()
            with suppress(OSError, ssl.SSLError):
                await caller.writer.wait_closed()


@pytest_asyncio.fixture
async def inn(tools: Any, tmp_path: Path) -> AsyncIterator[Inn]:
    inn = Inn(tools, tmp_path)
    yield inn
    await inn.close()


def numbered(tools: Any, key: bytes, numbers: range, size: int) -> list[bytes]:
    return [tools.packet(key, b"%06d" % n + bytes(size - 6)) for n in numbers]


@pytest.mark.parametrize("other", KINDS)
@every_kind
async def test_packets_pass_between_streams_of_every_kind(inn: Inn, tools: Any, kind: str, other: str) -> None:
    alice, bob = await inn.join(kind), await inn.join(other)
    sizes = [0, 1, 1400, 20_000, 65_536, 1400]
    alice.send(*(tools.packet(bob.key, bytes([n]) * size) for n, size in enumerate(sizes)))
    bob.send(tools.packet(alice.key, b"back"))
    assert [await bob.frame() for _ in sizes] == [
        (RECV_PACKET, alice.key + bytes([n]) * size) for n, size in enumerate(sizes)
    ]
    assert await alice.frame() == (RECV_PACKET, bob.key + b"back")


@every_kind
async def test_a_reader_that_keeps_up_gets_every_packet_of_many(inn: Inn, tools: Any, kind: str) -> None:
    alice, bob = await inn.join(kind), await inn.join(kind)
    for first in range(0, 2000, 100):
        alice.send(*numbered(tools, bob.key, range(first, first + 100), 1400))
        got = [int((await bob.frame())[1][32:38]) for _ in range(100)]
        assert got == list(range(first, first + 100))
    assert inn.metrics.values()["ghostwire_relay_dropped_queue_head_total"] == 0


@every_kind
async def test_a_slow_reader_gets_whole_frames_in_order_once_it_reads(inn: Inn, tools: Any, kind: str) -> None:
    alice, bob = await inn.join(kind), await inn.join(kind, buffers=4096)
    alice.send(*numbered(tools, bob.key, range(9000), 1400))
    await alice.writer.drain()
    alice.send(frame(PING, b"all sent"))
    assert await alice.frame() == (PONG, b"all sent")
    assert inn.metrics.values()["ghostwire_relay_dropped_queue_head_total"] > 0
    got = [0]
    while got[-1] != 8999:
        kind_, data = await bob.frame()
        assert (kind_, data[:32], len(data)) == (RECV_PACKET, alice.key, 1432)
        got.append(int(data[32:38]))
    assert got[1:] == sorted(set(got))
    assert len(got) + inn.metrics.values()["ghostwire_relay_dropped_queue_head_total"] == 9001


@every_kind
async def test_a_reader_that_never_reads_is_given_up(inn: Inn, tools: Any, kind: str) -> None:
    inn.limits = Limits(write=1, queue=16 * 1024 * 1024)
    alice, bob = await inn.join(kind), await inn.join(kind, buffers=4096)
    bob.send(tools.packet(alice.key))
    await alice.frame()
    alice.send(*numbered(tools, bob.key, range(9000), 1400))
    assert await alice.frame() == (PEER_GONE, bob.key + b"\0")
    assert inn.metrics.values()["ghostwire_relay_closed_slow_total"] == 1


@every_kind
async def test_who_hangs_up_is_gone_at_once(inn: Inn, tools: Any, kind: str) -> None:
    alice, bob = await inn.join(kind), await inn.join(kind)
    alice.send(tools.packet(bob.key))
    await bob.frame()
    alice.writer.close()
    assert await bob.frame() == (PEER_GONE, alice.key + b"\0")
    assert inn.relay.load().clients == 1


@every_kind
async def test_what_comes_in_the_same_breath_as_the_login_is_not_lost(inn: Inn, kind: str) -> None:
    alice = await (await inn.call(kind)).login(frame(NOTE_PREFERRED, b"\1"), frame(PING, b"12345678"))
    assert await alice.frame() == (PONG, b"12345678")


@every_kind
async def test_a_stranger_is_hung_up_on(inn: Inn, kind: str) -> None:
    alice = await inn.call(kind)
    alice.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await alice.ended()
    mallory = await inn.call(kind)
    mallory.send(frame(CLIENT_INFO, bytes(100)))
    assert await mallory.ended()


@every_kind
async def test_a_removed_key_is_cut_off_at_once(inn: Inn, kind: str) -> None:
    alice, bob = await inn.join(kind), await inn.join(kind)
    inn.admitting.refused.add(NodeKey(alice.key))
    for removed in inn.admitting.removed:
        removed([NodeKey(alice.key)])
    assert await alice.ended()
    bob.send(frame(PING, b"12345678"))
    assert await bob.frame() == (PONG, b"12345678")


@every_kind
async def test_a_relay_that_closes_hangs_up_on_everybody_and_takes_nobody_new(inn: Inn, kind: str) -> None:
    alice, stranger = await inn.join(kind), await inn.call(kind)
    inn.relay.close()
    inn.relay.close()
    assert await alice.ended()
    assert await stranger.ended()
    assert await (await inn.call(kind)).ended()


@every_kind
async def test_a_client_above_its_rate_gets_everything_through_a_little_later(inn: Inn, tools: Any, kind: str) -> None:
    inn.settings = Settings(client_rate=2_000_000)
    alice, bob = await inn.join(kind), await inn.join(kind)
    alice.send(*numbered(tools, bob.key, range(400), 1400))
    started = asyncio.get_running_loop().time()
    assert [int((await bob.frame())[1][32:38]) for _ in range(400)] == list(range(400))
    assert asyncio.get_running_loop().time() - started > 0.05


@every_kind
async def test_a_budget_lets_everybody_through_pass_by_pass(inn: Inn, tools: Any, kind: str) -> None:
    inn.admitting.budget = 4000
    callers = [await inn.join(kind) for _ in range(6)]
    for number, caller in enumerate(callers):
        caller.send(*numbered(tools, callers[number - 1].key, range(60), 1400))
    for caller in callers:
        assert [int((await caller.frame())[1][32:38]) for _ in range(60)] == list(range(60))


async def test_streams_above_the_limit_are_hung_up_on(inn: Inn) -> None:
    inn.limits = Limits(unfinished_per_address=2)
    kept = [await inn.call(kind) for kind in ("socket", "transport")]
    for kind in KINDS:
        assert await (await inn.call(kind)).ended()
    await kept[0].login()
    await (await inn.call("tls")).login()


class Mesh:
    """Plays the other relay's mesh on a link."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.over = asyncio.Event()

    def frame(self, kind: int, payload: bytes) -> None:
        self.heard.put_nowait((kind, payload))

    def lost(self) -> None:
        self.over.set()


@pytest.mark.parametrize("kind", ["socket", "transport"])
async def test_two_relays_linked_by_streams_are_one_to_their_clients(
    inn: Inn, tools: Any, tmp_path: Path, kind: str
) -> None:
    inn.admitting.mesh = Siblings(mesh_key=b"m" * 32)
    far = Inn(tools, tmp_path)
    alice, bob, mesh, key = await inn.join(kind), await far.join(kind), Mesh(), BoxKey.generate()
    ours, theirs = socket.socketpair()
    if kind == "socket":
        link = far.relay.take_link(ours, mesh)
    else:
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ours)
        link = far.relay.attach_link(transport, mesh)
    await inn.arrive(kind, theirs)
    await asyncio.wait_for(mesh.heard.get(), 10)
    link.send(tools.login(key, inn.admitting.private_key.public_raw, meshKey=(b"m" * 32).hex()))
    assert (await asyncio.wait_for(mesh.heard.get(), 10))[0] == SERVER_INFO
    far.relay.add_route(alice.key, link)
    bob.send(*numbered(tools, alice.key, range(300), 1400))
    assert [int((await alice.frame())[1][32:38]) for _ in range(300)] == list(range(300))
    assert far.metrics.values()["ghostwire_relay_forwarded_total"] == 300
    inn.relay.close()
    await asyncio.wait_for(mesh.over.wait(), 10)
    await far.close()


async def test_presence_is_told_to_whoever_asks(inn: Inn) -> None:
    told: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
    inn.relay.on_presence(lambda key, here: told.put_nowait((key, here)))
    alice = await inn.join("socket")
    assert await asyncio.wait_for(told.get(), 10) == (alice.key, True)
    alice.writer.close()
    assert await asyncio.wait_for(told.get(), 10) == (alice.key, False)


# The upgrade


@pytest_asyncio.fixture
async def context(inn: Inn, tmp_path: Path) -> AsyncIterator[RelayContext]:
    made = RelayContext(
        settings=Settings(),
        clock=SystemClock(),
        entropy=os.urandom,
        metrics=inn.metrics,
        log=logging.getLogger("ghostwire.plugin.derp"),
        sockets=SystemSockets(),
        state=tmp_path,
        relaying=inn.admitting,
    )
    inn._relay = relay_of(made)
    yield made
    drop_relay(inn.admitting)


async def upgraded(inn: Inn, context: RelayContext, head: RequestHead, rest: bytes = b"") -> Caller:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, theirs)
    DerpUpgrade(context).take(head, transport, rest)
    caller = Caller(inn, *await asyncio.open_connection(sock=ours))
    inn.callers.append(caller)
    return caller


async def test_an_upgrade_is_answered_with_the_relays_key_and_then_the_stream_speaks_derp(
    inn: Inn, context: RelayContext
) -> None:
    head = RequestHead("GET", "/derp", {"upgrade": "DERP"}, "127.0.0.1")
    alice = await upgraded(inn, context, head)
    answer = (await alice.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    assert answer[0] == "HTTP/1.1 101 Switching Protocols"
    assert {"Upgrade: DERP", "Connection: Upgrade", "Derp-Version: 2"} < set(answer)
    assert f"Derp-Public-Key: {inn.admitting.private_key.public_raw.hex()}" in answer
    await alice.login()


async def test_a_client_in_a_hurry_gets_no_answer_and_may_send_its_login_with_the_request(
    inn: Inn, context: RelayContext, tools: Any
) -> None:
    head = RequestHead("GET", "/derp?x", {"derp-fast-start": "1"}, "127.0.0.1")
    key = BoxKey.generate()
    rest = tools.login(key, inn.admitting.private_key.public_raw) + frame(PING, b"12345678")
    alice = await upgraded(inn, context, head, rest)
    assert [(await alice.frame())[0] for _ in range(3)] == [1, SERVER_INFO, PONG]


@pytest.mark.parametrize(("method", "target"), [("POST", "/derp"), ("GET", "/elsewhere")])
async def test_any_other_request_is_refused_in_http(inn: Inn, context: RelayContext, method: str, target: str) -> None:
    caller = await upgraded(inn, context, RequestHead(method, target, {}, "127.0.0.1"))
    assert (await caller.reader.readline()).startswith(b"HTTP/1.1 404 ")
    assert await caller.ended()


async def test_the_service_closes_the_relay_of_its_program(inn: Inn, context: RelayContext) -> None:
    service = RelayService(context)
    await service.start()
    assert relay_of(context) is inn.relay
    alice = await inn.join("socket")
    await service.close()
    await service.close()
    assert await alice.ended()
