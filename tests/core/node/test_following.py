"""A whole node in virtual time: following the map that the server sends."""

import asyncio
from typing import Any

import msgspec

from ghostwire import NetworkConfig
from ghostwire.model import Cursor, MapChange
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
