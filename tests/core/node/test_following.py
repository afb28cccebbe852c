"""A whole node in virtual time: following the map that the server sends."""

import asyncio
from typing import Any

import msgspec
import pytest

from ghostwire import NetworkConfig
from ghostwire.model import Cursor, LabelSet, MapChange, Rule
from ghostwire.testing import simulated


@simulated
async def test_a_delta_adds_and_removes_peers_and_an_empty_one_touches_nothing(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    channel, changes = rig.server.channel, len(rig.platform.changes)
    channel.say(MapChange(cursor=Cursor(6, b"n"), nodes=(kit.map_node(4),), removed_nodes=(2,)))
    await asyncio.sleep(1)
    assert sorted(rig.tunnel.peers) == [3, 4]
    applied = rig.tunnel.applied
    channel.say(MapChange(cursor=Cursor(7, b"o"), nodes=(kit.map_node(4),)))
    await asyncio.sleep(1)
    assert rig.tunnel.applied == applied
    assert len(rig.platform.changes) == changes
    await node.close()


@simulated
async def test_a_new_own_address_is_configured(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    moved = msgspec.structs.replace(kit.own_node(rig.server.hellos[0]), addresses=("100.64.9.9",), name="renamed")
    rig.server.channel.say(MapChange(cursor=Cursor(6, b"n"), nodes=(moved,)))
    await asyncio.sleep(1)
    assert rig.platform.config == NetworkConfig("gw0", 1280, ("100.64.9.9/32",), ("100.64.0.0/10",))
    assert node.status().own.name == "renamed"
    await node.close()


@simulated
async def test_malformed_own_addresses_end_the_session_and_not_the_node(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    broken = msgspec.structs.replace(kit.own_node(rig.server.hellos[0]), addresses=("100.64.0.1/33",))
    rig.server.channel.say(MapChange(cursor=Cursor(6, b"n"), nodes=(broken,)))
    await asyncio.sleep(0.01)
    assert "malformed addresses" in node.status().server.last_error
    assert node.state == "running"
    assert rig.platform.config == kit.CONFIG
    await node.close()


@simulated
async def test_a_restored_older_database_sends_a_full_map_that_replaces_all(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.answer = lambda hello: [kit.welcome(hello), kit.full_map(hello, 7, revision=2)]
    rig.server.channel.cut()
    await asyncio.sleep(2)
    assert sorted(rig.tunnel.peers) == [7]
    await node.close()


@simulated
async def test_a_server_that_forgot_the_node_is_outlived_and_joined_again(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    rig.server.answer = kit.refuse("login-required")
    rig.server.channel.cut()
    await asyncio.sleep(600)
    assert node.state == "running"
    assert "gwctl up --token-file" in node.status().server.last_error
    assert sorted(rig.tunnel.peers) == [2, 3]
    rig.server.answer = lambda hello: (
        [kit.welcome(hello), kit.full_map(hello, 8)] if hello.credentials else kit.refuse("login-required")(hello)
    )
    await node.up(rig.token)
    assert node.status().server.connected
    await asyncio.sleep(1)
    assert sorted(rig.tunnel.peers) == [8]
    await node.close()


@simulated
async def test_a_token_given_at_a_restart_heals_a_server_that_forgot_the_node(kit: Any) -> None:
    rig = kit.rig()
    await (await rig.joined()).close()
    rig.server.answer = lambda hello: (
        [kit.welcome(hello), kit.full_map(hello)] if hello.credentials else kit.refuse("login-required")(hello)
    )
    node = rig.node()
    await node.start()
    await node.up(rig.token)
    assert [hello.credentials is not None for hello in rig.server.hellos] == [True, False, True]
    await node.close()


@pytest.mark.parametrize("policy", [False, True])
def test_what_a_change_costs_does_not_grow_with_the_mesh(kit: Any, calls_of: Any, policy: bool) -> None:
    """Counted in Python calls: at a join, a new home, a departure."""

    @simulated
    async def calls(peers: int) -> list[int]:
        rig = kit.rig()
        rig.server.answer = lambda hello: [kit.welcome(hello), _mesh_of(kit, hello, peers, policy=policy)]
        node = await rig.joined()
        tell, cursor = node._member.received, Cursor(6, b"n")
        found = []
        for change in (
            MapChange(cursor=cursor, nodes=(kit.map_node(251),)),
            MapChange(cursor=cursor, nodes=(kit.map_node(3, home=5),)),
            MapChange(cursor=cursor, removed_nodes=(251,)),
        ):
            tell(change)  # for what is made at the first time only
            tell(MapChange(cursor=cursor, removed_nodes=(251,)))
            found.append(calls_of(lambda change=change: tell(change)))
        await node.down(logout=True)
        await node.close()
        return found

    assert calls(10) == calls(200)


def _mesh_of(kit: Any, hello: Any, peers: int, *, policy: bool) -> MapChange:
    found: MapChange = kit.full_map(hello, *range(2, 2 + peers))
    if not policy:
        return found
    rules = tuple(Rule(id=id_, sources=(id_,), destinations=(0,), ports=((80, 80),)) for id_ in range(1, 9))
    sets = tuple(LabelSet(id=id_, nodes=tuple(range(2, 2 + peers))) for id_ in range(1, 9))
    return msgspec.structs.replace(found, rules=rules, sets=(*found.sets, *sets))
