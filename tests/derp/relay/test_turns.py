"""Who gets how much of the event loop: clients among themselves, and the relay beside whatever else the loop does."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey as BoxKey

from ghostwire import Metrics
from ghostwire.frontdoor.certificate import ensure_certificate, server_context
from ghostwire.system.clock import SystemClock
from ghostwire_derp.frames import SERVER_KEY
from ghostwire_derp.relay.arena import READ_BYTES
from ghostwire_derp.relay.relay import Relay
from ghostwire_derp.settings import Settings

BUDGET = 20_000
ODD = 1237
"""Data of a packet, so that no read ends where a TLS record or a frame does."""
MUCH = 90
"""Such packets: what the kernel holds of one client."""
both = pytest.mark.parametrize("sealed", [False, True], ids=["plain", "tls"])


class Table:
    """A relay with a budget, and clients whose bytes all wait before the loop gets its turn."""

    def __init__(self, tools: Any, folder: Path) -> None:
        self.tools, self.admitting, self.ends = tools, tools.Admitting(), list[socket.socket]()
        self._certificate = ensure_certificate(folder, ["localhost"], int(time.time()))
        self.relay: Relay

    def lay(self, budget: int = 0) -> None:
        self.admitting.budget = budget
        self.relay = Relay(self.admitting, Settings(), SystemClock(), os.urandom, Metrics())
        self.counters = self.relay.router.counters

    def seat(self, sealed: bool, *, packets: int = MUCH) -> None:
        """A client that logs in and sends so many packets for nobody behind its login, at once."""
        near, far = socket.socketpair()
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        if sealed:
            near, far = self._shake_hands(near, far)
        self.ends.append(far)
        self.relay.take_socket(near, f"192.0.2.{len(self.ends)}")
        login = self.tools.login(BoxKey.generate(), self.admitting.private_key.public_raw)
        far.sendall(login + self.tools.packet(bytes(32), bytes(ODD)) * packets)

    def _shake_hands(self, near: socket.socket, far: socket.socket) -> tuple[socket.socket, socket.socket]:
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
        with ThreadPoolExecutor(1) as thread:
            shaken = thread.submit(theirs.wrap_socket, far)
            return server_context(*self._certificate).wrap_socket(near, server_side=True), shaken.result()

    async def until(self, done: Callable[[], bool]) -> list[int]:
        """Bytes that the relay read in each pass of the loop until then."""
        read: list[int] = []
        async with asyncio.timeout(10):
            while not done():
                before = self.counters.received_bytes
                await asyncio.sleep(0)
                read.append(self.counters.received_bytes - before)
        return read


@pytest.fixture
def table(tools: Any, tmp_path: Path) -> Iterator[Table]:
    made = Table(tools, tmp_path)
    yield made
    made.relay.close()
    for end in made.ends:
        end.close()


@both
async def test_all_that_many_send_behind_their_logins_is_parsed(table: Table, sealed: bool) -> None:
    table.lay()
    for _ in range(30):
        table.seat(sealed)
    await table.until(lambda: table.counters.dropped_unknown_destination == 30 * MUCH)
    assert table.relay.load().clients == 30


async def test_what_was_kept_of_a_stream_is_parsed_though_the_arena_is_full(table: Table) -> None:
    table.lay()
    table.seat(False, packets=1)
    await table.until(lambda: table.counters.dropped_unknown_destination == 1)
    poller, arena = table.relay._polled(), table.relay.router.arena
    (stream,) = poller._streams.values()
    stream.kept, arena.used = table.tools.packet(bytes(32)) * 20, arena.size
    poller.again(stream)
    await table.until(lambda: table.counters.dropped_unknown_destination == 21)


@both
async def test_with_a_budget_a_pass_of_the_loop_reads_no_more_however_many_flood(table: Table, sealed: bool) -> None:
    table.lay(BUDGET)
    for _ in range(20):
        table.seat(sealed)
    read = await table.until(lambda: table.counters.dropped_unknown_destination == 20 * MUCH)
    assert max(read) <= 2 * BUDGET  # the loop may know of the relay in two ways, and give it two passes


@both
async def test_with_a_budget_all_get_their_turn(table: Table, sealed: bool) -> None:
    table.lay(BUDGET)
    for _ in range(20):
        table.seat(sealed)
    table.seat(sealed, packets=1)
    await table.until(lambda: table.relay.load().clients == 21)
    assert table.counters.dropped_unknown_destination < 20 * MUCH
    last = table.ends[-1]
    last.setblocking(True)
    assert last.recv(1) == bytes([SERVER_KEY])


async def test_what_else_keeps_the_loop_busy_leaves_the_relay_as_much_time(table: Table) -> None:
    table.lay()
    table.seat(False, packets=1)
    await table.until(lambda: table.relay.load().clients == 1)
    loop, over = asyncio.get_running_loop(), False

    def flood() -> None:
        packets = table.tools.packet(bytes(32), bytes(ODD)) * 50
        while not over:
            table.ends[0].sendall(packets)

    def work() -> None:
        ready = time.monotonic() + 0.03
        while time.monotonic() < ready:
            pass
        if not over:
            loop.call_soon(work)

    with ThreadPoolExecutor(1) as thread:
        flooding = thread.submit(flood)
        work()
        read = await table.until(lambda: table.counters.received_bytes > 40 * READ_BYTES)
        over = True
        await table.until(flooding.done)
    assert max(read) > 4 * READ_BYTES
