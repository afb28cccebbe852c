"""A whole mesh in one process: the real server and nodes on a simulated network, in virtual time.

    @simulated
    async def test_two_nodes_meet() -> None:
        async with MemoryMesh() as mesh:
            alice, bob = await mesh.join("alice"), await mesh.join("bob")
            await alice.ping(bob)

With ``at="symmetric"`` a machine is behind a router of that kind; see `places.PLACES`, and `site` for several there.
Plugins come from the installed ones, as in a program; the transport, platform and storage are the test kit's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ghostwire import Provider, Transport, Tunnel
from ghostwire.config import ServerConfig
from ghostwire.plugins.host import Host as Plugins
from ghostwire.plugins.selection import Selection
from ghostwire.testing.members import BARE, MemoryNode, MemoryServer, provided
from ghostwire.testing.nat import Nat
from ghostwire.testing.network import Host, Network
from ghostwire.testing.places import PLACES, Site
from ghostwire.testing.relays import RELAY_PORT, STUN_PORT, MemoryRelay

STEP = 0.05
"""Virtual seconds between two looks at whether something has happened."""
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 (TemporaryDirectory makes a private folder in it)
"""Where flushing a file to disk costs nothing, on Linux."""

RELAYING = "derp"
"""The plugin that relays."""


@functools.cache
def _plugins(role: str, relaying: bool) -> Plugins:
    """The installed plugins, composed once a process; the storage is the test kit's own."""
    left_out = {"-storage_sql": role == "server", f"-{RELAYING}": not relaying}
    return Plugins.compose(role, Selection(named=tuple(name for name, out in left_out.items() if out)))


class MemoryMesh:
    """An async context: entering starts the server, leaving ends all; an error then carries the last datagrams.

    ``tunnel`` names an installed tunnel, or is a provider of one. With ``relaying`` the server runs a relay, further
    ones may be added by `relay`, and nodes use them. ``transports`` are there beside the one of memory, whose rank is
    0; what they create gets each node's sockets, of which `MemorySockets.host` is the machine.
    """

    def __init__(
        self,
        *,
        seed: object = 0,
        config: ServerConfig | None = None,
        tunnel: str | Provider[Tunnel] = "userspace",
        relaying: bool = False,
        transports: Sequence[Provider[Transport]] = (),
    ) -> None:
        self.network = Network(seed=seed)
        self.nodes: dict[str, MemoryNode] = {}
        self.relays: dict[str, MemoryRelay] = {}
        self.sites: list[Site] = []
        self.whereabouts: dict[str, Site] = {}
        """Which machine is at which site."""
        self._config, self._tunnel, self._relaying = config or ServerConfig(), tunnel, relaying
        self._transports = list(transports)
        self._stack = contextlib.AsyncExitStack()
        self._folder: Path
        self.server: MemoryServer

    async def __aenter__(self) -> Self:
        place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        folder = tempfile.TemporaryDirectory(prefix="ghostwire-mesh-", dir=place)
        self._folder = Path(self._stack.enter_context(folder))
        host = self.network.host("server", "192.0.2.1", "2001:db8::1")
        plugins, relaying = _plugins("server", self._relaying), self._relaying
        self.server = MemoryServer(host, self._folder / "server", plugins, self._config, relaying=relaying)
        self._stack.push_async_callback(self.server.stop)
        if isinstance(self._tunnel, str):
            self._tunnel = provided(_plugins("node", relaying), "ghostwire_tunnels", self._tunnel)
        if relaying:
            self._transports.append(provided(_plugins("node", relaying), "ghostwire_transports", RELAYING))
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the last datagrams:\n{self.network.diagram()}")
        for node in self.nodes.values():
            await node.stop()
        for relay in self.relays.values():
            await relay.stop()
        await self._stack.aclose()

    async def add(
        self, name: str, *, address: str = "", nat: Nat | None = None, at: Site | str | None = None
    ) -> MemoryNode:
        """A machine with a daemon that belongs to no mesh yet; ``at`` is a site, or the name of a kind of place."""
        assert isinstance(self._tunnel, Provider)
        number = len(self.network.hosts) + 1
        if at is None:
            host = self.network.host(name, address or f"198.51.{number // 250}.{number % 250}", nat=nat)
        else:
            host = self.network.host(name)
            self._put(host, at)
        node = self.nodes[name] = MemoryNode(host, self._folder / f"node-{name}", self._tunnel, self._transports)
        await node.start()
        return node

    def site(self, place: str, *, carrier: Nat | None = None) -> Site:
        """A new site of that kind."""
        site = Site(self.network, PLACES[place], len(self.sites) + 1, carrier=carrier)
        self.sites.append(site)
        return site

    def move(self, node: MemoryNode, at: Site | str) -> None:
        """Carry a machine to another site, or to a new one of that kind."""
        self._put(node.host, at)

    def _put(self, host: Host, at: Site | str) -> None:
        site = self.whereabouts[host.name] = at if isinstance(at, Site) else self.site(at)
        site.take(host)

    async def relay(self, name: str, region: str, *, address: str = "", **order: Any) -> MemoryRelay:
        """A relay of its own on a new machine, enrolled; ``order`` is more of the body of ``POST /api/v1/relays``."""
        host = self.network.host(name, address or f"203.0.113.{100 + len(self.relays)}")
        place = {"host": host.addresses[0], "port": RELAY_PORT, "stun_port": STUN_PORT}
        answer = await self.server.request("POST", "/api/v1/relays", {"name": name, "region": region, **place, **order})
        plugins = _plugins("relay", self._relaying)
        relay = self.relays[name] = MemoryRelay(host, self._folder / f"relay-{name}", plugins, answer["token"])
        await relay.start()
        await self.until(lambda: relay.connected, f"{name} should be connected to the server")
        return relay

    async def join(
        self, name: str, *, address: str = "", nat: Nat | None = None, at: Site | str | None = None, **order: Any
    ) -> MemoryNode:
        """A new machine, joined by a join token of its own; ``order`` is what is asked of the pre-auth key."""
        node = await self.add(name, address=address, nat=nat, at=at)
        await node.node.up(await self.server.token(**order))
        return node

    async def until(self, happened: Callable[[], bool], what: str, *, timeout: float = 60.0) -> None:
        """Wait in virtual time; AssertionError where it has not happened after ``timeout`` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not happened():
            assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {timeout:g} s"
            await asyncio.sleep(STEP)

    async def converged(self, *, timeout: float = 60.0) -> None:
        """Wait until every node that is up is connected and knows exactly the nodes that the server has."""
        known = {node["name"] for node in await self.server.nodes()}
        for node in self.nodes.values():
            if node.up:
                await self._knows(node, known - {node.name}, timeout)

    async def at_home(self, *nodes: MemoryNode, timeout: float = 60.0) -> None:
        """Wait until these nodes (none: all that are up) are connected to a relay as their home."""
        for node in nodes or [node for node in self.nodes.values() if node.up]:
            await self.until(lambda node=node: bool(node.home), f"{node.name} should be at home", timeout=timeout)  # type: ignore[misc]

    async def direct(self, one: MemoryNode, other: MemoryNode, *, timeout: float = 60.0) -> float:
        """Wait until each sends to the other directly, which they only do while they talk; seconds waited."""
        loop = asyncio.get_running_loop()
        began, what = loop.time(), f"a direct path between {one.name} and {other.name}"
        await self.until(lambda: one.via(other) == other.via(one) == BARE, what, timeout=timeout)
        return loop.time() - began

    async def _knows(self, node: MemoryNode, others: set[str], timeout: float) -> None:
        what = f"{node.name} should be connected and know {sorted(others)}"
        await self.until(lambda: node.connected and node.sees() == others, what, timeout=timeout)
