"""Whatever happens to the network in whatever order: once it is whole again, no peer is stuck."""

from __future__ import annotations

import asyncio
import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.errors import PlatformError
from ghostwire.testing import NatKind, simulate
from ghostwire.testing.members import BARE, MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.places import PLACES, can_be_direct
from ghostwire.testing.pulse import Pulse
from ghostwire.testing.trace import describe

CONNECTED = 30.0
"""Seconds after the network is whole within which everybody answers everybody: relays and server are found again."""
DIRECT = 150.0
"""Seconds of talk within which a pair that can be direct is: a path that carried nothing is barred for a while."""
REACHABLE = [name for name, place in PLACES.items() if not place.open_input]
KINDS = list(NatKind)[1:]

Step = tuple[str, int]
OF_PATHS = ("block", "one_way", "cut", "heal", "udp", "middlebox")
OF_ROUTERS = ("reboot", "forget", "switch", "move")
OF_PROGRAMS = ("kill_relay", "start_relay", "restart")
STEPS = (*OF_PATHS, *OF_ROUTERS, *OF_PROGRAMS, "wait", "wait_long", "talk", "talk")


class World:
    """Three nodes, two relays, and what may happen to them."""

    def __init__(self, mesh: MemoryMesh) -> None:
        self.mesh, self.network = mesh, mesh.network

    async def begin(self) -> None:
        await self.mesh.relay("second", "second")
        for name in ("alice", "bob", "carol"):
            await self.mesh.join(name, at="port-restricted")
        await self.mesh.converged()
        await self.mesh.at_home()
        await self.talk(0)

    @property
    def nodes(self) -> list[MemoryNode]:
        return list(self.mesh.nodes.values())

    def node(self, number: int) -> MemoryNode:
        return self.nodes[number % 3]

    async def take(self, name: str, number: int) -> None:
        await getattr(self, name)(number)

    async def block(self, number: int) -> None:
        self.network.block(self.node(number).host, self.node(number + 1).host)

    async def one_way(self, number: int) -> None:
        self.network.block(self.node(number).host, self.node(number + 1 + number // 3 % 2).host, one_way=True)

    async def cut(self, number: int) -> None:
        """A machine is off the network altogether."""
        for host in self.network.hosts.values():
            if host is not self.node(number).host:
                self.network.cut(self.node(number).host, host)

    async def heal(self, number: int) -> None:
        self.network.heal()

    async def udp(self, number: int) -> None:
        host = self.node(number).host
        host.datagrams = not host.datagrams

    async def move(self, number: int) -> None:
        self.mesh.move(self.node(number), REACHABLE[number % len(REACHABLE)])

    async def reboot(self, number: int) -> None:
        if (nat := self.node(number).host.nat) is not None:
            self.network.reboot(nat)

    async def forget(self, number: int) -> None:
        if (nat := self.node(number).host.nat) is not None:
            nat.forget()

    async def switch(self, number: int) -> None:
        if (nat := self.node(number).host.nat) is not None and nat.kind is not NatKind.ONE_TO_ONE:
            nat.switch(KINDS[number % len(KINDS)])

    async def middlebox(self, number: int) -> None:
        kind = ("data", "disco", "initiation", "response")[number % 4]
        self.network.drop(lambda sender, receiver, payload: describe(payload) == kind)

    async def kill_relay(self, number: int) -> None:
        if self.mesh.relays["second"].running is not None:
            await self.mesh.relays["second"].kill()

    async def start_relay(self, number: int) -> None:
        if self.mesh.relays["second"].running is None:
            await self.mesh.relays["second"].start()

    async def restart(self, number: int) -> None:
        await self.node(number).restart()

    async def wait(self, number: int) -> None:
        await asyncio.sleep(number / 3)

    async def wait_long(self, number: int) -> None:
        await asyncio.sleep(10 * (number + 1))

    async def talk(self, number: int) -> None:
        """A second of packets from everybody to everybody."""
        for _ in range(4):
            for one in self.nodes:
                for other in self.nodes:
                    with contextlib.suppress(PlatformError):
                        if one is not other and one.up:
                            one.device.send_echo(other.addresses[0])
            await asyncio.sleep(0.25)

    async def settle(self) -> None:
        """Everything is whole."""
        self.network.heal()
        await self.start_relay(0)
        for node in self.nodes:
            node.host.datagrams = self.mesh.whereabouts[node.name].place.datagrams

    async def check(self) -> None:
        pairs = [(one, other) for one in self.nodes for other in self.nodes if one.name < other.name]
        await asyncio.gather(*(one.reach(other, timeout=CONNECTED) for one, other in pairs))
        await asyncio.gather(*(self.meet(*pair) for pair in pairs))

    async def meet(self, one: MemoryNode, other: MemoryNode) -> None:
        async with Pulse(one, other, every=0.5):
            if self.can_be_direct(one, other):
                await self.mesh.direct(one, other, timeout=DIRECT)
            else:
                await asyncio.sleep(10)
                assert BARE not in (one.via(other), other.via(one))

    def can_be_direct(self, one: MemoryNode, other: MemoryNode) -> bool:
        here, there = (self.mesh.whereabouts[node.name].now for node in (one, other))
        return can_be_direct(here, there)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11)), min_size=2, max_size=14))
def test_after_any_history_of_the_network_everyone_reaches_everyone(steps: list[Step]) -> None:
    async def run() -> None:
        async with MemoryMesh(relaying=True, seed=len(steps)) as mesh:
            world = World(mesh)
            await world.begin()
            for step in steps:
                await world.take(*step)
            await world.settle()
            await world.check()

    simulate(run)
