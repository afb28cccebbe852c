"""The transport over small relays, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from ghostwire import BURST, SEALED_MTU, TransportContext
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import PluginError
from ghostwire.keys import RelayKey
from ghostwire.testing import Link, simulated
from ghostwire.testing.contracts.transport import Inbox
from ghostwire_derp import frames
from ghostwire_derp.client.transport import DerpTransport


@simulated
async def test_two_nodes_of_one_region_talk(new_world):
    world = new_world()
    world.relay("berlin", 1)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    assert alice.path(bob, 1).send([b"hello", b"again"])
    await bob.inbox.count(2)
    assert bob.inbox.datagrams == [b"hello", b"again"]
    assert bob.inbox.sources[0] == bob.path(alice, 1)
    assert bob.inbox.sources[0].endpoint == f"1/{alice.key}"
    await world.close()


@simulated
async def test_a_node_asks_for_the_upgrade_as_stock_clients_do(new_world):
    world = new_world()
    relay = world.relay("berlin", 1)
    await world.online("alice", 1)
    first, *headers = relay.requests[0].split("\r\n")
    assert first == "GET /derp HTTP/1.1"
    assert {line.lower() for line in headers} == {"host: 192.0.2.1", "connection: upgrade", "upgrade: derp"}
    await world.close()


@simulated
async def test_a_peer_in_another_region_is_reached_there_and_answers_over_it(new_world):
    world = new_world()
    berlin, tokyo = world.relay("berlin", 1), world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 2)
    assert alice.path(bob, 2).send([b"hello"])
    await bob.inbox.count(1)
    assert bob.path(alice, 1).send([b"yes?"])
    await alice.inbox.count(1)
    assert [relay.name for relay in (berlin, tokyo) if alice.key.raw in relay.guests] == ["berlin", "tokyo"]
    assert bob.key.raw not in berlin.guests, "the reply goes back the way the question came"
    assert alice.inbox.sources[0].endpoint == f"2/{bob.key}"
    await world.close()


@simulated
async def test_only_the_home_is_preferred(new_world):
    world = new_world()
    berlin, tokyo = world.relay("berlin", 1), world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 2)
    alice.path(bob, 2).send([b"hello"])
    await bob.inbox.count(1)
    assert (berlin.guest(alice).preferred(), tokyo.guest(alice).preferred()) == ([b"\x01"], [])
    alice.transport.use(world.records, 2, None)
    await asyncio.sleep(1)
    assert (berlin.guest(alice).preferred(), tokyo.guest(alice).preferred()) == ([b"\x01", b"\x00"], [b"\x01"])
    await world.close()


@simulated
async def test_connections_on_demand_close_after_a_minute_without_writes(new_world):
    world = new_world()
    world.relay("berlin", 1)
    world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 2)
    for _ in range(4):
        assert alice.path(bob, 2).send([b"hello"])
        await asyncio.sleep(40)
    assert alice.transport.connected(2)
    await asyncio.sleep(40)
    assert not alice.transport.connected(2)
    await asyncio.sleep(600)
    assert alice.transport.connected(1), "the home stays"
    assert alice.transport.heard(2) is not None
    assert alice.path(bob, 2).send([b"once more"])
    await bob.inbox.count(5)
    await world.close()


@simulated
async def test_what_is_sent_over_a_cold_relay_waits_for_it_the_oldest_going_first(new_world):
    world = new_world()
    world.relay("berlin", 1)
    world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 2)
    path = alice.path(bob, 2)
    assert [path.send([bytes([number])]) for number in range(40)] == [True] * 40
    await bob.inbox.count(32)
    assert bob.inbox.datagrams == [bytes([number]) for number in range(8, 40)]
    assert alice.count("dropped_queue") == 8
    await world.close()


@simulated
async def test_a_burst_that_finds_no_room_to_wait_is_said_to_be_dropped(new_world):
    world = new_world()
    world.relay("berlin", 1)
    alice, bob = await world.node("alice", 1).start(), world.node("bob")
    assert alice.path(bob, 1).send([b"x"] * BURST) is False
    assert alice.count("dropped_queue") == BURST - 32
    await world.close()


@simulated
async def test_a_peer_of_no_known_region_is_asked_for_at_home(new_world):
    world = new_world()
    world.relay("berlin", 1)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    for home in (0, 77):
        assert alice.path(bob, home).send([b"hello"])
    await bob.inbox.count(2)
    lost = await world.node("lost").start()
    assert lost.path(bob, 0).send([b"hello"]) is False
    assert lost.count("dropped_region") == 1
    await world.close()


@simulated
async def test_a_peer_that_is_gone_is_looked_for_at_its_advertised_home_again(new_world):
    world = new_world()
    berlin, tokyo = world.relay("berlin", 1), world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    bob.path(alice, 1).send([b"from berlin"])
    await alice.inbox.count(1)
    path = alice.path(bob, 2)
    assert path.send([b"to berlin"])
    await bob.inbox.count(1)
    assert tokyo.guests == {}
    berlin.guest(alice).send(frames.PEER_GONE, bob.key.raw + bytes([frames.DISCONNECTED]))
    await asyncio.sleep(1)
    assert path.send([b"to tokyo"])
    await world.until(lambda: alice.key.raw in tokyo.guests)
    await world.close()


@simulated
async def test_a_relay_that_restarts_is_come_back_to(new_world, caplog):
    world = new_world()
    berlin = world.relay("berlin", 1)
    with caplog.at_level(logging.INFO):
        alice, bob = await world.online("alice", 1), await world.online("bob", 1)
        berlin.kill()
        await world.until(lambda: not alice.transport.connected(1))
        assert alice.path(bob, 1).send([b"perhaps"]) in (True, False)
        await asyncio.sleep(20)
        assert not alice.transport.connected(1)
        assert alice.path(bob, 1).send([b"surely not"]) is False
        berlin.start()
        assert await world.until(lambda: alice.transport.connected(1) and bob.transport.connected(1)) <= 6
    assert alice.path(bob, 1).send([b"hello"])
    await bob.inbox.count(1)
    assert alice.count("lost") == 1
    assert alice.count("dropped_away") >= 1
    assert "region 1: connected to relay berlin" in caplog.text
    assert "region 1: connection lost: relay berlin: closed the connection" in caplog.text
    assert "region 1: no connection: 192.0.2.1:3478: connection refused" in caplog.text
    assert len(caplog.records) <= 6, "a line of each kind for each node"
    assert alice.key.raw.hex() not in caplog.text
    await world.close()


@simulated
async def test_a_thousand_refused_attempts_are_spread_out(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    berlin.kill()
    alice = await world.node("alice", 1).start()
    await asyncio.sleep(600)
    assert 150 < alice.count("failures") < 450
    await world.close()


@simulated
async def test_a_dead_region_is_visible_and_a_new_home_serves(new_world):
    world = new_world()
    berlin, _ = world.relay("berlin", 1), world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 2)
    world.network.partition([berlin.host])
    bob.path(alice, 2).send([b"nobody"])
    took = await world.until(lambda: not alice.transport.connected(1), 150)
    assert took <= 125, "what keeps silent for two minutes is gone"
    alice.transport.use(world.records, 2, None)
    await world.until(lambda: alice.transport.connected(2))
    assert alice.path(bob, 2).send([b"here I am"])
    await bob.inbox.count(1)
    await world.close()


@simulated
async def test_who_sends_into_a_dead_connection_finds_out_within_seconds(new_world):
    world = new_world()
    berlin, spare = world.relay("berlin", 1), world.relay("spare", 1)
    alice, bob = await world.online("alice", 1, 1), await world.online("bob", 1, 2)
    world.network.cut(alice.host, berlin.host)
    began = asyncio.get_running_loop().time()
    while alice.key.raw not in spare.guests:
        alice.path(bob, 1).send([b"anybody?"])
        await asyncio.sleep(0.5)
    assert asyncio.get_running_loop().time() - began < 25
    await world.close()


@simulated
async def test_changed_links_are_noticed_at_once(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    alice = await world.online("alice", 1)
    world.network.cut(alice.host, berlin.host)
    await asyncio.sleep(30)
    assert alice.transport.connected(1), "an idle connection does not know yet"
    alice.transport.links_changed()
    await world.until(lambda: not alice.transport.connected(1), 3.1)
    world.network.heal()
    alice.transport.links_changed()
    await world.until(lambda: alice.transport.connected(1), 1)
    await world.close()


@simulated
async def test_a_connection_from_an_address_that_is_gone_is_replaced_at_once(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    alice.transport.links_changed()
    await asyncio.sleep(1)
    assert world.story.count("berlin joined alice") == 1, "its address is still there"
    world.network.cut(alice.host, berlin.host)
    alice.addresses[:] = ["203.0.113.7"]
    alice.transport.links_changed()
    assert not alice.transport.connected(1)
    world.network.heal()
    assert alice.path(bob, 1).send([b"hello"]), "packets wait for the new connection"
    await world.until(lambda: bob.inbox.datagrams == [b"hello"], 0.5)
    await world.close()


@simulated
async def test_a_machine_that_slept_asks_its_relays(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    alice = await world.online("alice", 1)
    await asyncio.sleep(16)
    world.network.clock.advance(40 * SECOND)
    await asyncio.sleep(16)
    assert frames.PING in [kind for kind, _ in berlin.guest(alice).frames]
    assert alice.transport.connected(1)
    await world.close()


@simulated
async def test_a_change_of_assignment_makes_before_it_breaks(new_world):
    world = new_world()
    world.relay("berlin", 1)
    world.relay("potsdam", 1)
    bob = await world.online("bob", 1, 1)
    alice = await world.online("alice", 1, 1)
    assert (alice.transport.at(1), alice.transport.at(9)) == (1, None)
    sent = 0
    for number in range(400):
        if number == 100:
            alice.transport.use(world.records, 1, 2)
        assert alice.path(bob, 1).send([b"there"])
        assert bob.path(alice, 1).send([b"back"])
        sent += 1
        assert alice.transport.connected(1)
        await asyncio.sleep(0.01)
    await bob.inbox.count(sent)
    await alice.inbox.count(sent)
    assert alice.transport.at(1) == 2
    story = [line for line in world.story if line.endswith("alice")]
    assert story == ["berlin joined alice", "potsdam joined alice", "berlin left alice"]
    await world.close()


@simulated
async def test_a_draining_relay_is_left_for_another_and_chosen_only_where_nothing_else_is_left(new_world):
    world = new_world()
    berlin, potsdam = world.relay("berlin", 1), world.relay("potsdam", 1)
    alice = await world.online("alice", 1, 1)
    berlin.record = msgspec.structs.replace(berlin.record, draining=True)
    alice.transport.use(world.records, 1, 1)
    await world.until(lambda: alice.key.raw in potsdam.guests and alice.key.raw not in berlin.guests)
    alice.transport.use(world.records, 1, 1)
    await asyncio.sleep(60)
    assert alice.key.raw not in berlin.guests
    potsdam.kill()
    await world.until(lambda: alice.key.raw in berlin.guests)
    potsdam.start()
    await world.until(lambda: alice.key.raw in potsdam.guests, 60)
    await world.close()


@simulated
async def test_a_relay_that_restarts_by_itself_is_left_for_another(new_world):
    world = new_world()
    relays = world.relay("berlin", 1), world.relay("potsdam", 1)
    alice = await world.online("alice", 1)
    here, other = relays if alice.key.raw in relays[0].guests else relays[::-1]
    here.guest(alice).send(frames.RESTARTING, (1000).to_bytes(4) + (5000).to_bytes(4))
    await world.until(lambda: alice.key.raw in other.guests and alice.key.raw not in here.guests)
    await world.close()


@simulated
async def test_the_assigned_relay_is_come_back_to_once_it_has_restarted(new_world):
    world = new_world()
    berlin, potsdam = world.relay("berlin", 1), world.relay("potsdam", 1)
    alice = await world.online("alice", 1, 1)
    berlin.guest(alice).send(frames.RESTARTING, (1000).to_bytes(4) + (5000).to_bytes(4))
    await world.until(lambda: alice.key.raw in potsdam.guests and alice.key.raw not in berlin.guests)
    await world.until(lambda: alice.key.raw in berlin.guests and alice.key.raw not in potsdam.guests)
    await world.close()


@simulated
async def test_who_looks_for_a_better_relay_returns_at_once_from_one_that_was_lost_while_idle(new_world):
    world = new_world()
    world.relay("berlin", 1)
    tokyo, kyoto = world.relay("tokyo", 2, draining=True), world.relay("kyoto", 2)
    bob = await world.online("bob", 2)
    kyoto.kill()
    await world.until(lambda: bob.key.raw in tokyo.guests)
    alice = await world.online("alice", 1)
    for pause in (20, 62):
        assert alice.path(bob, 2).send([b"hello"])
        await asyncio.sleep(pause)
    tokyo.guest(alice).transport.abort()
    await world.until(lambda: not alice.transport.connected(2))
    assert alice.path(bob, 2).send([b"once more"])
    assert await world.until(lambda: len(bob.inbox.datagrams) == 3) < 1
    await world.close()


@simulated
async def test_a_lone_relay_that_restarts_says_when_to_come_back(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    alice = await world.online("alice", 1)
    berlin.guest(alice).send(frames.RESTARTING, (8000).to_bytes(4) + (5000).to_bytes(4))
    await asyncio.sleep(1)
    berlin.guest(alice).transport.abort()
    await world.until(lambda: not alice.transport.connected(1))
    assert 7.9 < await world.until(lambda: alice.transport.connected(1)) < 9
    await world.close()


@simulated
async def test_nodes_spread_over_the_relays_of_a_region_and_stay_where_they_are(new_world):
    world = new_world()
    for name in ("a", "b", "c"):
        world.relay(name, 1)
    nodes = [await world.online(f"node{number}", 1) for number in range(30)]
    counts = [len(relay.guests) for relay in world.relays.values()]
    assert sum(counts) == 30
    assert min(counts) >= 4
    world.relay("d", 1)
    for node in nodes:
        node.transport.use(world.records, 1, None)
    await asyncio.sleep(60)
    assert [len(relay.guests) for relay in world.relays.values()] == [*counts, 0]
    await world.close()


@simulated
async def test_a_relay_with_another_key_than_the_maps_is_passed_over(new_world):
    world = new_world()
    berlin, potsdam = world.relay("berlin", 1, key=RelayKey(bytes(range(32)))), world.relay("potsdam", 1)
    alice = await world.online("alice", 1, 1)
    assert alice.key.raw in potsdam.guests
    assert berlin.guests == {}
    assert alice.count("connects") == 1
    await world.close()


@simulated
async def test_a_relay_that_says_nothing_costs_a_second_and_a_half(new_world):
    world = new_world()
    berlin, potsdam = world.relay("berlin", 1), world.relay("potsdam", 1)
    berlin.mute = True
    alice = await world.node("alice", 1, 1).start()
    assert 1.5 < await world.until(lambda: alice.transport.connected(1)) < 1.7
    assert alice.key.raw in potsdam.guests
    await world.until(lambda: not berlin.streams)
    await world.close()


@simulated
async def test_addresses_of_the_map_are_tried_before_names_are_looked_up(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1, host="relay.example", ipv4="192.0.2.1", ipv6="2001:db8::99")
    await world.online("alice", 1)
    assert "Host: relay.example" in berlin.requests[0]
    world.relay("nowhere", 2, ipv4="none", ipv6="none")
    bob = await world.node("bob", 2).start()
    await asyncio.sleep(1)
    assert bob.count("failures") >= 1
    await world.close()


@simulated
async def test_a_relay_that_leaves_the_map_is_left(new_world):
    world = new_world()
    berlin, tokyo = world.relay("berlin", 1), world.relay("tokyo", 2)
    alice = await world.online("alice", 1)
    alice.transport.use([tokyo.record], 2, None)
    await world.until(lambda: alice.transport.connected(2) and not berlin.guests)
    assert not alice.transport.connected(1)
    assert alice.transport.heard(1) is None
    await world.close()


@simulated
async def test_the_rate_that_a_relay_asks_for_is_kept(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    berlin.info |= {"TokenBucketBytesPerSecond": 100_000, "TokenBucketBytesBurst": 100_000}
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    sent = 0
    for _ in range(100):
        alice.path(bob, 1).send([bytes(1000)] * 10)
        await asyncio.sleep(0.1)
    sent = sum(len(payload) for kind, payload in berlin.guest(alice).frames if kind == frames.SEND_PACKET)
    assert 1_000_000 < sent < 1_100_000
    assert alice.count("dropped_rate") == 1000 - alice.count("sent")
    await world.close()


@simulated
async def test_a_slow_stream_drops_what_it_cannot_take_and_says_so(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    berlin.guest(alice).transport.pause_reading()
    answers = [alice.path(bob, 1).send([bytes(SEALED_MTU)] * BURST) for _ in range(20)]
    assert answers == sorted(answers, reverse=True), "all that went before"
    assert not answers[-1]
    assert alice.count("dropped_backlog") == BURST * answers.count(False)
    assert alice.count("sent") * SEALED_MTU < 640 * 1024
    berlin.guest(alice).transport.resume_reading()
    await bob.inbox.count(alice.count("sent"))
    await world.close()


@simulated
async def test_datagrams_larger_than_derp_carries_are_dropped_alone(new_world):
    world = new_world()
    world.relay("berlin", 1)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    assert alice.path(bob, 1).send([b"small", bytes(frames.MAX_DATA + 1), bytes(frames.MAX_DATA)]) is False
    await bob.inbox.count(2)
    assert [len(datagram) for datagram in bob.inbox.datagrams] == [5, frames.MAX_DATA]
    assert alice.count("dropped_size") == 1
    await world.close()


@simulated
async def test_an_unwell_relay_is_logged_in_one_line(new_world, caplog):
    world = new_world()
    berlin = world.relay("berlin", 1)
    alice = await world.online("alice", 1)
    for _ in range(10):
        berlin.guest(alice).send(frames.HEALTH, b"duplicate\nclient\x1b[31m")
        berlin.guest(alice).send(frames.HEALTH, b"")
    await asyncio.sleep(1)
    lines = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["relay berlin is not well: duplicate client [31m"]
    await world.close()


@simulated
async def test_the_first_datagram_over_a_slow_link_arrives_once(new_world):
    world = new_world()
    berlin, tokyo = world.relay("berlin", 1), world.relay("tokyo", 2)
    alice, bob = await world.online("alice", 1), await world.online("bob", 2)
    world.network.link(alice.host, tokyo.host, Link(latency=900 * MILLISECOND))
    assert alice.path(bob, 2).send([b"initiation"])
    await bob.inbox.count(1)
    await asyncio.sleep(30)
    assert bob.inbox.datagrams == [b"initiation"]
    assert len(tokyo.guests) == 2
    assert berlin.guests.keys() == {alice.key.raw}
    await world.close()


@simulated
async def test_closing_while_connecting_leaves_nothing_behind(new_world):
    world = new_world()
    berlin = world.relay("berlin", 1)
    berlin.mute = True
    alice = await world.node("alice", 1).start()
    await asyncio.sleep(1)
    assert berlin.streams
    await alice.transport.close()
    await asyncio.sleep(2)
    assert not berlin.streams
    assert len(asyncio.all_tasks()) == 1
    await alice.transport.start(Inbox())
    berlin.mute = False
    await world.until(lambda: alice.transport.connected(1))
    await world.close()


@simulated
async def test_it_needs_the_nodes_identity(new_world, make_context):
    world = new_world()
    context: TransportContext = make_context(
        "alice", world.network.host("alice", "198.51.100.1").sockets, world.network.clock, identity=False
    )
    with pytest.raises(PluginError, match="identity"):
        await DerpTransport(context).start(Inbox())


@simulated
async def test_the_metrics_add_up(new_world):
    world = new_world()
    world.relay("berlin", 1)
    alice, bob = await world.online("alice", 1), await world.online("bob", 1)
    alice.path(bob, 1).send([b"12345", b"123"])
    await bob.inbox.count(2)
    assert (alice.count("sent"), alice.count("sent_bytes")) == (2, 8)
    assert (bob.count("received"), bob.count("received_bytes")) == (2, 8)
    assert alice.context.metrics.values()["ghostwire_derp_client_open"] == 1
    await world.close()
    assert alice.context.metrics.values()["ghostwire_derp_client_open"] == 0
