"""The transport over real streams, with TLS and without: our relay behind its front door, and the stock one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from ghostwire import BURST, SEALED_MTU
from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.app import application
from ghostwire.frontdoor.certificate import ensure_certificate, server_context
from ghostwire.keys import RelayKey
from ghostwire.model import MapRelay
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire_derp.client.transport import DerpTransport
from ghostwire_derp.relay.service import RelayService
from ghostwire_derp.relay.upgrade import DerpUpgrade

STOCK_RELAY = os.environ.get("GHOSTWIRE_DERPER") or shutil.which("derper") or ""
STOCK = pytest.mark.skipif(not STOCK_RELAY, reason="needs derper on PATH or named by GHOSTWIRE_DERPER")
HOST = "127.0.0.1"
QUEUE = 32
"""Packets that the stock relay holds for a client."""


def pinned(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


def record(port: int, certificate: str, key: RelayKey | None) -> MapRelay:
    return MapRelay(
        id=1,
        name="loopback",
        region=1,
        region_name="here",
        host=HOST,
        port=port,
        tls=bool(certificate),
        certificate=certificate,
        key=key,
    )


@pytest_asyncio.fixture(
    params=["ours", "ours-tls", pytest.param("stock", marks=STOCK), pytest.param("stock-tls", marks=STOCK)]
)
async def relay(request, relay_context, tmp_path) -> AsyncIterator[MapRelay]:
    """A relay that runs, as the map shows it."""
    certificate, key = ensure_certificate(tmp_path, [HOST], int(time.time()))
    if request.param.startswith("stock"):
        tls = request.param.endswith("tls")
        port, process = await stock(tmp_path, certificate if tls else None, key)
        yield record(port, pinned(certificate) if tls else "", None)
        process.kill()
        await process.wait()
    else:
        tls = server_context(certificate, key) if request.param.endswith("tls") else None
        context = relay_context()
        service, door = RelayService(context), FrontDoor(application([]), [DerpUpgrade(context)], tls=tls)
        await door.start(HOST, 0)
        yield record(door.port, pinned(certificate) if tls else "", context.relaying.private_key.public(RelayKey))
        await service.close()
        await door.close()


async def stock(folder: Path, certificate: Path | None, key: Path) -> tuple[int, asyncio.subprocess.Process]:
    """A stock relay that has begun to serve."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    words = ["-a", f"{HOST}:{port}", "-http-port", "-1", "-stun=false", "-c", str(folder / "derper.json")]
    if certificate is not None:
        shutil.copy(certificate, folder / f"{HOST}.crt")
        shutil.copy(key, folder / f"{HOST}.key")
        words += ["-certmode", "manual", "-certdir", str(folder), "-hostname", HOST]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(STOCK_RELAY, *words, stdout=log, stderr=log)
    async with asyncio.timeout(10):
        while not await listens(port):
            await asyncio.sleep(0.01)
    return port, process


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@pytest_asyncio.fixture
async def online(make_context, online_node) -> AsyncIterator[Callable]:
    """``await online(name, relay)`` is a node that is logged in there."""
    nodes = []

    async def make(name: str, relay: MapRelay):
        context = make_context(name, SystemSockets(), SystemClock(), entropy=os.urandom)
        node = online_node(name, DerpTransport(context), context, None)
        nodes.append(node)
        node.transport.use([relay], relay.region, relay.id)
        await node.start()
        async with asyncio.timeout(10):
            while not node.transport.connected(relay.region):
                await asyncio.sleep(0.01)
        return node

    yield make
    for node in nodes:
        await node.transport.close()


async def test_bursts_go_through_both_ways(relay, online):
    alice, bob = await online("alice", relay), await online("bob", relay)
    datagrams = [bytes([number]) * (SEALED_MTU - number) for number in range(BURST)]
    for start in range(0, BURST, QUEUE):
        assert alice.path(bob, 1).send(datagrams[start : start + QUEUE])
        async with asyncio.timeout(10):
            await bob.inbox.count(start + QUEUE)
    assert bob.inbox.datagrams == datagrams
    assert bob.inbox.sources[0].send([b"answer"])
    async with asyncio.timeout(10):
        await alice.inbox.count(1)
    assert alice.inbox.sources[0] == alice.path(bob, 1)


async def test_a_peer_that_left_is_forgotten(relay, online):
    alice, bob = await online("alice", relay), await online("bob", relay)
    bob.path(alice, 1).send([b"hello"])
    async with asyncio.timeout(10):
        await alice.inbox.count(1)
        await bob.transport.close()
        while alice.transport._routes.region(bob.key.raw) is not None:
            await asyncio.sleep(0.01)


async def test_a_certificate_or_key_other_than_the_maps_is_refused(relay, make_context, online_node):
    wrong = {"certificate": "0" * 64} if relay.tls else {"key": RelayKey(bytes(range(32)))}
    context = make_context("alice", SystemSockets(), SystemClock(), entropy=os.urandom)
    node = online_node("alice", DerpTransport(context), context, None)
    node.transport.use([msgspec.structs.replace(relay, **wrong)], 1, None)
    await node.start()
    async with asyncio.timeout(10):
        while not node.count("refused"):
            await asyncio.sleep(0.01)
    assert node.count("connects") == 0
    await node.transport.close()


async def test_a_certificate_that_nobody_pins_needs_the_systems_roots(relay, make_context, online_node, caplog):
    if not relay.tls:
        pytest.skip("a relay without TLS shows no certificate")
    context = make_context("alice", SystemSockets(), SystemClock(), entropy=os.urandom)
    node = online_node("alice", DerpTransport(context), context, None)
    node.transport.use([msgspec.structs.replace(relay, certificate="")], 1, None)
    await node.start()
    async with asyncio.timeout(10):
        while not node.count("refused"):
            await asyncio.sleep(0.01)
    assert "certificate is not trusted" in caplog.text
    await node.transport.close()
