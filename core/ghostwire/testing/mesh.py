"""A whole mesh in one process: the real server and nodes on a simulated network, in virtual time.

    @simulated
    async def test_two_nodes_meet() -> None:
        async with MemoryMesh() as mesh:
            alice, bob = await mesh.join("alice"), await mesh.join("bob")
            await alice.ping(bob)

Plugins come from the installed ones, as in a program; the transport, platform and storage are the test kit's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ghostwire import Provider, Tunnel
from ghostwire.config import ServerConfig
from ghostwire.plugins.host import Host as Plugins
from ghostwire.plugins.selection import Selection
from ghostwire.testing.members import MemoryNode, MemoryServer, tunnel_of
from ghostwire.testing.nat import Nat
from ghostwire.testing.network import Network

STEP = 0.05
"""Virtual seconds between two looks at whether something has happened."""
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 (TemporaryDirectory makes a private folder in it)
"""Where flushing a file to disk costs nothing, on Linux."""


@functools.cache
def _plugins(role: str) -> Plugins:
    """The installed plugins, composed once a process; the storage is the test kit's own."""
    return Plugins.compose(role, Selection(named=("-storage_sql",) if role == "server" else ()))


class MemoryMesh:
    """An async context: entering starts the server, leaving ends all; an error then carries the last datagrams.

    ``tunnel`` names an installed tunnel, or is a provider of one.
    """

    def __init__(
        self, *, seed: object = 0, config: ServerConfig | None = None, tunnel: str | Provider[Tunnel] = "userspace"
    ) -> None:
        self.network = Network(seed=seed)
        self.nodes: dict[str, MemoryNode] = {}
        self._config, self._tunnel = config or ServerConfig(), tunnel
        self._stack = contextlib.AsyncExitStack()
        self._folder: Path
        self.server: MemoryServer

    async def __aenter__(self) -> Self:
        place = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        folder = tempfile.TemporaryDirectory(prefix="ghostwire-mesh-", dir=place)
        self._folder = Path(self._stack.enter_context(folder))
        host = self.network.host("server", "192.0.2.1", "2001:db8::1")
        self.server = MemoryServer(host, self._folder / "server", _plugins("server"), self._config)
        self._stack.push_async_callback(self.server.stop)
        if isinstance(self._tunnel, str):
            self._tunnel = tunnel_of(_plugins("node"), self._tunnel)
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            error.add_note(f"the last datagrams:\n{self.network.diagram()}")
        for node in self.nodes.values():
            await node.stop()
        await self._stack.aclose()

    async def add(self, name: str, *, address: str = "", nat: Nat | None = None) -> MemoryNode:
        """A machine with a daemon that belongs to no mesh yet."""
        assert isinstance(self._tunnel, Provider)
        number = len(self.network.hosts) + 1
        host = self.network.host(name, address or f"198.51.{number // 250}.{number % 250}", nat=nat)
        node = self.nodes[name] = MemoryNode(host, self._folder / f"node-{name}", self._tunnel)
        await node.start()
        return node

    async def join(self, name: str, *, address: str = "", nat: Nat | None = None, **order: Any) -> MemoryNode:
        """A new machine, joined by a join token of its own; ``order`` is what is asked of the pre-auth key."""
        node = await self.add(name, address=address, nat=nat)
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

    async def _knows(self, node: MemoryNode, others: set[str], timeout: float) -> None:
        what = f"{node.name} should be connected and know {sorted(others)}"
        await self.until(lambda: node.connected and node.sees() == others, what, timeout=timeout)
