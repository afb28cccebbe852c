"""A stock relay that asks us about its clients admits the mesh's nodes and nobody else."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ghostwire.frontdoor import FrontDoor
from ghostwire.frontdoor.app import application
from ghostwire.keys import NodeKey
from ghostwire.model import Relay
from ghostwire_derp.routes import DerpRoutes

STOCK_RELAY = os.environ.get("GHOSTWIRE_DERPER") or shutil.which("derper") or ""
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not STOCK_RELAY, reason="needs derper on PATH or named by GHOSTWIRE_DERPER"),
]


@pytest.fixture
def mesh(server_context):
    mesh = server_context().mesh
    mesh.relays = [
        Relay(id=1, name="stock", region=900, region_name="north", host="127.0.0.1", source="derpmap", tls=False)
    ]
    return mesh


@pytest_asyncio.fixture
async def verify_url(server_context, mesh) -> AsyncIterator[str]:
    door = FrontDoor(application([DerpRoutes(server_context(mesh=mesh))]))
    await door.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{door.port}/verify"
    await door.close()


@pytest_asyncio.fixture
async def stock_relay(verify_url, tmp_path) -> AsyncIterator[int]:
    """The port of a stock relay that admits nobody where it cannot ask."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-a", f"127.0.0.1:{port}", "-http-port", "-1", "-stun=false", "-c", str(tmp_path / "derper.json")]
    asking = ["-verify-client-url", verify_url, "-verify-client-url-fail-open=false"]
    relay = await asyncio.create_subprocess_exec(STOCK_RELAY, *options, *asking, stderr=asyncio.subprocess.PIPE)
    try:
        assert relay.stderr is not None
        while b"derper: serving on" not in (line := await asyncio.wait_for(relay.stderr.readline(), 20)):
            assert line, "the stock relay ended"
        await _listens(port)
        yield port
    finally:
        relay.kill()
        await relay.communicate()


async def _listens(port: int) -> None:
    """The log line comes just before the port does."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                return writer.close()


async def test_a_stock_relay_admits_members(stock_relay, derp_client, mesh):
    ann, ben = await derp_client.native(stock_relay), await derp_client.native(stock_relay)
    mesh.admitted = {NodeKey(ann.name), NodeKey(ben.name)}
    await ann.login()
    await ben.login()
    await ann.send(ben, b"hello")
    assert (await ben.frame())[1] == ann.name + b"hello"
    ann.close()
    ben.close()


async def test_a_stock_relay_refuses_strangers(stock_relay, derp_client):
    stranger = await derp_client.native(stock_relay)
    with pytest.raises((AssertionError, ConnectionError), match=r"the stream ended|reset"):
        await stranger.login()
    stranger.close()


async def test_a_stock_relay_that_is_not_of_the_mesh_learns_nothing(stock_relay, derp_client, mesh):
    member = await derp_client.native(stock_relay)
    mesh.admitted, mesh.relays = {NodeKey(member.name)}, []
    with pytest.raises((AssertionError, ConnectionError), match=r"the stream ended|reset"):
        await member.login()
    member.close()
