"""Which relays are let in, and what they are told: whom to serve, and who their siblings are."""

import asyncio
import logging

import msgspec

from ghostwire.errors import StateError
from ghostwire.keys import NodeKey, RelayKey
from ghostwire.model import Relay
from ghostwire.server.relays.attendance import GRACE, SETTLING
from ghostwire.testing import simulated
from ghostwire.wire.messages import AdmittedKeys, Credentials, Refused, RelaySiblings, RelayWelcome

SECRET = "the secret"
HEX = "ab" * 32


async def change(rig, name, **fields):
    relay = msgspec.structs.replace(rig.relays[name], **fields)
    await rig.plane.mesh.write(lambda transaction: transaction.put(relay))


@simulated
async def test_a_relay_with_its_token_is_in_and_its_record_learns_what_nodes_need(serve):
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET)
        relay = rig.relay(1)
        welcome = await relay.join(SECRET, tls=True, certificate=HEX, stun_port=3479)
        assert (welcome.relay.name, welcome.relay.region, welcome.relay.key) == ("a", 900, relay.key)
        assert len(welcome.mesh_key) == 32
        record = rig.relays["a"]
        assert (record.machine_key, record.certificate, record.stun_port) == (relay.machine_key, HEX, 3479)


@simulated
async def test_a_known_relay_needs_no_token_and_costs_no_commit(serve):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")
        relay.leave()
        await rig.restart()
        revision = rig.plane.mesh.state.revision
        first, second = await relay.join(), await relay.join()
        assert first.mesh_key == second.mesh_key
        assert rig.plane.mesh.state.revision == revision


@simulated
async def test_what_a_relay_says_of_itself_replaces_what_it_said_before(serve):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")
        relay.key = RelayKey(b"\x07" * 32)
        await relay.join(tls=False, stun_port=19302)
        record = rig.relays["a"]
        assert (record.key, record.tls, record.stun_port) == (relay.key, False, 19302)


@simulated
async def test_a_stun_port_that_the_operator_gave_stays(serve):
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET, stun_port=443, stun_fixed=True)
        await rig.relay(1).join(SECRET, stun_port=3478)
        assert rig.relays["a"].stun_port == 443


@simulated
async def test_retrying_with_the_same_token_is_harmless(serve):
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET)
        relay = rig.relay(1)
        streams = [relay.connect(SECRET) for _ in range(3)]
        await streams[-1].until(lambda: streams[-1].of(RelayWelcome))
        await relay.join(SECRET)
        assert len(rig.relays) == 1


@simulated
async def test_a_used_token_in_other_hands_is_refused_with_an_alarm(serve, caplog):
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET)
        first = rig.relay(1)
        await first.join(SECRET)
        refusal = await rig.relay(2).refused(SECRET)
        assert (refusal.code, "another machine" in refusal.message) == ("authentication-failed", True)
        assert any(record.levelno == logging.CRITICAL and "ALARM" in record.message for record in caplog.records)
        assert rig.relays["a"].machine_key == first.machine_key
        assert not first.stream.closed


@simulated
async def test_nothing_secret_is_logged(serve, caplog):
    caplog.set_level(logging.DEBUG)
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET)
        welcome = await rig.relay(1).join(SECRET)
        await rig.relay(2).refused(SECRET)
        assert SECRET not in caplog.text
        assert welcome.mesh_key.hex() not in caplog.text
        assert welcome.mesh_key.hex() not in repr(welcome) + str(welcome)


@simulated
async def test_relays_that_bring_nothing_good_are_refused_with_the_reason(serve):
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET)
        relay = rig.relay(1)
        assert (await relay.refused()).code == "login-required"
        assert (await relay.refused("another")).code == "authentication-failed"
        assert (await relay.refused(credentials=Credentials("auth_key", SECRET))).code == "authentication-failed"
        assert (await relay.refused(SECRET, proof=b"")).code == "authentication-failed"
        assert (await relay.refused(SECRET, protocol=99)).code == "protocol"
        assert (await relay.refused(SECRET, certificate="AB" * 32)).code == "protocol"
        assert (await relay.refused(SECRET, stun_port=70000)).code == "protocol"
        assert rig.relays["a"].machine_key is None


@simulated
async def test_a_token_lets_nobody_in_after_its_time(serve):
    async with serve() as rig:
        await rig.add_relay("a", secret=SECRET)
        await asyncio.sleep(3601)
        assert "expired" in (await rig.relay(1).refused(SECRET)).message


@simulated
async def test_guessing_tokens_is_slowed_down(serve):
    async with serve() as rig:
        codes = [(await rig.relay(n).refused(f"guess {n}")).code for n in range(1, 20)]
        assert codes[:10] == ["authentication-failed"] * 10
        assert codes[10:] == ["busy"] * 9


@simulated
async def test_one_relay_cannot_begin_sessions_without_end(serve):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")
        for _ in range(29):
            await relay.join()
        refusal = await relay.refused()
        assert (refusal.code, refusal.retry_after > 0) == ("busy", True)


@simulated
async def test_two_relays_have_two_keys_and_one_machine_is_one_relay(serve):
    async with serve() as rig:
        first, second = await rig.relays_of("a", "b")
        assert (await second.refused(key=first.key, proof=b"proof of " + first.key.raw)).code == "conflict"
        await rig.add_relay("c", secret=SECRET)
        refusal = await second.refused(SECRET)
        assert (refusal.code, "the relay b already" in refusal.message) == ("conflict", True)


@simulated
async def test_a_second_session_replaces_the_first(serve):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")
        first = relay.stream
        await relay.join()
        assert first.closed
        assert first.of(Refused)[0].code == "replaced"
        assert rig.plane.relays.sessions.count == 1


@simulated
async def test_a_removed_relay_is_told_and_cut(serve):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")
        await rig.plane.mesh.write(lambda transaction: transaction.delete(Relay, rig.relays["a"].id))
        assert relay.stream.closed
        assert relay.stream.of(Refused)[0].code == "removed"
        assert (await relay.refused()).code == "login-required"


@simulated
async def test_a_storage_that_fails_refuses_with_try_again(serve, monkeypatch):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")

        async def fails(work):
            raise StateError("the disk is full")

        monkeypatch.setattr(rig.plane.mesh, "write", fails)
        refusal = await relay.refused()
        assert (refusal.code, refusal.retry_after > 0) == ("busy", True)


@simulated
async def test_relays_know_the_nodes_keys_and_learn_each_change_once(serve):
    async with serve() as rig:
        first, second = await rig.clients(2)
        relays = await rig.relays_of("a", "b")
        assert relays[0].keys == relays[1].keys == {first.node_key, second.node_key}
        third = rig.client(3)
        await third.join()
        old, second.node_key = second.node_key, NodeKey(b"\x77" * 32)
        await second.join(None)
        await rig.settle()
        for relay in relays:
            assert relay.read() == {first.node_key, second.node_key, third.node_key}
            full, *deltas = relay.stream.of(AdmittedKeys)
            assert full.full
            assert not any(delta.full for delta in deltas)
            assert sum(len(delta.keys) for delta in deltas) == 2
            assert [key for delta in deltas for key in delta.removed] == [old]
        frames = [[f for f in relay.stream.frames if f in relays[0].stream.frames] for relay in relays]
        assert frames[0][-1] == frames[1][-1]


@simulated
async def test_a_removed_or_expired_nodes_key_reaches_relays_at_once(serve):
    async with serve() as rig:
        clients = await rig.clients(3)
        (relay,) = await rig.relays_of("a")
        await rig.settle()
        await rig.plane.administration.delete_node("host1")
        await asyncio.sleep(0.05)
        assert relay.read() == {client.node_key for client in clients[1:]}
        node = msgspec.structs.replace(rig.nodes["host2"], expires=rig.plane.mesh.now() + 100)
        await rig.plane.mesh.write(lambda transaction: transaction.put(node))
        await asyncio.sleep(99)
        assert clients[1].node_key in relay.read()
        await asyncio.sleep(1.1)
        assert relay.read() == {clients[2].node_key}


@simulated
async def test_a_burst_of_joins_is_few_frames(serve):
    async with serve() as rig:
        (relay,) = await rig.relays_of("a")
        await asyncio.gather(*(rig.client(number).join() for number in range(1, 60)))
        await rig.settle()
        assert len(relay.read()) == 59
        assert len(relay.stream.of(AdmittedKeys)) <= 4


@simulated
async def test_a_slow_relay_catches_up_when_it_has_drained(serve):
    async with serve() as rig:
        relay, _ = await rig.relays_of("a", "b")
        relay.stream.slow = True
        clients = await rig.clients(3)
        await rig.relays_of("c")
        await rig.plane.administration.delete_node("host1")
        await rig.settle()
        relay.stream.drain()
        await rig.settle()
        assert relay.read() == {client.node_key for client in clients[1:]}
        assert sorted(relay.siblings) == ["b", "c"]
        told = len(relay.stream.of(RelaySiblings))
        relay.stream.slow = True
        relay.stream.drain()
        assert len(relay.stream.of(RelaySiblings)) == told


@simulated
async def test_relays_of_one_region_are_siblings_with_one_key(serve):
    async with serve() as rig:
        first, second = await rig.relays_of("a", "b")
        (far,) = await rig.relays_of("c", region=901, region_name="south")
        await rig.add_relay("not enrolled", secret=SECRET)
        await rig.add_relay("stock", source="derpmap")
        for relay in (first, second, far):
            relay.read()
        assert (sorted(first.siblings), sorted(second.siblings), far.siblings) == (["b"], ["a"], {})
        assert first.siblings["b"].key == second.key
        keys = [relay.stream.of(RelayWelcome)[0].mesh_key for relay in (first, second, far)]
        assert keys[0] == keys[1] != keys[2]


@simulated
async def test_a_sibling_that_is_lost_for_a_moment_stays_one(serve):
    async with serve() as rig:
        first, second = await rig.relays_of("a", "b")
        told = len(first.stream.of(RelaySiblings))
        second.leave()
        await asyncio.sleep(GRACE / 2)
        await second.join()
        await asyncio.sleep(2 * GRACE)
        assert len(first.stream.of(RelaySiblings)) == told
        second.leave()
        await asyncio.sleep(GRACE + 1)
        first.read()
        assert first.siblings == {}


@simulated
async def test_a_restarted_server_tears_no_mesh_of_relays_apart(serve):
    async with serve() as rig:
        first, second, third = await rig.relays_of("a", "b", "c")
        await rig.restart()
        await first.join()
        assert sorted(first.siblings) == ["b", "c"]
        await second.join()
        await asyncio.sleep(SETTLING + 1)
        first.read()
        assert sorted(first.siblings) == ["b"]
        await third.join()
        first.read()
        assert sorted(first.siblings) == ["b", "c"]


@simulated
async def test_a_siblings_new_address_is_told_and_a_changed_capacity_is_not(serve):
    async with serve() as rig:
        first, _ = await rig.relays_of("a", "b")
        await change(rig, "b", host="192.0.2.77")
        first.read()
        assert first.siblings["b"].host == "192.0.2.77"
        told = len(first.stream.of(RelaySiblings))
        await change(rig, "b", capacity=7)
        assert len(first.stream.of(RelaySiblings)) == told


@simulated
async def test_a_relay_that_moves_to_another_region_gets_its_key_with_a_new_session(serve):
    async with serve() as rig:
        first, second = await rig.relays_of("a", "b")
        await change(rig, "b", region=905, region_name="east")
        assert second.stream.of(Refused)[0].code == "busy"
        first.read()
        assert first.siblings == {}
        welcome = await second.join()
        assert welcome.relay.region == 905
        assert welcome.mesh_key != first.stream.of(RelayWelcome)[0].mesh_key
        assert second.siblings == {}


@simulated
async def test_relays_and_what_becomes_of_them_are_in_every_nodes_map(serve):
    async with serve() as rig:
        (node,) = await rig.clients(1)
        await rig.add_relay("a", secret=SECRET)
        await rig.settle()
        assert node.read().relays == {}
        relay = rig.relay(1)
        await relay.join(SECRET)
        await rig.settle()
        (seen,) = node.read().relays.values()
        assert (seen.name, seen.key, seen.host) == ("a", relay.key, "a.example.com")
        late = rig.client(2)
        await late.join()
        assert late.map.relays == node.map.relays
        frames = len(node.stream.frames)
        await change(rig, "a", capacity=5)
        await rig.settle()
        assert len(node.stream.frames) <= frames + 1, "the join of host2 alone"
        await rig.plane.mesh.write(lambda transaction: transaction.delete(Relay, seen.id))
        await rig.settle()
        assert node.read().relays == {}
        assert late.read().relays == {}


@simulated
async def test_a_node_that_comes_back_learns_only_the_relays_that_changed(serve):
    async with serve() as rig:
        for name in "abc":
            await rig.add_relay(name)
        (node,) = await rig.clients(1)
        node.read()
        node.leave()
        await change(rig, "a", port=8443)
        await rig.plane.mesh.write(lambda transaction: transaction.delete(Relay, rig.relays["b"].id))
        for restarted in (False, True):
            if restarted:
                await rig.restart()
            held = msgspec.structs.replace(node.map.cursor)
            await node.join(None)
            (first, *_) = [m for m in node.stream.received if type(m).__name__ == "MapChange"]
            assert not first.full
            if not restarted:
                assert [relay.name for relay in first.relays] == ["a"]
                assert len(first.removed_relays) == 1
            assert sorted(relay.name for relay in node.map.relays.values()) == ["a", "c"]
            assert held is not None
            node.leave()
