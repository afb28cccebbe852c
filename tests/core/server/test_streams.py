"""What streams are told of the map: everything, then changes, each once, and on return only what was missed."""

import asyncio

import msgspec
import pytest

from ghostwire.config import ServerConfig
from ghostwire.engine import SECOND
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import MapChange, Node
from ghostwire.server import rounds
from ghostwire.server.policy.labels import label_id
from ghostwire.server.timers import LONGEST
from ghostwire.server.views.fanout import PATIENCE
from ghostwire.testing import MemoryDatabase, MemoryStorage, simulated
from ghostwire.wire.messages import Host, Leave, Refresh, Refused, Report

EVERYONE = label_id("*")
HOUR = 3600


def names(network):
    return sorted(node.name for node in network.nodes.values())


def changes(client):
    return client.stream.of(MapChange)


async def expire_in(rig, name, seconds):
    node = msgspec.structs.replace(rig.nodes[name], expires=rig.plane.mesh.now() + seconds)
    await rig.plane.mesh.write(lambda transaction: transaction.put(node))


@simulated
async def test_the_first_map_is_full_and_holds_the_rule_that_lets_everything_in(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        (first,) = changes(client)
        assert first.full
        assert [(rule.sources, rule.destinations) for rule in first.rules] == [((EVERYONE,), (EVERYONE,))]
        assert first.sets[0].everyone
        assert first.cursor.revision == rig.plane.mesh.state.revision


@simulated
async def test_a_join_is_one_small_frame_the_same_for_all(serve):
    async with serve() as rig:
        clients = await rig.clients(20)
        await rig.settle()
        counts = [len(client.stream.frames) for client in clients]
        await rig.client(99, hostname="late").join()
        await rig.settle()
        frames = [client.stream.frames[count:] for client, count in zip(clients, counts, strict=True)]
        assert all(len(new) == 1 for new in frames)
        assert len({new[0] for new in frames}) == 1
        assert len(frames[0][0]) < 300
        assert all("late" in names(client.read()) for client in clients)


@simulated
async def test_a_burst_of_changes_is_one_frame(serve):
    async with serve() as rig:
        viewer = rig.client(1)
        await viewer.join()
        await rig.settle()
        await asyncio.gather(*(rig.client(number).join() for number in range(2, 40)))
        await rig.settle()
        assert len(viewer.read().nodes) == 39
        assert len(changes(viewer)) <= 4


@simulated
async def test_who_joins_comes_back_or_asks_for_all_waits_for_no_round(serve):
    async with serve() as rig:
        await rig.clients(3)
        asking = rig.client(50)
        await asking.join()
        await rig.plane.administration.rename_node("host2", "other")
        await asyncio.sleep(rounds.COALESCE / 2)  # a round was just over
        loop, before = asyncio.get_running_loop(), len(changes(asking))
        await rig.client(51).join()
        await rig.client(1).join()
        asking.stream.say(Refresh())
        began = loop.time()
        await asking.stream.until(lambda: any(change.full for change in changes(asking)[before:]))
        assert loop.time() == began


@simulated
async def test_renames_and_removals_reach_everybody(serve):
    async with serve() as rig:
        clients = await rig.clients(3)
        await rig.plane.administration.rename_node("host2", "other")
        await rig.plane.administration.delete_node("host3")
        await rig.settle()
        assert names(clients[0].read()) == ["host1", "other"]
        assert names(clients[1].read()) == ["host1", "other"]


@simulated
async def test_an_expired_node_disappears_for_others_at_its_time(serve):
    async with serve() as rig:
        viewer, mortal = await rig.clients(2)
        await expire_in(rig, "host2", 7200)
        await asyncio.sleep(7100)
        assert names(viewer.read()) == ["host1", "host2"]
        await asyncio.sleep(120)
        assert names(viewer.read()) == ["host1"]
        assert mortal.stream.closed
        viewer.leave()
        await rig.restart()
        await viewer.join(None)
        assert names(viewer.map) == ["host1"]


@pytest.mark.parametrize("comes", [True, False], ids=["its-node-comes", "an-hour-later"])
def test_a_key_that_ended_by_a_clock_that_was_ahead_begins_again(serve, comes):
    @simulated
    async def run():
        async with serve() as rig:
            viewer, mortal = await rig.clients(2)
            await expire_in(rig, "host2", 3 * HOUR)
            rig.clock.jump_wall(4 * HOUR * SECOND)
            await asyncio.sleep(LONGEST)
            assert (names(viewer.read()), mortal.stream.closed) == (["host1"], True)
            rig.clock.jump_wall(-4 * HOUR * SECOND)
            await (mortal.join(None) if comes else asyncio.sleep(LONGEST))
            await rig.settle()
            assert names(viewer.read()) == ["host1", "host2"]
            await asyncio.sleep(2 * HOUR)
            assert names(viewer.read()) == ["host1"]

    run()


@simulated
async def test_expiry_while_the_server_is_down_reaches_who_comes_back(serve):
    async with serve() as rig:
        viewer, _ = await rig.clients(2)
        await expire_in(rig, "host2", 100)
        await rig.settle()
        viewer.read()
        await rig.plane.close()
        await asyncio.sleep(200)
        await rig.start()
        await viewer.join(None)
        assert not changes(viewer)[0].full
        assert names(viewer.map) == ["host1"]


@simulated
async def test_a_key_that_ends_while_the_server_starts_is_seen_by_nobody(serve):
    class Slow(MemoryStorage):
        first = True

        async def write(self, work):
            seconds, self.first = 60 if self.first else 0, False
            await asyncio.sleep(seconds)
            return await super().write(work)

    disk = MemoryDatabase()
    async with serve(storage=lambda: Slow(disk)) as rig:
        viewer, _ = await rig.clients(2)
        await expire_in(rig, "host2", 30)
        viewer.leave()
        await rig.restart()
        await viewer.join(None)
        assert names(viewer.map) == ["host1"]


@simulated
async def test_a_key_that_ends_while_its_node_is_let_in_ends_the_session(serve):
    async with serve() as rig:
        (client,) = await rig.clients(1)
        client.leave()
        client.host = Host(hostname="host1", version="2")
        stream = client.connect(None)
        await asyncio.sleep(0)  # its claim waits for the commit that the end of its key shares
        await rig.plane.administration.expire_node("host1")
        await stream.until(lambda: stream.closed)
        assert stream.of(Refused)[0].code == "key-expired"
        assert rig.plane.sessions.presence.online == 0


@simulated
async def test_coming_back_costs_only_what_was_missed(serve):
    async with serve() as rig:
        clients = await rig.clients(30)
        await rig.settle()
        client = clients[0]
        client.read()
        client.leave()
        await rig.plane.administration.rename_node("host7", "renamed")
        await rig.plane.administration.delete_node("host9")
        await client.join(None)
        (change,) = changes(client)
        assert not change.full
        assert [node.name for node in change.nodes] == ["renamed"]
        assert len(change.removed_nodes) == 1
        assert len(client.map.nodes) == 29


@simulated
async def test_coming_back_to_an_unchanged_map_gets_its_cursor_alone(serve):
    async with serve() as rig:
        (client,) = await rig.clients(1)
        client.leave()
        await client.join(None)
        (change,) = changes(client)
        assert (change.full, change.nodes, change.removed_nodes) == (False, (), ())


@simulated
async def test_coming_back_after_a_restart_of_the_server_costs_only_what_was_missed(serve):
    async with serve() as rig:
        clients = await rig.clients(10)
        await rig.settle()
        for client in clients:
            client.read()
            client.leave()
        await rig.plane.administration.delete_node("host9")
        await rig.restart()
        await rig.plane.administration.rename_node("host7", "renamed")
        await clients[0].join(None)
        (change,) = changes(clients[0])
        assert not change.full
        assert [node.name for node in change.nodes] == ["renamed"]
        assert len(clients[0].map.nodes) == 9


@simulated
async def test_a_restored_older_database_means_a_full_map(serve):
    database = MemoryDatabase()
    storages = [database]
    async with serve(storage=lambda: MemoryStorage(storages[-1])) as rig:
        clients = await rig.clients(3)
        backup = database.backup()
        late = rig.client(4)
        await late.join()
        await rig.settle()
        clients[0].read()
        clients[0].leave()
        await rig.plane.close()
        storages.append(backup)
        await rig.start()
        other = rig.client(5)
        await other.join()
        await clients[0].join(None)
        assert changes(clients[0])[0].full
        assert names(clients[0].map) == ["host1", "host2", "host3", "host5"]
        assert (await late.refused(None)).code == "login-required"
        addresses = [address for node in rig.nodes.values() for address in node.addresses]
        assert len(set(addresses)) == len(addresses)


@simulated
async def test_a_compacted_revision_means_a_full_map(serve):
    async with serve(config=ServerConfig(keep_revisions=100)) as rig:
        clients = await rig.clients(2)
        await rig.settle()
        for client in clients:
            client.read()
            client.leave()
        for number in range(150):
            await rig.plane.administration.rename_node("1", f"name-{number}")
        await clients[0].join(None)
        assert not changes(clients[0])[0].full
        await asyncio.sleep(3700)
        await clients[1].join(None)
        assert changes(clients[1])[0].full
        assert names(clients[0].read()) == names(clients[1].map) == ["host2", "name-149"]


@simulated
async def test_a_stream_that_stood_still_for_longer_than_the_log_reaches_gets_what_it_lacks(serve):
    async with serve(config=ServerConfig(keep_revisions=10)) as rig:
        slow, gone = await rig.clients(2)
        await rig.settle()
        slow.stream.slow = True
        await rig.plane.administration.delete_node(gone.host.hostname)
        for number in range(20):
            await rig.plane.administration.rename_node("1", f"name-{number}")
        await asyncio.sleep(3700)
        slow.stream.drain()
        await rig.settle()
        last = changes(slow)[-1]
        assert (last.full, len(last.nodes), len(last.removed_nodes)) == (False, 1, 1)
        assert names(slow.read()) == ["name-19"]


@simulated
async def test_a_node_that_comes_and_goes_within_one_commit_disturbs_nobody(serve):
    async with serve() as rig:
        (client,) = await rig.clients(1)
        template = rig.nodes["host1"]

        def come_and_go(transaction):
            id_ = transaction.new_id(Node)
            raw = bytes([9] * 32)
            keys = {"machine_key": MachineKey(raw), "node_key": NodeKey(raw), "disco_key": DiscoKey(raw)}
            node = msgspec.structs.replace(template, id=id_, stable_id="9", name="nine", addresses=("a", "b"), **keys)
            transaction.put(node)
            transaction.delete(Node, id_)

        await rig.plane.mesh.write(come_and_go)
        await rig.client(2).join()
        await rig.settle()
        assert names(client.read()) == ["host1", "host2"]


@simulated
async def test_a_stream_that_cannot_be_served_is_hung_up_on_and_the_others_are_served(serve, caplog):
    async with serve() as rig:
        broken, sound = await rig.clients(2)
        await rig.settle()

        def fail(frame):
            raise ZeroDivisionError

        broken.stream.send = fail
        await rig.client(3).join()
        await rig.settle()
        assert names(sound.read()) == ["host1", "host2", "host3"]
        assert broken.stream.closed
        assert "cannot be served" in caplog.text


@simulated
async def test_a_slow_reader_is_collapsed_to_the_latest_state(serve):
    async with serve() as rig:
        slow, fast = await rig.clients(2)
        await rig.settle()
        slow.stream.slow = True
        before = len(changes(slow))
        for number in range(20):
            await rig.plane.administration.rename_node(
                "host2" if number == 0 else f"name-{number - 1}", f"name-{number}"
            )
            await rig.settle()
        assert len(changes(fast)) > 20
        slow.stream.drain()
        await rig.settle()
        assert len(changes(slow)) == before + 1
        assert names(slow.read()) == names(fast.read()) == ["host1", "name-19"]


@simulated
async def test_a_home_relay_is_told_to_all_and_found_again_on_return(serve):
    async with serve() as rig:
        viewer, node = await rig.clients(2)
        away = rig.client(3)
        await away.join()
        await rig.settle()
        away.read()
        away.leave()
        await rig.add_relay("a", region=12)
        id_ = rig.nodes["host2"].id
        node.stream.say(Report(session=1, sequence=1, home=12))
        await rig.settle()
        assert viewer.read().nodes[id_].home == 12
        assert (changes(viewer)[-1].nodes, changes(viewer)[-1].homes) == ((), {id_: 12}), "no more than what is new"
        await away.join(None)
        assert not changes(away)[0].full
        assert away.map.nodes[id_].home == 12
        late = rig.client(4)
        await late.join()
        assert late.map.nodes[id_].home == 12


@simulated
async def test_a_home_that_a_node_gave_up_while_the_server_restarted_is_no_home(serve):
    async with serve() as rig:
        await rig.add_relay("a", region=12)
        viewer, node = await rig.clients(2)
        id_ = rig.nodes["host2"].id
        node.stream.say(Report(session=1, sequence=1, home=12))
        await rig.settle()
        assert viewer.read().nodes[id_].home == 12
        await rig.restart()
        for client in (viewer, node):
            await client.join(None)
        assert viewer.map.nodes[id_].home == 12, "unknown is not gone"
        node.stream.say(Report(session=2, sequence=1))
        await rig.settle()
        assert viewer.read().nodes[id_].home == 12, "most nodes say what viewers know: there is no hurry"
        await asyncio.sleep(PATIENCE)
        assert viewer.read().nodes[id_].home is None


@simulated
async def test_homes_that_nodes_report_after_a_restart_cost_each_viewer_one_frame(serve):
    async with serve() as rig:
        await rig.add_relay("a", region=12)
        viewer, *nodes = await rig.clients(6)
        for node in nodes:
            node.stream.say(Report(session=1, sequence=1, home=12))
        await rig.settle()
        await rig.restart()
        for client in (viewer, *nodes):
            await client.join(None)
        await rig.settle()
        viewer.read()
        for number, node in enumerate(nodes):
            node.stream.say(Report(session=2, sequence=1, home=12 if number else None))
            await rig.settle()
        await asyncio.sleep(PATIENCE)
        changes = viewer.stream.of(MapChange)[1:]
        assert [len(change.homes) for change in changes] == [5]
        assert viewer.read().nodes[rig.nodes["host2"].id].home is None


@simulated
async def test_fan_out_to_many_streams_lets_other_work_have_its_turn(serve, monkeypatch):
    monkeypatch.setattr(rounds, "ROUND", 10)
    async with serve() as rig:
        clients = await rig.clients(100)
        await rig.settle()
        await rig.plane.administration.rename_node("host1", "renamed")
        before = len(clients[-1].stream.frames)
        reached = set()
        while len(clients[-1].stream.frames) == before:
            await asyncio.sleep(0)
            reached.add(sum("renamed" in names(client.read()) for client in clients))
        assert len(reached) > 5


@simulated
async def test_a_clean_goodbye_closes_the_stream_and_keeps_the_node(serve):
    async with serve() as rig:
        (client,) = await rig.clients(1)
        client.stream.say(Leave())
        await rig.settle()
        assert client.stream.closed
        assert list(rig.nodes) == ["host1"]
        assert rig.plane.sessions.presence.online == 0
