"""Nodes are removed, leave, expire: the others drop them."""

import asyncio

import pytest

from ghostwire.config import ServerConfig
from ghostwire.errors import Unavailable
from ghostwire.testing import simulated
from ghostwire.testing.mesh import MemoryMesh


async def names(mesh: MemoryMesh) -> list[str]:
    return [node["name"] for node in await mesh.server.nodes()]


@simulated
async def test_a_removed_node_is_dropped_by_its_peers_and_told_so() -> None:
    async with MemoryMesh() as mesh:
        alice, bob, carol = [await mesh.join(name) for name in ("alice", "bob", "carol")]
        await mesh.converged()
        await alice.ping(bob)
        await alice.ping(carol)
        address = bob.addresses[0]
        await mesh.server.request("DELETE", "/api/v1/nodes/bob")
        await mesh.until(lambda: "bob" not in alice.sees() | carol.sees(), "the peers should drop bob")
        await mesh.until(lambda: bob.status.state == "needs-login", "bob should be told")
        with pytest.raises(Unavailable):
            await alice.device.ping(address, timeout=5)
        await alice.ping(carol)


@simulated
async def test_a_removed_node_cannot_come_back_by_itself_but_can_join_again() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.server.request("DELETE", "/api/v1/nodes/bob")
        await mesh.until(lambda: bob.status.state == "needs-login", "bob should be told")
        await bob.restart()
        await asyncio.sleep(60)
        assert await names(mesh) == ["alice"]
        await bob.node.up(await mesh.server.token())
        await mesh.converged()
        await alice.reach(bob)


@simulated
async def test_a_node_that_logs_out_is_gone_at_once() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await bob.node.down(logout=True)
        await mesh.until(lambda: alice.sees() == set(), "alice should drop bob")
        assert bob.status.state == "needs-login"


@simulated
async def test_an_ephemeral_node_is_removed_after_it_left_and_an_ordinary_one_is_not() -> None:
    async with MemoryMesh(config=ServerConfig(ephemeral_grace=300)) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        guest = await mesh.join("guest", ephemeral=True)
        await mesh.converged()
        await bob.stop()
        await guest.stop()
        await asyncio.sleep(290)
        assert await names(mesh) == ["alice", "bob", "guest"]
        await asyncio.sleep(20)
        assert await names(mesh) == ["alice", "bob"]
        await mesh.until(lambda: alice.sees() == {"bob"}, "alice should drop the guest")


@simulated
async def test_an_ephemeral_node_that_comes_back_in_time_stays() -> None:
    async with MemoryMesh(config=ServerConfig(ephemeral_grace=300)) as mesh:
        guest = await mesh.join("guest", ephemeral=True)
        for _ in range(3):
            await guest.stop()
            await asyncio.sleep(200)
            await guest.start()
            await mesh.until(lambda: guest.connected, "the guest should be back")
            await asyncio.sleep(200)
        assert await names(mesh) == ["guest"]


@simulated
async def test_a_restarted_server_gives_ephemeral_nodes_their_full_grace() -> None:
    async with MemoryMesh(config=ServerConfig(ephemeral_grace=300)) as mesh:
        guest = await mesh.join("guest", ephemeral=True)
        await guest.kill()
        await asyncio.sleep(200)
        await mesh.server.restart()
        await asyncio.sleep(200)
        assert await names(mesh) == ["guest"]
        await asyncio.sleep(200)
        assert await names(mesh) == []


@simulated
async def test_a_node_whose_key_was_ended_is_cut_off_until_it_joins_again() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        before = bob.status.own
        assert before is not None
        await mesh.server.request("POST", "/api/v1/nodes/bob/expire")
        await mesh.until(lambda: bob.status.state == "expired", "bob should be told")
        await bob.node.up(await mesh.server.token())
        await mesh.until(lambda: alice.peer("bob").node_key != before.node_key, "alice should learn bob's new key")
        assert (alice.peer("bob").id, alice.peer("bob").addresses) == (before.id, before.addresses)
        await alice.reach(bob)


@simulated
async def test_an_address_is_not_given_out_again_at_once() -> None:
    async with MemoryMesh() as mesh:
        await mesh.join("alice")
        await mesh.server.request("DELETE", "/api/v1/nodes/alice")
        bob = await mesh.join("bob")
        assert bob.addresses[0] == "100.64.0.3"
