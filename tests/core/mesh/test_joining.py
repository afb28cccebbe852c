"""Nodes join by token and reach each other: server, nodes and tunnel are the real ones."""

import asyncio
import itertools

import pytest

from ghostwire.errors import AuthenticationFailed, GhostwireError, Refused, Unavailable
from ghostwire.testing import SimulatedLoop, running_clock, simulated
from ghostwire.testing.mesh import MemoryMesh


@simulated
async def test_two_nodes_join_by_token_and_ping_each_other_by_mesh_address() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        assert (alice.addresses[0], bob.addresses[0]) == ("100.64.0.2", "100.64.0.3")
        first = await alice.ping(bob)
        assert await alice.ping(bob) < first, "only the first packet waits for a handshake"
        await bob.ping(alice, version=6)
        assert alice.peer("bob").path is not None
        assert [node["online"] for node in await mesh.server.nodes()] == [True, True]


@simulated
async def test_twenty_nodes_join_at_once_and_each_reaches_each() -> None:
    async with MemoryMesh() as mesh:
        nodes = await asyncio.gather(*(mesh.join(f"node{number}") for number in range(20)))
        await mesh.converged()
        assert len({address for node in nodes for address in node.addresses}) == 40
        pings = [one.ping(other) for one, other in itertools.permutations(nodes, 2)]
        assert len(await asyncio.gather(*pings)) == 380


@simulated
async def test_applications_exchange_payloads_through_the_mesh() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        service = bob.device.udp(53)
        alice.device.udp(5000).send(bob.addresses[1], 53, b"question" * 100)
        question = await service.receive()
        assert (question.data, question.source) == (b"question" * 100, alice.addresses[1])
        service.send(question.source, question.port, b"answer")
        assert (await alice.device.udp(5000).receive()).data == b"answer"


@simulated
async def test_a_used_up_token_is_refused_in_words() -> None:
    async with MemoryMesh() as mesh:
        token = await mesh.server.token()
        first, second = await mesh.add("first"), await mesh.add("second")
        await first.node.up(token)
        with pytest.raises((AuthenticationFailed, Refused), match="used by another machine"):
            await second.node.up(token)
        assert second.status.state == "needs-login"
        assert await mesh.server.nodes() != []
        assert len(await mesh.server.nodes()) == 1


@simulated
async def test_an_expired_token_is_refused() -> None:
    async with MemoryMesh() as mesh:
        token, late = await mesh.server.token(ttl_seconds=60), await mesh.add("late")
        await asyncio.sleep(61)
        with pytest.raises(GhostwireError, match="expired"):
            await late.node.up(token)


@simulated
async def test_a_token_of_another_server_is_refused() -> None:
    async with MemoryMesh() as mesh:
        await mesh.join("alice")
        token, stranger = await mesh.server.token(), await mesh.add("stranger")
        await mesh.server.stop()
        (mesh.server.folder / "server" / "control.key").unlink()
        await mesh.server.start()
        with pytest.raises(GhostwireError, match="another key than the join token named"):
            await stranger.node.up(token)


@simulated
async def test_joining_while_the_server_is_away_is_unavailable_in_time() -> None:
    async with MemoryMesh() as mesh:
        token, node = await mesh.server.token(), await mesh.add("early")
        await mesh.server.stop()
        began = running_clock().now()
        with pytest.raises(Unavailable, match="not up after 30 s"):
            await node.node.up(token, timeout=30)
        assert running_clock().now() - began == 30 * 10**9
        await mesh.server.start()
        await node.node.up(token)


@simulated
async def test_a_reusable_key_admits_many_with_its_tags() -> None:
    async with MemoryMesh() as mesh:
        token = await mesh.server.token(reusable=True, tags=["tag:web"])
        for name in ("one", "two"):
            node = await mesh.add(name)
            await node.node.up(token)
        assert [node["tags"] for node in await mesh.server.nodes()] == [["tag:web"], ["tag:web"]]


@simulated
async def test_a_renamed_node_is_known_by_its_new_name() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.server.request("PATCH", "/api/v1/nodes/bob", {"name": "robert"})
        await mesh.until(lambda: alice.sees() == {"robert"}, "alice should know robert")
        assert bob.status.own is not None
        assert bob.status.own.name == "robert"


@simulated
async def test_a_node_that_goes_down_and_up_again_is_reached_as_before() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        await bob.node.down()
        assert bob.platform.changes[-1].startswith("remove")
        with pytest.raises(Unavailable):
            await alice.ping(bob)
        await bob.node.up()
        await alice.reach(bob)


def test_a_mesh_leaves_nothing_behind() -> None:
    loops: list[SimulatedLoop] = []

    @simulated
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loops.append(loop)
        async with MemoryMesh() as mesh:
            alice, bob = await mesh.join("alice"), await mesh.join("bob")
            await mesh.converged()
            await alice.ping(bob)
        await asyncio.sleep(60)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not mesh.network.streams
        assert not any(host.ports or host.listeners for host in mesh.network.hosts.values())
        assert all(device.closed for node in mesh.nodes.values() for device in node.platform.devices.values())
        assert all(node.platform.config is None for node in mesh.nodes.values())

    run()
    assert loops[0].failures == []
