"""Who is let in, as whom, and what they are told."""

import asyncio

import pytest

from ghostwire.config import ServerConfig
from ghostwire.errors import StateError
from ghostwire.keys import DiscoKey, NodeKey
from ghostwire.model import Node
from ghostwire.testing import simulated
from ghostwire.wire.messages import Host, Leave, Refused, Welcome

NEW_KEY = NodeKey(b"\x55" * 32)
NEW_DISCO_KEY = DiscoKey(b"\x77" * 32)


@simulated
async def test_a_machine_with_good_credentials_gets_a_name_addresses_and_the_map(serve):
    async with serve() as rig:
        client = rig.client(1, hostname="Büro-PC.example.org", os="linux", version="6.1")
        welcome = await client.join()
        assert welcome.node.name == "buro-pc"
        assert welcome.node.addresses[0] == "100.64.0.2"
        assert welcome.node.addresses[1].startswith("fd")
        assert welcome.node.addresses[1].endswith(":6440:2")
        assert welcome.domain == "mesh.local"
        assert client.map.nodes == {welcome.node.id: welcome.node}
        assert rig.nodes["buro-pc"].os == "linux"


@simulated
async def test_names_are_unique_however_machines_are_called(serve):
    async with serve() as rig:
        for number in range(1, 7):
            await rig.client(number, hostname="printer").join()
        for number in range(7, 9):
            await rig.client(number, hostname="!!!\x07").join()
        assert set(rig.nodes) == {"printer", *(f"printer-{n}" for n in range(1, 6)), "node", "node-1"}


@simulated
async def test_a_machine_without_credentials_is_told_to_log_in(serve):
    async with serve() as rig:
        refusal = await rig.client(1).refused(None)
        assert refusal.code == "login-required"
        assert rig.nodes == {}


@simulated
async def test_wrong_credentials_are_refused_with_the_authenticators_reason(serve):
    async with serve() as rig:
        refusal = await rig.client(1).refused("let me in")
        assert (refusal.code, refusal.message) == ("authentication-failed", "say please")


@simulated
async def test_an_unknown_scheme_is_refused(serve):
    from ghostwire.wire.messages import Credentials

    async with serve() as rig:
        refusal = await rig.client(1).refused(credentials=Credentials("carrier-pigeon", "coo"))
        assert refusal.code == "authentication-failed"


@simulated
async def test_a_node_key_without_its_proof_is_refused_before_anything_happens(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        revision = rig.plane.mesh.state.revision
        refusal = await client.refused(node_key=NEW_KEY)
        assert refusal.code == "authentication-failed"
        assert rig.plane.mesh.state.revision == revision


@simulated
async def test_a_protocol_that_is_not_served_is_refused(serve):
    async with serve() as rig:
        assert (await rig.client(1).refused(protocol=99)).code == "protocol"


@simulated
async def test_a_known_machine_needs_no_credentials_and_costs_no_commit(serve):
    async with serve() as rig:
        client = rig.client(1)
        first = await client.join()
        client.leave()
        revision = rig.plane.mesh.state.revision
        assert (await client.join(None)).node == first.node
        assert rig.plane.mesh.state.revision == revision


@simulated
async def test_retrying_the_same_enrolment_makes_no_second_node(serve):
    async with serve() as rig:
        client = rig.client(1)
        streams = [client.connect() for _ in range(3)]
        await streams[-1].until(lambda: streams[-1].of(Welcome))
        assert len({welcome.node.id for stream in streams for welcome in stream.of(Welcome)}) == 1
        assert len(rig.nodes) == 1


@simulated
async def test_a_machine_that_changes_its_node_key_stays_the_same_node(serve):
    async with serve() as rig:
        viewer, client = await rig.clients(2)
        before = rig.nodes["host2"]
        client.node_key = NEW_KEY
        welcome = await client.join(None)
        assert (welcome.node.id, welcome.node.addresses) == (before.id, before.addresses)
        await rig.settle()
        assert viewer.read().nodes[before.id].node_key == NEW_KEY
        assert not rig.plane.mesh.admits(before.node_key)
        assert rig.plane.mesh.admits(NEW_KEY)


@simulated
async def test_a_stream_overtaken_by_one_with_a_newer_key_is_not_told_that_the_node_is_removed(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        streams = []
        for number in (1, 2):
            client.node_key = NodeKey(bytes([number]) * 32)
            streams.append(client.connect(None))
        older, newer = streams
        await newer.until(lambda: newer.of(Welcome))
        await older.until(lambda: older.closed)
        assert older.of(Refused)[0].code == "replaced"
        assert rig.nodes["host1"].node_key == client.node_key


@simulated
async def test_a_node_key_of_another_machine_is_a_conflict(serve):
    async with serve() as rig:
        first = rig.client(1)
        await first.join()
        thief = rig.client(2)
        thief.node_key = first.node_key
        assert (await thief.refused()).code == "conflict"
        assert list(rig.nodes) == ["host1"]


@simulated
async def test_a_disco_key_of_another_machine_is_a_conflict(serve):
    async with serve() as rig:
        first = rig.client(1)
        await first.join()
        thief = rig.client(2)
        refusal = await thief.refused(disco_key=first.disco_key)
        assert refusal.code == "conflict"
        assert "another machine holds this disco key" in refusal.message
        await thief.join()
        assert (await thief.refused(None, disco_key=first.disco_key)).code == "conflict"
        assert rig.nodes["host2"].disco_key == thief.disco_key


@simulated
@pytest.mark.parametrize("whose", ["nobody's", "its node's", "its machine's", "another node's", "another machine's"])
async def test_a_disco_key_that_is_nobodys_or_another_kind_of_key_is_a_conflict(serve, whose):
    async with serve() as rig:
        (other,) = await rig.clients(1)
        client = rig.client(2)
        raw = {
            "nobody's": bytes(32),
            "its node's": client.node_key.raw,
            "its machine's": client.machine_key.raw,
            "another node's": other.node_key.raw,
            "another machine's": other.machine_key.raw,
        }[whose]
        assert (await client.refused(disco_key=DiscoKey(raw))).code == "conflict"
        assert list(rig.nodes) == ["host1"]


@simulated
async def test_a_machine_that_changes_its_disco_key_stays_the_same_node_and_leaves_the_old_one(serve):
    async with serve() as rig:
        viewer, client = await rig.clients(2)
        old, client.disco_key = client.disco_key, NEW_DISCO_KEY
        welcome = await client.join(None)
        await rig.settle()
        assert viewer.read().nodes[welcome.node.id].disco_key == NEW_DISCO_KEY
        await rig.client(3).join(disco_key=old)
        assert rig.nodes["host3"].disco_key == old


@simulated
async def test_what_a_machine_says_of_itself_follows_its_changes_but_its_name_stays(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        await client.join(None, host=client.host.__class__("other-name", "linux", "7"))
        node = rig.nodes["host1"]
        assert (node.hostname, node.version) == ("other-name", "7")


@simulated
async def test_an_expired_node_comes_back_only_with_credentials_and_as_itself(serve):
    async with serve() as rig:
        client = rig.client(1)
        before = await client.join()
        await rig.plane.administration.expire_node("host1")
        stream = client.stream
        await stream.until(lambda: stream.closed)
        assert stream.of(Refused)[0].code == "key-expired"
        assert (await client.refused(None)).code == "key-expired"
        after = await client.join("please")
        assert (after.node.id, after.node.addresses) == (before.node.id, before.node.addresses)
        assert after.expires is None


@simulated
async def test_a_removed_node_is_told_and_comes_back_as_a_new_one(serve):
    async with serve() as rig:
        client = rig.client(1)
        before = await client.join()
        await rig.plane.administration.delete_node("host1")
        stream = client.stream
        await stream.until(lambda: stream.closed)
        assert stream.of(Refused)[0].code == "removed"
        assert (await client.refused(None)).code == "login-required"
        after = await client.join()
        assert after.node.id > before.node.id
        assert after.node.addresses != before.node.addresses


@simulated
async def test_a_newer_stream_replaces_the_older_one(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        older = client.stream
        await client.join(None)
        await older.until(lambda: older.closed)
        assert older.of(Refused)[0].code == "replaced"
        assert not client.stream.closed
        assert rig.plane.sessions.presence.online == 1


@simulated
async def test_a_node_that_comes_again_and_again_has_to_wait(serve):
    async with serve() as rig:
        client = rig.client(1)
        for _ in range(30):
            await client.join()
        assert (await client.refused()).retry_after > 0
        await asyncio.sleep(60)
        await client.join()


@simulated
async def test_a_stream_that_is_refused_replaces_nothing(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        older = client.stream
        await client.refused(proof=b"wrong")
        assert not older.closed


@simulated
async def test_logging_out_gives_up_the_membership(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()
        client.stream.say(Leave(logout=True))
        assert not client.stream.closed  # it is told once that is stored
        await client.stream.until(lambda: client.stream.closed)
        assert client.stream.of(Refused)[0].code == "removed"
        assert rig.nodes == {}


@simulated
async def test_a_logout_that_cannot_be_stored_is_not_confirmed(serve):
    async with serve() as rig:
        client = rig.client(1)
        await client.join()

        async def full(work):
            raise StateError("disk full")

        rig.plane.mesh.write = full
        client.stream.say(Leave(logout=True))
        await client.stream.until(lambda: client.stream.closed)
        assert client.stream.of(Refused)[0].code == "busy"
        assert list(rig.nodes) == ["host1"]


@simulated
async def test_guessing_secrets_is_slowed_down_and_only_for_the_guesser(serve):
    async with serve() as rig:
        codes = [(await rig.client(number).refused("guess")).code for number in range(1, 15)]
        assert codes[:10] == ["authentication-failed"] * 10
        assert set(codes[10:]) == {"busy"}
        assert (await rig.client(30).refused("please")).retry_after > 0
        await rig.client(31).join(client="198.51.100.1")


@simulated
async def test_a_member_behind_the_guessers_address_that_brings_no_credentials_is_no_guesser(serve):
    async with serve() as rig:
        member = rig.client(50)
        await member.join()
        member.leave()
        for number in range(1, 15):
            await rig.client(number).refused("guess")
        member.host = Host(hostname="upgraded", version="2")
        await member.join(None)


@simulated
async def test_a_bug_while_enrolling_is_answered_and_logged(serve, caplog):
    async with serve() as rig:

        async def broken(work):
            raise ZeroDivisionError

        rig.plane.mesh.write = broken
        assert (await rig.client(1).refused()).code == "busy"
        await rig.settle()
        assert "internal error" in caplog.text


@simulated
async def test_texts_of_a_machine_are_cut_and_cleaned(serve):
    async with serve() as rig:
        client = rig.client(1, hostname="x" * 9000, os="a\nb\x1b[31m", version="\0")
        await client.join()
        (node,) = rig.plane.mesh.list(Node)
        assert len(node.hostname) == 255
        assert (node.os, node.version) == ("ab[31m", "")
        assert len(node.name) <= 63


@simulated
async def test_the_address_range_may_run_out(serve):
    async with serve(config=ServerConfig(ipv4="10.9.0.0/29")) as rig:
        for number in range(1, 6):
            await rig.client(number).join()
        refusal = await rig.client(6).refused()
        assert refusal.code == "conflict"
        assert "no address is free" in refusal.message
