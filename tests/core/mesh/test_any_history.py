"""Whatever happens in whatever order: in the end server and nodes agree with a model that is a page long."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.config import ServerConfig
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, PlatformError
from ghostwire.testing import Link, running_clock, simulate
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh

GRACE = 300
MOST = 5

Step = tuple[str, int]
OF_THE_MESH = ("join", "join_guest", "restart_server", "kill_server", "start_server", "heal")
OF_TIME = ("wait", "wait_long", "jump_wall")
OF_A_NODE = ("stop", "kill", "start", "leave", "remove", "rename", "move", "cut", "talk")
ANY = st.sampled_from(OF_THE_MESH + OF_TIME + OF_A_NODE)


@dataclass
class Model:
    """Who ought to be a member, under which name, and who is a guest that stays only while it runs."""

    mesh: MemoryMesh
    members: dict[str, str] = field(default_factory=dict)
    guests: set[str] = field(default_factory=set)
    count: int = 0

    @property
    def serving(self) -> bool:
        return self.mesh.server.running is not None

    def pick(self, number: int) -> MemoryNode | None:
        nodes = list(self.mesh.nodes.values())
        return nodes[number % len(nodes)] if nodes else None

    async def take(self, name: str, number: int) -> None:
        """One step; those that make no sense now are skipped."""
        alone: dict[str, Callable[[], Awaitable[None]]] = {
            "join": self.join,
            "join_guest": lambda: self.join(ephemeral=True),
            "restart_server": self.restart_server,
            "kill_server": self.kill_server,
            "start_server": self.start_server,
            "heal": self.heal,
            "wait": lambda: asyncio.sleep(1 + number),
            "wait_long": lambda: asyncio.sleep(100 * (1 + number)),
            "jump_wall": lambda: self.jump_wall(number),
        }
        node = self.pick(number)
        if name in alone:
            await alone[name]()
        elif node is not None:
            await getattr(self, name)(node)

    async def join(self, *, ephemeral: bool = False) -> None:
        if not self.serving or len(self.mesh.nodes) >= MOST:
            return
        self.count += 1
        name = f"node{self.count}"
        node = await self.mesh.add(name)
        try:
            await node.node.up(await self.mesh.server.token(ephemeral=ephemeral, ttl_seconds=3600))
        except GhostwireError:
            await self.heal()
            await node.node.up(await self.mesh.server.token(ephemeral=ephemeral, ttl_seconds=3600))
        self.members[name] = name
        if ephemeral:
            self.guests.add(name)

    async def stop(self, node: MemoryNode) -> None:
        await node.stop()

    async def kill(self, node: MemoryNode) -> None:
        if node.running is not None:
            await node.kill()

    async def start(self, node: MemoryNode) -> None:
        if node.running is None:
            await node.start()

    async def leave(self, node: MemoryNode) -> None:
        """Leave for good; the machine is then switched off."""
        if node.running is not None and self.serving and node.name in self.members:
            await self.heal()
            await node.node.down(logout=True)
            await self.forget(node)

    async def remove(self, node: MemoryNode) -> None:
        if self.serving and await self.known(node):
            await self.mesh.server.request("DELETE", f"/api/v1/nodes/{self.members[node.name]}")
            await self.forget(node)

    async def rename(self, node: MemoryNode) -> None:
        if self.serving and await self.known(node):
            self.count += 1
            old, self.members[node.name] = self.members[node.name], f"renamed{self.count}"
            await self.mesh.server.request("PATCH", f"/api/v1/nodes/{old}", {"name": self.members[node.name]})

    async def move(self, node: MemoryNode) -> None:
        self.count += 1
        node.host.move(f"203.0.113.{self.count}")

    async def cut(self, node: MemoryNode) -> None:
        self.mesh.network.cut(node.host, self.mesh.server.host)

    async def heal(self) -> None:
        self.mesh.network.heal()

    async def restart_server(self) -> None:
        if self.serving:
            await self.mesh.server.restart()

    async def kill_server(self) -> None:
        if self.serving:
            await self.mesh.server.kill()

    async def start_server(self) -> None:
        if not self.serving:
            await self.mesh.server.start()

    async def jump_wall(self, number: int) -> None:
        running_clock().jump_wall((number - 4) * 1000 * SECOND)

    async def talk(self, node: MemoryNode) -> None:
        for other in self.mesh.nodes.values():
            if other is not node and node.up:
                with contextlib.suppress(PlatformError):
                    node.device.send_echo(other.addresses[0])
        await asyncio.sleep(1)

    async def known(self, node: MemoryNode) -> bool:
        """Whether the server still has it: a guest may have outstayed its grace."""
        names = {each["name"] for each in await self.mesh.server.nodes()}
        return self.members.get(node.name) in names

    async def forget(self, node: MemoryNode) -> None:
        self.members.pop(node.name, None)
        await node.stop()
        del self.mesh.nodes[node.name]

    async def settle(self) -> None:
        """Everything is switched on and joined up; guests that are gone are gone."""
        await self.heal()
        await self.start_server()
        for node in list(self.mesh.nodes.values()):
            if node.running is None and node.name not in self.guests:
                await node.start()
        await asyncio.sleep(2 * GRACE)
        names = {each["name"] for each in await self.mesh.server.nodes()}
        for name in [name for name in self.guests if self.members.get(name) not in names]:
            self.members.pop(name, None)

    async def check(self) -> None:
        """The server has exactly the model's members; who runs knows them, and reaches all others."""
        names = {each["name"] for each in await self.mesh.server.nodes()}
        assert names == set(self.members.values())
        lasting = [node for name, node in self.mesh.nodes.items() if name in self.members and node.running is not None]
        for node in lasting:
            others = names - {self.members[node.name]}
            await self.mesh.until(lambda n=node, o=others: n.connected and n.sees() == o, f"{node.name}: {others}")  # type: ignore[misc]
        for node in lasting:
            for other in lasting:
                if other is not node:
                    await node.reach(other, timeout=240)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(ANY, st.integers(0, 9)), min_size=4, max_size=16))
def test_after_any_history_everyone_agrees(steps: list[Step]) -> None:
    async def run() -> None:
        async with MemoryMesh(seed=len(steps), config=ServerConfig(ephemeral_grace=GRACE)) as mesh:
            mesh.network.default = Link(loss=0.05)
            model = Model(mesh)
            for step in [("join", 0), ("join", 0), *steps]:
                await model.take(*step)
            await model.settle()
            await model.check()

    simulate(run)
