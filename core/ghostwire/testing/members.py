"""The server and the nodes of a mesh in memory: the real ones, started, stopped, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Any, cast

import msgspec

from ghostwire import Provider, Sockets, Storage, Transport, Tunnel, __version__
from ghostwire.config import Config, ServerConfig
from ghostwire.engine import SECOND, Entropy
from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.folders import Folders, make_folder
from ghostwire.keys import ControlKey, PrivateKey
from ghostwire.node.node import Node
from ghostwire.node.parts import Parts
from ghostwire.node.status import PeerStatus, State, Status
from ghostwire.plugins.host import Host as Plugins
from ghostwire.plugins.offers import Offer
from ghostwire.server.server import Server
from ghostwire.testing import api
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.datagrams import MemoryTransport
from ghostwire.testing.loop import running_clock
from ghostwire.testing.network import Host
from ghostwire.testing.platform import MemoryDevice, MemoryPlatform
from ghostwire.testing.relays import STUN_PORT, serve_stun
from ghostwire.testing.sharing import SharedDatabase, SharedStorage
from ghostwire.testing.storage import MemoryDatabase, MemoryStorage
from ghostwire.uplink.channel import connect
from ghostwire.uplink.control import Channel
from ghostwire.wire.messages import Host as Machine

PORT = 8080
ADMIN_PORT = 8081
"""Where a server in memory takes whoever connects for a local administrator."""
STORAGE = "memory"
BARE = "memory"
"""The transport that sends to bare addresses."""


class _WithStorage:
    """A program's plugins, and one storage more than they provide."""

    def __init__(self, plugins: Plugins, storage: Storage) -> None:
        self._plugins, self._storage = plugins, storage

    def one(self, hook: str, name: str) -> Offer:
        if hook == "ghostwire_storages":
            return Offer(plugin=STORAGE, hook=hook, provider=Provider(STORAGE, lambda context: self._storage))
        return self._plugins.one(hook, name)

    def create(self, offer: Offer, build: Callable[[str, Any], Any]) -> Any:
        return self._storage if offer.plugin == STORAGE else self._plugins.create(offer, build)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plugins, name)


class MemoryServer:
    """A coordination server on a simulated host. ``database`` and ``folder`` outlive its restarts.

    Servers that are given one `SharedDatabase` share it. With ``relaying`` it answers STUN for the relay that its
    plugins run in it.
    """

    def __init__(
        self,
        host: Host,
        folder: FilePath,
        plugins: Plugins,
        config: ServerConfig,
        *,
        relaying: bool = False,
        database: MemoryDatabase | None = None,
    ) -> None:
        self.host, self.folder, self.database = host, folder, database or MemoryDatabase()
        self.config = msgspec.structs.replace(
            config, url=f"http://{host.addresses[0]}:{PORT}", tls=False, storage=STORAGE
        )
        self.running: Server | None = None
        self.storage: MemoryStorage
        self._plugins, self._starts, self._relaying = plugins, 0, relaying

    async def start(self) -> None:
        """Start it on what its database holds."""
        self._starts += 1
        entropy = SeededEntropy((self.host.name, self._starts))
        self.storage = _storage(self.database, entropy.child("storage"))
        server = Server(
            cast("Plugins", _WithStorage(self._plugins, self.storage)),
            Config(server=self.config),
            Folders(self.folder),
            clock=running_clock(),
            entropy=entropy,
            sockets=self.host.sockets,
            listen=False,
        )
        await server.start()
        self.running = server
        self.host.listen(PORT, server.door.protocol_factory())
        self.host.listen(ADMIN_PORT, server.door.protocol_factory(uid=0))
        if self._relaying:
            serve_stun(self.host)
            server.embedded.announce(stun_port=STUN_PORT)

    async def stop(self) -> None:
        """End it in an orderly way; harmless when it does not run."""
        running, self.running = self.running, None
        self.host.close()
        if running is not None:
            await running.close()

    async def kill(self) -> None:
        """End it as kill -9 does: nothing is said, nothing more is stored."""
        running, self.running = self.running, None
        self.storage.crash()
        self.host.kill()
        if running is not None:
            with contextlib.suppress(GhostwireError):
                await running.close()

    async def restart(self, database: MemoryDatabase | None = None) -> None:
        """Stop, and start again: on its database, or on an older backup of it."""
        await self.stop()
        self.database = database or self.database
        await self.start()

    async def request(self, method: str, path: str, body: object = None) -> Any:
        """A request to the administrators' API, as `api.request`."""
        return await api.request(self.host.sockets, self.host.addresses[0], ADMIN_PORT, method, path, body)

    async def nodes(self) -> list[dict[str, Any]]:
        """The nodes as the API shows them."""
        answer = await self.request("GET", "/api/v1/nodes")
        return cast("list[dict[str, Any]]", answer["nodes"])

    async def token(self, **order: Any) -> str:
        """A join token; ``order`` is the body of ``POST /api/v1/preauthkeys``."""
        answer = await self.request("POST", "/api/v1/preauthkeys", order)
        return cast("str", answer["token"])


def _storage(database: MemoryDatabase, entropy: Entropy) -> MemoryStorage:
    if isinstance(database, SharedDatabase):
        return SharedStorage(database, entropy=entropy)
    return MemoryStorage(database, entropy=entropy)


class _Overheard:
    """A channel whose arriving messages are also kept."""

    def __init__(self, channel: Channel, heard: list[Any]) -> None:
        self._channel, self._heard = channel, heard
        self.send, self.prove, self.close = channel.send, channel.prove, channel.close

    async def receive(self) -> Any:
        message = await self._channel.receive()
        self._heard.append(message)
        return message


class MemoryNode:
    """A node on a simulated host, with ``transports`` beside the one of memory. ``folder`` outlives its restarts."""

    def __init__(
        self,
        host: Host,
        folder: FilePath,
        tunnel: Provider[Tunnel],
        transports: Sequence[Provider[Transport]] = (),
        mtu: int = 1280,
    ) -> None:
        self.host, self.folder, self._tunnel, self._mtu = host, folder, tunnel, mtu
        self._transports = transports
        self.running: Node | None = None
        self.platform: MemoryPlatform
        self.heard: list[Any] = []
        """Every message the server sent, since the machine was made."""
        self._starts = 0
        self._addresses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The host's name, which is what the node asks to be called."""
        return self.host.name

    @property
    def node(self) -> Node:
        """The running node."""
        assert self.running is not None, f"{self.name} is not running"
        return self.running

    @property
    def status(self) -> Status:
        """What `gwctl status` would show."""
        return self.node.status()

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.running is not None and self.running.state is State.RUNNING

    @property
    def connected(self) -> bool:
        """Whether it has a session with the server."""
        return self.running is not None and self.status.server.connected

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its mesh addresses, IPv4 first; while it does not run, those it had."""
        own = self.status.own if self.running is not None else None
        return own.addresses if own is not None else self._addresses

    @property
    def device(self) -> MemoryDevice:
        """Its device, with the machine's applications behind it."""
        return self.platform.device

    def peer(self, name: str) -> PeerStatus:
        """What it knows of that peer."""
        return next(peer for peer in self.status.peers if peer.name == name)

    def via(self, other: MemoryNode) -> str:
        """The transports that carry what it sends to that node, joined by ``+``; nothing where there is none."""
        return "+".join(using.partition(" ")[0] for using in self.node.paths(other.name).using)

    @property
    def home(self) -> str:
        """The name of the region that it is connected to as its home; nothing while it is not."""
        home = self.status.home if self.running is not None else None
        return home.name if home is not None and home.connected else ""

    def sees(self) -> set[str]:
        """The names of its peers."""
        return {peer.name for peer in self.status.peers}

    async def start(self) -> None:
        """Start the daemon; what it was before comes from its folder."""
        self._starts += 1
        self.platform = MemoryPlatform(self.host)
        self.running = Node(self._parts())
        await self.running.start()

    async def stop(self) -> None:
        """End the daemon in an orderly way; harmless when it does not run."""
        self._addresses = self.addresses
        running, self.running = self.running, None
        if running is not None:
            await running.close()

    async def kill(self) -> None:
        """End it as kill -9 does: nothing is said, nothing more is written."""
        kept = self.folder.with_name(f"{self.folder.name}.kept")
        shutil.copytree(self.folder, kept)
        self.host.kill()
        await self.stop()
        shutil.rmtree(self.folder)
        kept.rename(self.folder)

    async def restart(self) -> None:
        """Stop, and start again."""
        await self.stop()
        await self.start()

    async def ping(self, other: MemoryNode, *, version: int = 4, timeout: float = 10.0) -> float:
        """One echo to another node's mesh address; seconds. Unavailable without an answer in time."""
        address = next(text for text in other.addresses if (":" in text) == (version == 6))
        return (await self.node.ping(address, timeout)).rtt_ms / 1000

    async def reach(self, other: MemoryNode, *, version: int = 4, timeout: float = 60.0) -> float:
        """Ping once a second until an answer comes, as people do; seconds waited. Unavailable without any in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                await self.ping(other, version=version, timeout=1.0)
                return loop.time() - began
            except Unavailable:
                if loop.time() - began > timeout:
                    raise
                await asyncio.sleep(0.05)  # a node that is not up says so at once

    def _parts(self) -> Parts:
        entropy = SeededEntropy((self.name, self._starts))
        return Parts(
            state=make_folder(self.folder, 0o700),
            transports=[Provider[Transport](BARE, lambda context: MemoryTransport(self.host)), *self._transports],
            tunnel=self._tunnel,
            platform=self.platform,
            sockets=self.host.sockets,
            clock=running_clock(),
            entropy=entropy,
            connect=self._connect,
            echo=self._echo,
            host=Machine(hostname=self.name, os="memory", version=__version__),
            mtu=self._mtu,
            bare=BARE,
            lookup=self._lookup,
            log=logging.getLogger(f"ghostwire.node.{self.name}"),
        )

    async def _connect(
        self, url: str, machine_key: PrivateKey, server_key: ControlKey, sockets: Sockets, entropy: Entropy, /
    ) -> Channel:
        return _Overheard(await connect(url, machine_key, server_key, sockets, entropy), self.heard)

    async def _lookup(self, name: str) -> Sequence[str]:
        found = self.host.network.hosts.get(name)
        return found.addresses if found is not None else ()

    async def _echo(self, address: str, timeout: float) -> float:
        return await self.device.ping(address, timeout=timeout) / SECOND


def provided(plugins: Plugins, hook: str, name: str) -> Provider[Any]:
    """What plugins offer under that name, made with its plugin's settings as programs do."""
    offer = plugins.one(hook, name)

    def create(context: Any) -> Any:
        return plugins.create(offer, lambda plugin, settings: msgspec.structs.replace(context, settings=settings))

    return Provider(name, create, offer.order[0])
