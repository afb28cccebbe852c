"""Whatever happens to nodes, streams and the server, every client's map becomes the mesh."""

import asyncio
import logging
import os
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.keys import NodeKey
from ghostwire.model import Endpoint, Node, Relay
from ghostwire.server.relays.records import seen, usable
from ghostwire.system.clock import SystemClock
from ghostwire.testing import simulate
from ghostwire.wire.messages import Leave, RelaySiblings, Report, Welcome
from ghostwire_storage_sql.storage import SqlStorage

CLIENTS = 6
ACTS = ("join", "join", "join", "lose", "leave", "log out", "rename", "delete", "report", "slow", "drain")
ACTS += ("add relay", "alter relay", "remove relay", "relay in", "relay in", "relay lost", "rotate")
PAUSES = (0.0, 0.06)
"""Seconds after an act; a round of the streams fits into the longer one."""
STEP = st.tuples(st.sampled_from((*ACTS, *ACTS, "restart")), st.integers(0, CLIENTS - 1), st.sampled_from(PAUSES))
STEPS = st.lists(STEP, min_size=10, max_size=60)


class Play:
    """A mesh that things happen to."""

    def __init__(self, rig) -> None:
        self.rig = rig
        self.clients = [rig.client(number, hostname="host") for number in range(1, CLIENTS + 1)]
        self.relays = [rig.relay(number) for number in range(1, CLIENTS + 1)]
        self.count = 0

    async def run(self, steps) -> None:
        for act, number, pause in steps:
            self.count += 1
            await getattr(self, act.replace(" ", "_"))(self.clients[number])
            await asyncio.sleep(pause)
        for client in (*self.clients, *self.relays):
            if client.stream is not None and client.stream.slow:
                client.stream.drain()
        for client in self.clients:
            self.count += 1
            await self.report(client)
        await asyncio.sleep(0.1)
        self.rig.plane.maps.outboxes.hurry()
        await asyncio.sleep(0.3)

    def check(self) -> None:
        """Every connected client's map is what the server would tell a newcomer, and its records say the same.

        Every connected relay admits the mesh's nodes, and knows who else of its region runs. Where a node is at home
        that was not heard of since the server's start, only those know who were there before.
        """
        self.check_relays()
        maps = self.rig.plane.maps
        online = self.rig.plane.sessions.online
        mesh = {node.id: homed(maps.seen(node), online(node.id)) for node in self.rig.plane.mesh.list(Node)}
        relays = {relay.id: seen(relay) for relay in self.rig.relays.values() if usable(relay)}
        assert len({address for node in mesh.values() for address in node.addresses}) == 2 * len(mesh)
        connected = [client for client in self.clients if client.stream is not None and not client.stream.closed]
        for client in connected:
            assert {id_: homed(node, online(id_)) for id_, node in client.read().nodes.items()} == mesh
            assert client.map.relays == relays
            assert client.map.cursor.revision <= self.rig.plane.mesh.state.revision
        assert self.rig.plane.sessions.presence.online == len(connected)

    def check_relays(self) -> None:
        keys = {node.node_key for node in self.rig.plane.mesh.list(Node)}
        connected = [relay for relay in self.relays if relay.stream is not None and not relay.stream.closed]
        assert self.rig.plane.relays.sessions.count == len(connected)
        for relay in connected:
            assert relay.read() == keys
            record = self.rig.plane.mesh.state.relay_of_machine(relay.machine_key)
            assert {other.id: other for other in relay.siblings.values()} == {
                other.id: other for other in self.rig.plane.relays.siblings(record)
            }

    def node(self, client):
        return self.rig.plane.mesh.state.node_of_machine(client.machine_key)

    async def join(self, client) -> None:
        if client.stream is not None:
            client.read()
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
            home = 900 + self.count % 2
            client.stream.say(Report(session=1, sequence=self.count, endpoints=endpoints, home=home))

    async def rotate(self, client) -> None:
        client.node_key = NodeKey((10_000 + self.count).to_bytes(32, "big"))
        await self.join(client)

    async def add_relay(self, client) -> None:
        if f"relay-{client.number}" not in self.rig.relays:
            await self.rig.add_relay(f"relay-{client.number}", secret=f"s{client.number}", region=900 + self.count % 2)

    async def alter_relay(self, client) -> None:
        relay = self.rig.relays.get(f"relay-{client.number}")
        if relay is not None:
            fields = {"region": 900 + self.count % 2, "port": 1000 + self.count % 3, "draining": self.count % 5 == 0}
            changed = msgspec.structs.replace(relay, **fields)
            await self.rig.plane.mesh.write(lambda transaction: transaction.put(changed))

    async def remove_relay(self, client) -> None:
        relay = self.rig.relays.get(f"relay-{client.number}")
        if relay is not None:
            await self.rig.plane.mesh.write(lambda transaction: transaction.delete(Relay, relay.id))

    async def relay_in(self, client) -> None:
        relay = self.relays[client.number - 1]
        stream = relay.connect(f"s{client.number}")
        await stream.until(lambda: stream.of(RelaySiblings) or stream.closed)

    async def relay_lost(self, client) -> None:
        self.relays[client.number - 1].leave()

    async def slow(self, client) -> None:
        for one in (client, self.relays[client.number - 1]):
            if one.stream is not None:
                one.stream.slow = True

    async def drain(self, client) -> None:
        for one in (client, self.relays[client.number - 1]):
            if one.stream is not None and one.stream.slow:
                one.stream.drain()

    async def restart(self, client) -> None:
        await self.rig.restart()


def homed(node, known):
    """The node, without its home unless that is known."""
    return node if known else msgspec.structs.replace(node, home=None)


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
