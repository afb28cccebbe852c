"""At which relay of their home region nodes are told to be."""

import asyncio

import msgspec

from ghostwire.server.relays.attendance import GRACE
from ghostwire.testing import simulated
from ghostwire.wire.messages import HomeRelay, Report


def report(client, region, *, sequence=1, relay=None):
    client.stream.say(Report(session=1, sequence=sequence, home=region, relay=relay))


def told(client):
    return [message.relay for message in client.stream.of(HomeRelay)]


async def change(rig, name, **fields):
    relay = msgspec.structs.replace(rig.relays[name], **fields)
    await rig.plane.mesh.write(lambda transaction: transaction.put(relay))


@simulated
async def test_nodes_of_a_region_are_spread_over_its_relays(serve):
    async with serve() as rig:
        await rig.relays_of("a", "b")
        await rig.relays_of("far", region=901)
        clients = await rig.clients(10)
        for client in clients:
            report(client, 900)
        ids = [rig.relays[name].id for name in "ab"]
        assert sorted(relay for client in clients for relay in told(client)) == sorted(ids * 5)
        assert {message.region for client in clients for message in client.stream.of(HomeRelay)} == {900}


@simulated
async def test_a_region_that_no_relay_is_in_is_no_home(serve):
    async with serve() as rig:
        await rig.relays_of("a", "b")
        viewer, node = await rig.clients(2)
        report(node, 900)
        await rig.settle()
        id_ = rig.nodes["host2"].id
        assert viewer.read().nodes[id_].home == 900
        report(node, 12345, sequence=2)
        await rig.settle()
        assert viewer.read().nodes[id_].home is None


@simulated
async def test_a_node_stays_at_its_relay_when_it_or_the_server_comes_back(serve):
    async with serve() as rig:
        relays = await rig.relays_of("a", "b")
        clients = await rig.clients(6)
        for client in clients:
            report(client, 900)
        before = [told(client) for client in clients]
        await rig.restart()
        for relay in relays:
            await relay.join()
        for client, (at,) in zip(clients, before, strict=True):
            await client.join(None)
            report(client, 900, sequence=2, relay=at)
        assert [told(client) for client in clients] == before


@simulated
async def test_the_load_that_relays_report_counts(serve):
    async with serve() as rig:
        first, second = await rig.relays_of("a", "b", capacity=100)
        first.loaded(90)
        second.loaded(-5)
        for client in await rig.clients(5):
            report(client, 900)
            assert told(client) == [rig.relays["b"].id]


@simulated
async def test_a_relay_that_is_lost_for_a_moment_keeps_its_nodes_and_one_that_stays_away_loses_them(serve):
    async with serve() as rig:
        relays = {rig.relays[name].id: relay for name, relay in zip("ab", await rig.relays_of("a", "b"), strict=True)}
        (client,) = await rig.clients(1)
        report(client, 900)
        (at,) = told(client)
        relays[at].leave()
        await asyncio.sleep(GRACE / 2)
        await relays[at].join()
        await asyncio.sleep(2 * GRACE)
        assert told(client) == [at]
        relays[at].leave()
        await asyncio.sleep(GRACE + 1)
        (other,) = relays.keys() - {at}
        assert told(client) == [at, other]


@simulated
async def test_the_nodes_of_a_removed_relay_move_at_once(serve):
    async with serve() as rig:
        await rig.relays_of("a", "b")
        clients = await rig.clients(10)
        for client in clients:
            report(client, 900)
        gone, left = rig.relays["a"].id, rig.relays["b"].id
        await rig.plane.mesh.write(lambda transaction: transaction.delete(type(rig.relays["a"]), gone))
        assert {told(client)[-1] for client in clients} == {left}


@simulated
async def test_a_draining_relays_nodes_move_a_few_each_second_and_the_map_says_why(serve, caplog):
    caplog.set_level("INFO")
    async with serve() as rig:
        await rig.relays_of("a", "b")
        clients = await rig.clients(40)
        for client in clients:
            report(client, 900)
        a, b = rig.relays["a"].id, rig.relays["b"].id
        await change(rig, "a", draining=True)
        await asyncio.sleep(5.5)
        moved = sum(told(client) == [a, b] for client in clients)
        assert 0 < moved < 20
        assert clients[0].read().relays[a].draining
        assert "is drained" not in caplog.text
        await asyncio.sleep(30)
        assert {told(client)[-1] for client in clients} == {b}
        assert "relay a is drained" in caplog.text
        late = rig.client(99)
        await late.join()
        report(late, 900)
        assert told(late) == [b]


@simulated
async def test_a_slow_node_learns_its_relay_when_it_has_drained(serve):
    async with serve() as rig:
        await rig.relays_of("a", "b")
        (client,) = await rig.clients(1)
        client.stream.slow = True
        report(client, 900)
        assert told(client) == []
        client.stream.drain()
        assert len(told(client)) == 1


@simulated
async def test_a_node_that_left_the_mesh_takes_no_place(serve):
    async with serve() as rig:
        await rig.relays_of("a", "b")
        for client in await rig.clients(4):
            report(client, 900)
        homes, a, b = rig.plane.relays.homes, rig.relays["a"].id, rig.relays["b"].id
        assert homes.count(a) + homes.count(b) == 4
        await rig.plane.administration.delete_node("host1")
        assert homes.count(a) + homes.count(b) == 3
