"""The relay that runs in the server: its record, whom it admits, with whom it meshes."""

import asyncio
import logging

import msgspec
import pytest

from ghostwire.capabilities.relaying import Load
from ghostwire.errors import StateError
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.server.relays.embedded import Embedded, Place
from ghostwire.server.server import Server
from ghostwire.testing import simulated
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.wire.messages import HomeRelay, RelaySiblings, RelayWelcome, Report

KEY = PrivateKey(b"\x09" * 32)
PLACE = Place("mesh.example.com", 8080, True, "ab" * 32, "home")


@pytest.fixture
def embed():
    """``await embed(rig)``: the server's relay, published at ``PLACE`` unless another is given."""
    made = []

    async def start(rig, place=PLACE):
        embedded = Embedded(rig.plane.mesh, logging.getLogger("ghostwire.server"))
        made.append(embedded)
        embedded.open(KEY, rig.plane.relays)
        await embedded.publish(place)
        return embedded

    return start


@simulated
async def test_it_is_in_the_map_where_the_server_is(serve, embed):
    async with serve() as rig:
        (node,) = await rig.clients(1)
        embedded = await embed(rig)
        embedded.announce(stun_port=3478)
        await rig.settle()
        (seen,) = node.read().relays.values()
        assert (seen.name, seen.host, seen.port, seen.tls) == ("embedded", "mesh.example.com", 8080, True)
        assert (seen.certificate, seen.key, seen.stun_port) == ("ab" * 32, KEY.public(RelayKey), 3478)
        assert (seen.region, seen.region_name) == (900, "home")
        await embedded.close()


@simulated
async def test_its_record_is_written_only_where_something_is_different(serve, embed):
    async with serve() as rig:
        await (await embed(rig)).close()
        await rig.plane.mesh.write(lambda t: t.put(msgspec.structs.replace(rig.relays["embedded"], capacity=77)))
        revision, id_ = rig.plane.mesh.state.revision, rig.relays["embedded"].id
        await rig.restart()
        await (await embed(rig)).close()
        assert rig.plane.mesh.state.revision == revision
        moved = msgspec.structs.replace(PLACE, host="192.0.2.7", port=443, certificate="", region="north")
        await (await embed(rig, moved)).close()
        record = rig.relays["embedded"]
        assert (record.id, record.host, record.port, record.certificate) == (id_, "192.0.2.7", 443, "")
        assert (record.region_name, record.capacity) == ("north", 77)


@simulated
async def test_it_is_gone_at_a_start_without_its_plugin(serve, embed):
    async with serve() as rig:
        embedded = await embed(rig)
        await embedded.close()
        await rig.restart()
        assert list(rig.relays) == ["embedded"]
        await (await embed(rig, None)).close()
        assert rig.relays == {}


@simulated
async def test_keys_that_are_removed_replaced_or_expired_are_told_at_once(serve, embed):
    async with serve() as rig:
        clients = await rig.clients(4)
        embedded = await embed(rig)
        gone: list[NodeKey] = []
        embedded.on_removed(gone.extend)
        assert all(embedded.admits(client.node_key) for client in clients)
        assert not embedded.admits(NodeKey(b"\x55" * 32))
        await rig.plane.administration.delete_node("host1")
        assert gone == [clients[0].node_key]
        old, clients[1].node_key = clients[1].node_key, NodeKey(b"\x66" * 32)
        await clients[1].join(None)
        assert gone[1:] == [old]
        await rig.plane.administration.expire_node("host3")
        assert gone[2:] == [clients[2].node_key]
        node = msgspec.structs.replace(rig.nodes["host4"], expires=rig.plane.mesh.now() + 50)
        await rig.plane.mesh.write(lambda transaction: transaction.put(node))
        await asyncio.sleep(51)
        assert gone[3:] == [clients[3].node_key]
        assert not any(embedded.admits(key) for key in gone)
        await embedded.close()


@simulated
async def test_it_and_the_relays_of_its_region_are_siblings(serve, embed):
    async with serve() as rig:
        embedded = await embed(rig)
        changes: list[None] = []
        embedded.on_siblings(lambda: changes.append(None))
        (far,) = await rig.relays_of("far", region=901)
        assert (far.siblings, embedded.siblings.relays, changes) == ({}, (), [])
        (near,) = await rig.relays_of("near", region=900, region_name="home")
        assert list(near.siblings) == ["embedded"]
        assert [relay.name for relay in embedded.siblings.relays] == ["near"]
        assert embedded.siblings.mesh_key == near.stream.of(RelayWelcome)[0].mesh_key
        assert len(changes) == 1
        assert embedded.siblings.mesh_key.hex() not in repr(embedded.siblings)
        await embedded.close()


@simulated
async def test_it_gets_the_new_key_of_a_region_that_a_relay_left(serve, embed, api):
    async with serve() as rig, api(rig) as client:
        embedded = await embed(rig)
        near, _ = await rig.relays_of("a", "b", region_name="home")
        old = embedded.siblings.mesh_key
        await client.delete("/api/v1/relays/b")
        await rig.settle()
        assert (await near.join()).mesh_key == embedded.siblings.mesh_key != old
        await embedded.close()


@simulated
async def test_its_region_keeps_its_number_over_a_restart(serve, embed):
    async with serve() as rig:
        north = await rig.add_relay("a")
        await (await embed(rig)).close()
        await rig.plane.mesh.write(lambda transaction: transaction.delete(type(north), north.id))
        await rig.restart()
        await (await embed(rig)).close()
        assert rig.relays["embedded"].region == 901


@simulated
async def test_it_takes_nodes_by_its_load_as_others_do(serve, embed):
    async with serve() as rig:
        embedded = await embed(rig)
        embedded.measure(lambda: Load(clients=500, bytes=1))
        await rig.relays_of("a", region_name="home")
        await asyncio.sleep(11)
        for client in await rig.clients(3):
            client.stream.say(Report(session=1, sequence=1, home=900))
            assert [message.relay for message in client.stream.of(HomeRelay)] == [rig.relays["a"].id]
        assert rig.plane.relays.session_of(rig.relays["embedded"].id).clients == 500
        await embedded.close()


@simulated
async def test_a_drained_server_relay_stays_drained_over_a_restart(serve, embed, api):
    async with serve() as rig, api(rig) as client:
        await (await embed(rig)).close()
        await client.post("/api/v1/relays/embedded/drain")
        await rig.restart()
        await (await embed(rig)).close()
        assert rig.relays["embedded"].draining


@simulated
async def test_a_stun_port_that_cannot_be_stored_is_said(serve, embed, monkeypatch, caplog):
    async with serve() as rig:
        embedded = await embed(rig)

        async def fails(work):
            raise StateError("the disk is full")

        monkeypatch.setattr(rig.plane.mesh, "write", fails)
        embedded.announce(stun_port=3478)
        await embedded.close()
        assert "cannot be announced: the disk is full" in caplog.text


@simulated
async def test_siblings_hear_when_it_moves(serve, embed):
    async with serve() as rig:
        embedded = await embed(rig)
        (near,) = await rig.relays_of("near", region_name="home")
        told = len(near.stream.of(RelaySiblings))
        await embedded.publish(msgspec.structs.replace(PLACE, port=9090))
        near.read()
        assert near.siblings["embedded"].port == 9090
        assert len(near.stream.of(RelaySiblings)) == told + 1
        await embedded.close()


@simulated
async def test_a_server_whose_url_no_node_can_read_says_so_and_has_no_relay(monkeypatch, caplog):
    monkeypatch.setattr(Server, "url", "http://machine..name:8080")
    async with MemoryMesh(relaying=True) as mesh:
        assert (await mesh.server.request("GET", "/api/v1/relays"))["relays"] == []
    assert "set url in [server]" in caplog.text


@simulated
async def test_a_whole_server_in_memory_has_its_relay_at_its_url():
    async with MemoryMesh(relaying=True) as mesh:
        for _ in range(2):
            (relay,) = (await mesh.server.request("GET", "/api/v1/relays"))["relays"]
            assert (relay["name"], relay["host"], relay["port"], relay["tls"]) == ("embedded", "192.0.2.1", 8080, False)
            await mesh.server.restart()
