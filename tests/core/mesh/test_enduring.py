"""Restarts, absences, backups and clocks that jump: the mesh goes on."""

import asyncio

import pytest

from ghostwire.config import ServerConfig
from ghostwire.engine import SECOND
from ghostwire.errors import StateError, Unavailable
from ghostwire.model import MapChange
from ghostwire.testing import MemoryStorage, running_clock, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.wire.messages import Welcome

HOUR = 3600


def maps(node: MemoryNode) -> list[MapChange]:
    """The map changes a node heard."""
    return [message for message in node.heard if isinstance(message, MapChange)]


@simulated
async def test_a_node_that_restarts_while_the_server_is_down_still_talks() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        await mesh.server.kill()
        await bob.restart()
        await mesh.until(lambda: bob.up, "bob should run on what he knows")
        assert not bob.connected
        await bob.reach(alice, timeout=5)
        await alice.reach(bob, timeout=5)


@simulated
async def test_both_nodes_can_restart_without_the_server() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        await asyncio.sleep(10)
        await mesh.server.stop()
        await asyncio.gather(alice.restart(), bob.restart())
        await alice.reach(bob)
        assert alice.sees() == {"bob"}


@simulated
async def test_a_killed_node_comes_back_as_itself() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await asyncio.sleep(10)
        addresses = bob.addresses
        await bob.kill()
        await mesh.until(lambda: not bob.connected, "bob should be gone")
        await bob.start()
        await mesh.converged()
        assert bob.addresses == addresses
        await alice.reach(bob)


@simulated
async def test_the_server_restarts_and_nodes_resume_where_they_were() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        for node in (alice, bob):
            node.heard.clear()
        await mesh.server.restart()
        await mesh.until(lambda: alice.connected and bob.connected, "both should be back")
        carol = await mesh.join("carol")
        await mesh.converged()
        for node in (alice, bob):
            assert not any(change.full for change in maps(node)), f"{node.name} was sent a full map again"
            assert [each.name for change in maps(node) for each in change.nodes] == ["carol"]
        await alice.ping(carol)


@simulated
async def test_what_happened_while_a_node_was_away_is_told_as_a_difference() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.join("carol")
        await mesh.converged()
        await asyncio.sleep(10)
        await alice.stop()
        await mesh.join("dave")
        await mesh.server.request("DELETE", "/api/v1/nodes/carol")
        alice.heard.clear()
        await alice.start()
        await mesh.until(lambda: alice.connected and alice.sees() == {"bob", "dave"}, "alice should know what happened")
        assert not any(change.full for change in maps(alice))
        assert {each.name for change in maps(alice) for each in change.nodes} <= {"dave", "alice"}
        await bob.ping(alice)


@simulated
async def test_a_node_that_was_away_longer_than_the_log_reaches_gets_a_full_map() -> None:
    async with MemoryMesh(config=ServerConfig(keep_revisions=100)) as mesh:
        alice, _ = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await asyncio.sleep(10)
        await alice.stop()
        for number in range(120):
            await mesh.server.request("PATCH", "/api/v1/nodes/2", {"name": f"bob{number}"})
        await asyncio.sleep(2 * HOUR)
        alice.heard.clear()
        await alice.start()
        await mesh.until(lambda: alice.connected and alice.sees() == {"bob119"}, "alice should know bob's new name")
        assert [change.full for change in maps(alice)][:1] == [True]


@simulated
async def test_a_killed_server_has_lost_nothing_it_acknowledged() -> None:
    async with MemoryMesh() as mesh:
        names = [f"node{number}" for number in range(5)]
        for name in names:
            await mesh.join(name)
        await mesh.server.kill()
        await mesh.server.start()
        assert [node["name"] for node in await mesh.server.nodes()] == names
        await mesh.converged(timeout=120)


@simulated
async def test_the_server_is_gone_for_an_hour_and_back() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        await mesh.server.kill()
        for _ in range(12):
            await asyncio.sleep(HOUR / 12)
            await alice.reach(bob, timeout=5)
        assert not alice.connected
        assert alice.status.server.last_error
        await mesh.server.start()
        await mesh.until(lambda: alice.connected and bob.connected, "both should be back", timeout=300)
        await mesh.join("carol")
        await mesh.converged()


@simulated
async def test_the_network_to_the_server_is_cut_for_an_hour_and_healed() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        mesh.network.cut(alice.host, mesh.server.host)
        await mesh.until(lambda: not alice.connected, "alice should notice", timeout=200)
        await mesh.join("carol")
        await asyncio.sleep(HOUR)
        assert [node["online"] for node in await mesh.server.nodes()] == [False, True, True]
        await alice.reach(bob)
        mesh.network.heal()
        await mesh.until(lambda: alice.connected, "alice should be back", timeout=300)
        await mesh.converged()


@simulated
async def test_a_restored_older_database_gives_a_full_map_and_nothing_breaks() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        backup = mesh.server.database.backup()
        await mesh.server.request("PATCH", "/api/v1/nodes/bob", {"name": "renamed"})
        await mesh.until(lambda: alice.sees() == {"renamed"}, "alice should hear of it")
        for node in (alice, bob):
            node.heard.clear()
        await mesh.server.restart(backup)
        await mesh.server.request("PATCH", "/api/v1/nodes/alice", {"name": "alicia"})
        await mesh.until(lambda: alice.connected and bob.connected, "both should be back")
        await mesh.until(lambda: alice.sees() == {"bob"} and bob.sees() == {"alicia"}, "the backup should be the truth")
        assert all(maps(node)[0].full for node in (alice, bob))
        await alice.ping(bob)


@simulated
async def test_a_node_that_joined_after_the_backup_was_made_talks_on_until_it_joins_again() -> None:
    async with MemoryMesh() as mesh:
        alice = await mesh.join("alice")
        backup = mesh.server.database.backup()
        bob = await mesh.join("bob")
        await mesh.converged()
        await mesh.server.restart(backup)
        await mesh.until(lambda: "does not know this node" in bob.status.server.last_error, "bob should be told")
        assert bob.up
        await bob.node.up(await mesh.server.token())
        await mesh.converged()
        await alice.reach(bob)


@simulated
@pytest.mark.parametrize("jump", [10 * 365 * 24 * HOUR, -10 * 365 * 24 * HOUR, 90, -90])
async def test_a_wall_clock_that_jumps_stops_nothing(jump: int) -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        running_clock().jump_wall(jump * SECOND)
        await asyncio.sleep(200)
        await alice.ping(bob)
        await bob.restart()
        await alice.reach(bob)
        await asyncio.sleep(200)
        await bob.ping(alice)


@simulated
async def test_sessions_are_renewed_for_as_long_as_packets_flow() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        for _ in range(60):
            await alice.ping(bob)
            await asyncio.sleep(10)
        assert alice.status.counters["ghostwire_tunnel_handshakes_total"] >= 4


@simulated
async def test_an_idle_mesh_is_quiet() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        await asyncio.sleep(300)
        mesh.network.trace.clear()
        for node in (alice, bob):
            node.heard.clear()
        await asyncio.sleep(HOUR)
        assert len(mesh.network.trace) == 0, mesh.network.diagram()
        assert not any(isinstance(message, MapChange | Welcome) for node in (alice, bob) for message in node.heard)


@simulated
async def test_a_second_server_on_the_same_database_is_refused() -> None:
    async with MemoryMesh() as mesh:
        with pytest.raises(StateError, match="in use"):
            await MemoryStorage(mesh.server.database).open(lambda commit: None)


@simulated
async def test_a_node_cut_off_from_all_is_told_so_and_recovers() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        mesh.network.partition([alice.host])
        with pytest.raises(Unavailable):
            await alice.reach(bob, timeout=30)
        mesh.network.heal()
        await alice.reach(bob)
        await mesh.until(lambda: alice.connected, "alice should be back", timeout=300)
