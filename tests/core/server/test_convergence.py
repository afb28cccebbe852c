"""Whatever happens to nodes, streams and the server, every client's map becomes the mesh."""

import asyncio
import logging
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.driver import SystemClock
from ghostwire.model import Endpoint, Node
from ghostwire.testing import simulate
from ghostwire.wire.messages import Leave, Report, Welcome
from ghostwire_storage_sql.storage import SqlStorage

CLIENTS = 6
ACTS = ("join", "join", "join", "lose", "leave", "log out", "rename", "delete", "report", "slow", "drain")
PAUSES = (0.0, 0.06)
"""Seconds after an act; a round of the streams fits into the longer one."""
STEP = st.tuples(st.sampled_from((*ACTS, *ACTS, "restart")), st.integers(0, CLIENTS - 1), st.sampled_from(PAUSES))
STEPS = st.lists(STEP, min_size=10, max_size=60)


class Play:
    """A mesh that things happen to."""

    def __init__(self, rig) -> None:
        self.rig = rig
        self.clients = [rig.client(number, hostname="host") for number in range(1, CLIENTS + 1)]
        self.count = 0

    async def run(self, steps) -> None:
        for act, number, pause in steps:
            self.count += 1
            await getattr(self, act.replace(" ", "_"))(self.clients[number])
            await asyncio.sleep(pause)
        for client in self.clients:
            if client.stream is not None and client.stream.slow:
                client.stream.drain()
        await asyncio.sleep(0.3)

    def check(self) -> None:
        """Every connected client's map is what the server would tell a newcomer, and its records say the same."""
        maps = self.rig.plane.maps
        mesh = {node.id: maps.seen(node) for node in self.rig.plane.mesh.list(Node)}
        assert len({address for node in mesh.values() for address in node.addresses}) == 2 * len(mesh)
        connected = [client for client in self.clients if client.stream is not None and not client.stream.closed]
        for client in connected:
            assert client.read().nodes == mesh
            assert client.map.cursor.revision <= self.rig.plane.mesh.state.revision
        assert self.rig.plane.sessions.presence.online == len(connected)

    def node(self, client):
        return self.rig.plane.mesh.state.node_of_machine(client.machine_key)

    async def join(self, client) -> None:
        stream = client.connect()
        await stream.until(lambda: stream.of(Welcome) or stream.closed)

    async def lose(self, client) -> None:
        """The connection breaks; what was on its way is lost."""
        client.leave()
        await asyncio.sleep(0)

    async def leave(self, client) -> None:
        if client.stream is not None and not client.stream.closed:
            client.read()
            client.stream.say(Leave())
            await asyncio.sleep(0.01)

    async def log_out(self, client) -> None:
        if client.stream is not None and not client.stream.closed:
            client.stream.say(Leave(logout=True))
            await client.stream.until(lambda: client.stream.closed)
            await asyncio.sleep(0.01)

    async def rename(self, client) -> None:
        if self.node(client):
            await self.rig.plane.administration.rename_node(str(self.node(client).id), f"name-{self.count}")

    async def delete(self, client) -> None:
        if self.node(client):
            await self.rig.plane.administration.delete_node(str(self.node(client).id))

    async def report(self, client) -> None:
        if client.stream is not None and not client.stream.closed:
            endpoints = (Endpoint("udp", f"192.0.2.1:{self.count}"),)
            client.stream.say(Report(session=1, sequence=self.count, endpoints=endpoints))

    async def slow(self, client) -> None:
        if client.stream is not None:
            client.stream.slow = True

    async def drain(self, client) -> None:
        if client.stream is not None and client.stream.slow:
            client.stream.drain()

    async def restart(self, client) -> None:
        await self.rig.restart()


def test_every_map_becomes_the_mesh(serve) -> None:
    @settings(max_examples=100, deadline=None)
    @given(steps=STEPS)
    def always(steps) -> None:
        async def main() -> None:
            async with serve() as rig:
                play = Play(rig)
                await play.run(steps)
                play.check()

        simulate(main)

    always()


@pytest.mark.parametrize("seed", range(4))
async def test_every_map_becomes_the_mesh_on_real_sqlite(serve, tmp_path, seed) -> None:
    chance = random.Random(seed)
    acts = (*ACTS, *ACTS, "restart")
    steps = [(chance.choice(acts), chance.randrange(CLIENTS), chance.choice(PAUSES)) for _ in range(60)]
    log = logging.getLogger("storage")
    async with serve(clock=SystemClock(), storage=lambda: SqlStorage(tmp_path, "", os.urandom, log)) as rig:
        play = Play(rig)
        await play.run(steps)
        play.check()
