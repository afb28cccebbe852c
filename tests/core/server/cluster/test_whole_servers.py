"""Whole servers that share a database: their relays' places, and the port of one that cannot serve."""

import asyncio
import contextlib
import socket

import pytest

from ghostwire.config import Config, ServerConfig
from ghostwire.folders import Folders
from ghostwire.plugins.host import Host as Plugins
from ghostwire.plugins.selection import Selection
from ghostwire.server.server import CONTROL_KEY, Server
from ghostwire.testing import Network, SharedDatabase, SharedStorage, sharing, simulated
from ghostwire.testing.members import MemoryServer

HOUSE = ("one", "two")


@pytest.fixture
def house(tmp_path):
    """``async with house(**settings) as servers``: two on one database; ``{n}`` in a setting is a server's number."""

    @contextlib.asynccontextmanager
    async def running(**settings):
        network, database = Network(), SharedDatabase(delay=lambda: 0.05)
        plugins = Plugins.compose("server", Selection(named=("-storage_sql",)))
        servers = []
        try:
            for number, name in enumerate(HOUSE, 1):
                host, folder = network.host(name, f"192.0.2.{number}"), tmp_path / name / "server"
                config = ServerConfig(**{key: value.format(n=number) for key, value in settings.items()})
                server = MemoryServer(host, folder.parent, plugins, config, relaying=True, database=database)
                if servers:
                    _copy_key(servers[0], server)
                await server.start()
                servers.append(server)
            await asyncio.sleep(1)
            yield servers
        finally:
            for server in servers:
                await server.stop()

    return running


def _copy_key(one: MemoryServer, other: MemoryServer) -> None:
    found, place = Folders(one.folder).server / CONTROL_KEY, Folders(other.folder).server / CONTROL_KEY
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.write_bytes(found.read_bytes())
    place.chmod(0o600)


@simulated
async def test_relays_in_two_servers_have_a_place_and_a_key_each_and_mesh(house):
    async with house(relay_url="http://relay{n}.example.com:8080") as servers:
        relays = (await servers[0].request("GET", "/api/v1/relays"))["relays"]
        assert [relay["host"] for relay in relays] == ["relay1.example.com", "relay2.example.com"]
        assert len({relay["key"] for relay in relays}) == len({relay["name"] for relay in relays}) == 2
        assert len({relay["region"]["id"] for relay in relays}) == 1
        for server, other in zip(servers, relays[::-1], strict=True):
            embedded = server.running.embedded
            assert [relay.id for relay in embedded.siblings.relays] == [other["id"]]
            assert embedded.siblings.mesh_key == servers[0].running.embedded.siblings.mesh_key != b""
            assert (await server.request("GET", "/api/v1/server"))["relays_connected"] == 2
        await servers[1].restart()
        await asyncio.sleep(1)
        again = (await servers[0].request("GET", "/api/v1/relays"))["relays"]
        assert [(relay["id"], relay["key"]) for relay in again] == [(relay["id"], relay["key"]) for relay in relays]


@simulated
async def test_without_a_place_of_its_own_no_servers_relay_is_used_and_the_log_says_what_to_set(house, caplog):
    caplog.set_level("INFO")
    async with house() as servers:
        assert (await servers[0].request("GET", "/api/v1/relays"))["relays"] == []
    assert caplog.text.count("set relay_url in [server]") == len(HOUSE)


class Bare:
    """A program's plugins: a storage alone."""

    def __init__(self, storage) -> None:
        self._storage = storage

    def one(self, hook, name):
        return name

    def create(self, offer, build):
        return self._storage

    def offers(self, hook):
        return []

    def create_all(self, hook, build):
        return []


async def health(*, port: int = 0, path: str = "") -> int:
    """The status of /healthz by TCP or the Unix socket; OSError where nobody listens."""
    opening = asyncio.open_unix_connection(path) if path else asyncio.open_connection("127.0.0.1", port)
    reader, writer = await opening
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
        return int((await reader.read()).split()[1])
    finally:
        writer.close()


async def until(reached) -> None:
    """Ask again until this is so."""
    async with asyncio.timeout(30):
        while not await reached():
            await asyncio.sleep(0.01)


async def is_open(port: int) -> bool:
    try:
        return await health(port=port) == 200
    except OSError:
        return False


async def is_shut(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def test_the_port_of_a_server_that_cannot_serve_is_shut_until_it_can_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "PATIENCE", 0.05)
    storage, folders = SharedStorage(SharedDatabase()), Folders(tmp_path)
    server = Server(Bare(storage), Config(server=ServerConfig(listen="127.0.0.1:0", tls=False)), folders)
    await server.start()
    try:
        port, local = server.door.port, str(folders.server_socket)
        for _ in range(2):
            assert await is_open(port)
            storage.cut()
            await until(lambda: is_shut(port))
            assert await health(path=local) == 503
            shown = server._describe()
            assert not shown["following"]
            assert shown["servers"][0]["name"], "who administers it can still look"
            storage.heal()
            await until(lambda: is_open(port))
            assert await health(path=local) == 200
    finally:
        await server.close()
    assert await is_shut(port)


async def test_a_port_that_somebody_has_when_the_server_can_serve_again_is_tried_until_it_is_free(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(sharing, "PATIENCE", 0.05)
    monkeypatch.setattr("ghostwire.server.server.AGAIN", 0.01)
    storage = SharedStorage(SharedDatabase())
    server = Server(Bare(storage), Config(server=ServerConfig(listen="127.0.0.1:0", tls=False)), Folders(tmp_path))
    await server.start()
    try:
        storage.cut()
        await until(lambda: is_shut(server.door.port))
        with socket.create_server(("127.0.0.1", server.door.port)):
            storage.heal()
            await until(lambda: said(caplog, "nodes cannot come back to this server yet"))
        await until(lambda: is_open(server.door.port))
    finally:
        await server.close()


async def said(caplog, words: str) -> bool:
    return words in caplog.text
