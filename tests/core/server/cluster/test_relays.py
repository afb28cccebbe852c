"""Relays of a mesh of several servers: whichever one they are at, all know them, and assign nodes to them alike."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from ghostwire.capabilities.relaying import Load
from ghostwire.errors import Conflict
from ghostwire.keys import PrivateKey
from ghostwire.model import Relay
from ghostwire.server.relays.administration import Alteration, Order, RelayAdministration
from ghostwire.server.relays.attendance import GRACE, SETTLING
from ghostwire.server.relays.embedded import Embedded, Place
from ghostwire.testing import SeededEntropy, simulated
from ghostwire.wire.messages import HomeRelay, Refused, RelayWelcome

LOST = 11.0
"""Seconds until servers have missed one that was killed."""


class Mesh:
    """Servers with relays. ``administration(n)`` is what administrators do at server n."""

    def __init__(self, servers, make_relay) -> None:
        self.s, self._make = servers, make_relay
        self.entropy = SeededEntropy("relays")

    def administration(self, slot: int) -> RelayAdministration:
        plane = self.s.slots[slot].plane
        return RelayAdministration(plane.mesh, plane.relays, self.entropy)

    async def relay(self, name: str, slot: int, **order):
        """A relay of the region north that has enrolled at that server; it goes where its ``at`` is."""
        record, secret = await self.administration(0).create(Order(name=name, region="north", host=name, **order))
        await self.s.settle(1)
        relay = self._make(lambda: relay.at.plane, record.id)
        relay.at, relay.id = self.s.slots[slot], record.id
        await relay.join(secret)
        await self.s.settle(1)
        return relay

    def siblings(self, slot: int, of: str) -> list[str]:
        """The relays with which that one meshes, as a server sees it."""
        plane = self.s.slots[slot].plane
        return [relay.name for relay in plane.relays.siblings(plane.mesh.state.relay_named(of))]

    async def own(self, slot: int, key: int | None = None) -> Embedded:
        """The relay in that server, published."""
        plane, number = self.s.slots[slot].plane, slot if key is None else key
        embedded = Embedded(plane.mesh, logging.getLogger("ghostwire.server"))
        embedded.open(PrivateKey(bytes([number + 1]) * 32), plane.relays)
        await embedded.publish(Place(f"server{number}.example.com", 8080, True, "", "home"))
        await self.s.settle(1)
        return embedded

    def region(self, name: str) -> int:
        return self.s.planes[0].mesh.state.relay_named(name).region

    def at(self, node) -> int | None:
        """The relay at which the node was told to be."""
        told = node.client.stream.of(HomeRelay)
        return told[-1].relay if told else None

    async def home(self, node, slot: int, region: int) -> None:
        """The node is connected to that server, and its home is that region."""
        node.home = region
        await node.join(self.s.slots[slot])
        await self.s.settle(1)


@pytest.fixture
def meshed(make_relay):
    """``meshed(servers)``: `Mesh`."""
    return lambda servers: Mesh(servers, make_relay)


@simulated
async def test_a_relay_is_shown_as_connected_with_its_load_at_every_server(servers, meshed, api):
    async with servers() as s:
        relay = await meshed(s).relay("a", 1)
        relay.loaded(7)
        await s.settle(1)
        for plane in s.planes:
            async with api(SimpleNamespace(plane=plane, entropy=None)) as client:
                shown = (await client.get("/api/v1/relays/a")).json()
            assert (shown["state"], shown["clients"]) == ("connected", 7)
            assert plane.relays.connected == 1
        relay.leave()
        await s.settle(1)
        for plane in s.planes:
            async with api(SimpleNamespace(plane=plane, entropy=None)) as client:
                shown = (await client.get("/api/v1/relays/a")).json()
            assert (shown["state"], shown["clients"]) == ("away", None)


@simulated
async def test_a_relay_whose_server_is_killed_and_that_comes_to_another_in_time_is_missed_by_nobody(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        a, b = await mesh.relay("a", 0), await mesh.relay("b", 1)
        b.read()
        assert list(b.siblings) == ["a"]
        told = len(b.stream.received)
        await s.slots[0].kill()
        await asyncio.sleep(LOST + GRACE / 2)
        assert mesh.siblings(1, "b") == mesh.siblings(2, "b") == ["a"]
        a.at = s.slots[2]
        await a.join()
        await asyncio.sleep(2 * GRACE)
        assert mesh.siblings(1, "b") == ["a"]
        assert len(b.stream.received) == told, "nobody told its sibling of anything"


@simulated
async def test_a_relay_that_does_not_come_back_is_gone_for_all(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        await mesh.relay("a", 0)
        b = await mesh.relay("b", 1)
        await s.slots[0].kill()
        await asyncio.sleep(LOST + GRACE + 1)
        assert mesh.siblings(1, "b") == mesh.siblings(2, "b") == []
        b.read()
        assert b.siblings == {}


@simulated
async def test_nodes_go_to_the_relay_that_has_least_to_do_though_another_server_has_it(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        a, b = await mesh.relay("a", 0), await mesh.relay("b", 1)
        for busy, free in ((a, b), (b, a)):
            busy.loaded(500)
            free.loaded(1)
            await s.settle(1)
            for slot in range(3):
                node = s.nodes[slot + (3 if busy is b else 0)]
                await mesh.home(node, slot, mesh.region("a"))
                assert mesh.at(node) == free.id


@simulated
async def test_where_a_node_is_to_be_is_known_and_counted_at_every_server(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        relays = [await mesh.relay("a", 0), await mesh.relay("b", 1)]
        for slot, node in enumerate(s.nodes[:3]):
            await mesh.home(node, slot, mesh.region("a"))
        await s.settle(1)
        for plane in s.planes:
            assert {node.id: plane.relays.homes.of(node.id) for node in s.nodes[:3]} == {
                node.id: (mesh.region("a"), mesh.at(node)) for node in s.nodes[:3]
            }
            assert sum(plane.relays.homes.count(relay.id) for relay in relays) == 3


@simulated
async def test_a_relay_that_is_drained_at_one_server_loses_the_nodes_of_all(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        a, b = await mesh.relay("a", 0), await mesh.relay("b", 0)
        b.loaded(900)
        await s.settle(1)
        for slot, node in enumerate(s.nodes[:3]):
            await mesh.home(node, slot, mesh.region("a"))
            assert mesh.at(node) == a.id
        await mesh.administration(2).drain("a", True)
        await s.settle(10)
        assert {mesh.at(node) for node in s.nodes[:3]} == {b.id}
        assert [plane.relays.homes.count(a.id) for plane in s.planes] == [0, 0, 0]


@simulated
async def test_of_two_machines_that_are_one_relay_the_later_stays(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        a = await mesh.relay("a", 0)
        older, a.at = a.stream, s.slots[1]
        await a.join()
        await s.settle(1)
        assert older.of(Refused)[-1].code == "replaced"
        assert not a.stream.closed
        assert [plane.relays.connected for plane in s.planes] == [1, 1, 1]


@simulated
async def test_relays_in_two_servers_mesh_and_each_knows_the_others_load(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        one, two = await mesh.own(0), await mesh.own(1)
        names = {relay.id: relay.host for relay in s.planes[2].mesh.list(Relay) if relay.source == "embedded"}
        assert sorted(names.values()) == ["server0.example.com", "server1.example.com"]
        assert [relay.host for relay in one.siblings.relays] == ["server1.example.com"]
        assert [relay.host for relay in two.siblings.relays] == ["server0.example.com"]
        assert one.siblings.mesh_key == two.siblings.mesh_key != b""
        one.measure(lambda: Load(clients=400, bytes=1))
        await s.settle(15)
        first = next(id_ for id_, host in names.items() if host.startswith("server0"))
        assert [plane.relays.session_of(first).clients for plane in s.planes] == [400, 400, 400]
        await mesh.home(s.nodes[0], 2, mesh.region("embedded"))
        assert names[mesh.at(s.nodes[0])] == "server1.example.com"
        await one.close()
        await two.close()


@simulated
async def test_a_relay_in_a_server_that_restarts_keeps_its_record_and_takes_nodes_for_good(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        one, two = await mesh.own(0), await mesh.own(1)
        record = s.planes[0].mesh.state.relay_named("embedded")
        await one.close()
        await s.slots[0].stop()
        await s.slots[0].start()
        one = await mesh.own(0)
        assert s.planes[0].mesh.state.relay_named("embedded") == record
        await asyncio.sleep(SETTLING + 1)
        one.measure(lambda: Load(clients=0, bytes=1))
        two.measure(lambda: Load(clients=500, bytes=1))
        await s.settle(15)
        for slot, node in enumerate(s.nodes[:3]):
            await mesh.home(node, slot, record.region)
            assert mesh.at(node) == record.id
        await one.close()
        await two.close()


@simulated
async def test_the_record_of_a_relay_in_a_server_is_deleted_once_that_is_gone_for_good(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        one = await mesh.own(0)
        beside = await mesh.relay("a", 1)
        moved = await mesh.administration(1).change("a", Alteration(region="home"))
        await beside.join()
        old = beside.stream.of(RelayWelcome)[-1].mesh_key
        for slot in range(3):
            with pytest.raises(Conflict, match="a server's own"):
                await mesh.administration(slot).delete("embedded")
        await one.close()
        await s.slots[0].kill()
        await asyncio.sleep(LOST)
        await mesh.administration(1).delete("embedded")
        await s.settle(1)
        assert [plane.mesh.state.relay_named("embedded") for plane in s.planes] == [None, None]
        assert beside.stream.of(Refused)[-1].code == "busy"
        assert (await beside.join()).mesh_key != old, "who has the old server's disk does not know the region's key"
        assert moved.region == mesh.region("a")


@simulated
async def test_a_server_whose_relays_record_was_deleted_while_it_was_out_of_reach_publishes_it_anew(servers, meshed):
    async with servers() as s:
        mesh = meshed(s)
        one = await mesh.own(0)
        s.slots[0].storage.cut()
        await asyncio.sleep(LOST)
        await mesh.administration(1).delete("embedded")
        await s.settle(1)
        s.slots[0].storage.heal()
        await s.settle()
        (record,) = (relay for relay in s.planes[2].mesh.list(Relay) if relay.source == "embedded")
        assert all(plane.relays.is_connected(record) for plane in s.planes)
        await one.close()
