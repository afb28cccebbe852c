"""What servers of one mesh do for each other's nodes."""

import asyncio

import pytest

from ghostwire.errors import StateError
from ghostwire.keys import ControlKey, load_or_create_private_key
from ghostwire.model import MapChange, Route
from ghostwire.server.cluster.control_key import claim
from ghostwire.server.mesh import LiveMesh
from ghostwire.testing import ManualClock, SharedDatabase, SharedStorage, simulated
from ghostwire.wire.messages import PeerEndpoints, Refused


def told(member, peer):
    """The endpoints of the peer that the member heard last."""
    heard = [m for m in member.client.stream.of(PeerEndpoints) if m.node == peer]
    return [endpoint.text for endpoint in heard[-1].endpoints] if heard else None


@simulated
async def test_a_node_that_joins_at_one_server_is_seen_at_all(servers):
    async with servers() as s:
        for node, slot in zip(s.nodes, s.slots, strict=False):
            await node.join(slot)
        await s.settle()
        for node in s.nodes[:3]:
            assert sorted(n.name for n in node.read().nodes.values()) == ["host", "host-1", "host-2"]
        assert [plane.sessions.presence.online for plane in s.planes] == [3, 3, 3]
        assert [plane.sessions.presence.here for plane in s.planes] == [1, 1, 1]


@simulated
async def test_both_ends_of_an_interest_hear_of_each_other_whichever_servers_they_are_at(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        await a.join(s.slots[0])
        await b.join(s.slots[1])
        await s.settle()
        a.want(b.id)
        await s.settle()
        assert (told(a, b.id), told(b, a.id)) == (["n2:0"], ["n1:0"])
        b.endpoint = "n2:new"
        b.report()
        await s.settle()
        assert told(a, b.id) == ["n2:new"]
        a.want(b.id, wanted=False)
        await s.settle()
        b.endpoint = "n2:newest"
        b.report()
        await s.settle()
        assert told(a, b.id) == ["n2:new"]


@simulated
async def test_a_home_that_one_server_hears_of_is_told_by_all(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        await a.join(s.slots[0])
        await b.join(s.slots[1])
        a.home = 2
        a.report()
        await s.settle()
        assert b.read().nodes[a.id].home == 2


@simulated
async def test_a_stream_that_a_node_has_at_another_server_by_now_is_ended(servers):
    async with servers() as s:
        (a,) = s.nodes[:1]
        await a.join(s.slots[0])
        older = a.client.stream
        await s.settle()
        await a.join(s.slots[1])
        await s.settle()
        assert older.closed
        assert older.of(Refused)[-1].code == "replaced"
        assert a.online
        assert [plane.sessions.presence.here for plane in s.planes] == [0, 1, 0]
        assert {plane.sessions.presence.online for plane in s.planes} == {1}


@simulated
async def test_a_node_resumes_at_another_server_with_what_it_missed_alone(servers):
    async with servers() as s:
        a, b, c = s.nodes[:3]
        for node in (a, b):
            await node.join(s.slots[0])
        await s.settle()
        a.read()
        await s.slots[0].kill()
        await c.join(s.slots[2])
        await s.settle()
        await a.join(s.slots[1])
        await s.settle()
        (change,) = a.client.stream.of(MapChange)
        assert not change.full
        assert [node.id for node in change.nodes] == [c.id]
        assert sorted(a.read().nodes) == sorted((a.id, b.id or 2, c.id))


@simulated
async def test_a_node_that_missed_nothing_is_told_nothing_by_another_server(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        b.home = 1
        await b.join(s.slots[0])
        await a.join(s.slots[0])
        await s.settle()
        a.read()
        await a.join(s.slots[1])
        await s.settle()
        change, *more = a.client.stream.of(MapChange)
        assert not change.full
        assert (change.nodes, change.homes, change.removed_nodes, more) == ((), {}, (), [])


@pytest.mark.parametrize("viewers", [1, 2], ids=["where it came", "at a third server"])
@simulated
async def test_a_home_that_a_killed_server_told_alone_is_told_again(servers, viewers):
    async with servers(delay=lambda: 2.0) as s:
        a, b = s.nodes[:2]
        a.home = 1
        await a.join(s.slots[0])
        await b.join(s.slots[0])
        await s.settle(10)
        a.home = 2
        a.report()
        await asyncio.sleep(0.2)
        assert b.read().nodes[a.id].home == 2
        await s.slots[0].kill()
        a.home = 1
        await b.join(s.slots[viewers])
        await a.join(s.slots[1])
        await s.settle(30)
        assert b.read().nodes[a.id].home == 1


@simulated
async def test_a_server_that_goes_by_a_nodes_older_word_on_its_routes_is_put_right(servers):
    async with servers(delay=lambda: 3.0) as s:
        (a,) = s.nodes[:1]
        a.routes = ("10.1.0.0/16",)
        await a.join(s.slots[0])
        await s.settle(10)
        a.routes = ()
        await a.join(s.slots[1])
        await asyncio.sleep(0.5)
        assert s.planes[1].mesh.list(Route) == []
        s.planes[0].routes.judge_all()
        await asyncio.sleep(0.5)
        assert s.planes[0].mesh.list(Route) != [], "it goes by what it heard"
        await s.settle(10)
        assert [plane.mesh.list(Route) for plane in s.planes] == [[]] * 3


@simulated
async def test_an_ephemeral_node_lives_on_while_any_server_has_it(servers):
    async with servers(ephemeral_grace=300) as s:
        (a,) = s.nodes[:1]
        await a.join(s.slots[0], "please ephemeral")
        await asyncio.sleep(2000)
        assert len(s.planes[1].mesh.state.list(type(s.planes[0].mesh.state.node_named("host")))) == 1
        await s.slots[0].kill()
        await asyncio.sleep(300)
        assert s.planes[0].mesh.state.node_named("host") is not None, "unknown is not offline: the full grace from then"
        await asyncio.sleep(30)
        assert s.planes[0].mesh.state.node_named("host") is None


@simulated
async def test_a_server_without_its_database_sends_its_nodes_away_and_takes_none(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        await a.join(s.slots[0])
        heard = []
        s.planes[0].on_following(heard.append)
        s.slots[0].storage.cut()
        await asyncio.sleep(9)
        assert a.online
        await asyncio.sleep(2)
        assert heard == [False]
        assert a.client.stream.of(Refused)[-1].code == "busy"
        stream = b.client.__class__(lambda: s.planes[0], 9).connect()
        await stream.until(lambda: stream.closed)
        assert stream.of(Refused)[-1].code == "busy"
        assert not s.planes[0].describe()["following"]
        s.slots[0].storage.heal()
        await s.settle()
        assert heard == [False, True]
        await a.join(s.slots[0])
        assert a.online


@simulated
async def test_a_server_that_is_gone_takes_its_nodes_leases_with_it(servers):
    async with servers() as s:
        (a,) = s.nodes[:1]
        await a.join(s.slots[0])
        await s.settle()
        await s.slots[0].kill()
        assert [server["gone"] for server in s.planes[0].servers()] == [None] * 3
        await asyncio.sleep(12)
        for plane in s.planes:
            assert [server["gone"] is None for server in plane.servers()] == [True, True, False]
            assert plane.servers()[2]["name"] == "server0"
        assert {plane.sessions.presence.online for plane in s.planes} == {0}
        assert s.planes[0].sessions.presence.lease(a.id or 1).endpoints, "where it may be still is remembered"


@simulated
async def test_servers_know_each_other_by_name(servers):
    async with servers() as s:
        await s.nodes[0].join(s.slots[2])
        await s.settle()
        first = s.planes[0].servers()
        assert [(server["name"], server["streams"]) for server in first] == [
            ("server0", 0),
            ("server1", 0),
            ("server2", 1),
        ]


@simulated
async def test_a_node_that_is_ahead_of_a_server_waits_for_it(servers):
    async with servers(delay=lambda: 1.0) as s:
        a, b = s.nodes[:2]
        await a.join(s.slots[0])
        await s.settle()
        await b.join(s.slots[0])
        await asyncio.sleep(0.1)
        await a.join(s.slots[1])
        await s.settle()
        assert not a.client.stream.of(MapChange)[0].full
        assert len(a.read().nodes) == 2


@simulated
async def test_a_home_that_moved_meanwhile_is_told_by_a_third_server(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        await b.join(s.slots[0])
        await a.join(s.slots[1])
        await asyncio.sleep(300)
        a.read()
        a.client.leave()
        b.home = 2
        b.report()
        await s.settle()
        await a.join(s.slots[2])
        await s.settle()
        (change,) = a.client.stream.of(MapChange)
        assert (change.full, change.nodes, dict(change.homes)) == (False, (), {b.id: 2})


@simulated
async def test_a_home_that_moved_meanwhile_is_told_by_the_server_that_heard_it(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        await b.join(s.slots[0])
        await a.join(s.slots[1])
        await asyncio.sleep(300)
        a.read()
        a.client.leave()
        b.home = 2
        b.report()
        await s.settle()
        await a.join(s.slots[0])
        await s.settle()
        (change,) = a.client.stream.of(MapChange)
        assert (change.full, change.nodes, dict(change.homes)) == (False, (), {b.id: 2})


@simulated
async def test_a_machine_that_is_another_node_now_begins_with_a_whole_map(servers):
    async with servers() as s:
        (a,) = s.nodes[:1]
        await a.join(s.slots[0])
        await s.settle()
        a.read()
        await s.planes[1].administration.delete_node(str(a.id))
        await s.settle()
        await a.join(s.slots[2])
        await s.settle()
        assert a.client.stream.of(MapChange)[0].full
        assert list(a.read().nodes) == [a.id]


async def test_servers_of_one_database_have_one_control_key(tmp_path):
    database = SharedDatabase()
    keys = []
    for name in ("one", "two"):
        mesh, storage = LiveMesh(ManualClock()), SharedStorage(database)
        await mesh.open(storage)
        (tmp_path / name).mkdir()
        path = tmp_path / name / "control.key"
        if keys:
            with pytest.raises(StateError, match=r"copy control\.key there"):
                await claim(mesh, path)
            assert not path.exists(), "none is made that would be in the way"
            path.write_bytes((tmp_path / "one" / "control.key").read_bytes())
            path.chmod(0o600)
        keys.append(await claim(mesh, path))
        storage.crash()
    assert keys[0].public(ControlKey) == keys[1].public(ControlKey)
    other = tmp_path / "other.key"
    load_or_create_private_key(other)
    mesh = LiveMesh(ManualClock())
    await mesh.open(SharedStorage(database))
    with pytest.raises(StateError, match="the one here is another"):
        await claim(mesh, other)


@simulated
async def test_a_policy_that_another_server_stores_while_this_one_starts_holds_no_cursor_back(servers, monkeypatch):
    async with servers() as s:
        await s.slots[1].stop()
        read = SharedStorage.log

        async def slow(storage, after):
            found = await read(storage, after)
            await s.slots[0].plane.policies.set("* > *", "somebody", expected=0)
            await asyncio.sleep(1)
            return found

        monkeypatch.setattr(SharedStorage, "log", slow)
        await s.slots[1].start()
        monkeypatch.undo()
        await s.settle()
        plane = s.slots[1].plane
        assert plane.policies.version.id == 1
        assert plane.maps.cursor.revision == plane.mesh.state.revision
