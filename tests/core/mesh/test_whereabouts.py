"""Where nodes can be reached reaches those who want to know, and costs the server next to nothing."""

from __future__ import annotations

import asyncio

from ghostwire.testing import NatKind, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh


def reports(node: MemoryNode) -> int:
    """How often the node has told the server where it is."""
    return node.node._member._presence._sequence


def advertised(mesh: MemoryMesh, node: MemoryNode) -> tuple[str, ...]:
    """What the server knows of it."""
    assert mesh.server.running is not None
    own = node.status.own
    assert own is not None
    lease = mesh.server.running.plane.sessions.presence.lease(own.id)
    return tuple(endpoint.text for endpoint in lease.endpoints)


async def settled(mesh: MemoryMesh, node: MemoryNode, *endpoints: str) -> None:
    await mesh.until(lambda: advertised(mesh, node) == endpoints, f"{node.name} should be at {endpoints}", timeout=10)


@simulated
async def test_a_laptop_that_roams_reports_itself_a_few_times() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        home = mesh.network.nat("home", "203.0.113.7", NatKind.PORT_RESTRICTED)
        cafe = mesh.network.nat("cafe", "203.0.113.8", NatKind.PORT_RESTRICTED)
        alice = await mesh.join("alice", address="192.168.1.5", nat=home)
        await settled(mesh, alice, "192.168.1.5:41641", "203.0.113.7:41641")
        assert reports(alice) <= 3
        await asyncio.sleep(60)
        before = reports(alice)
        alice.host.move("10.0.0.9", nat=cafe)
        await settled(mesh, alice, "10.0.0.9:41641", "203.0.113.8:41641")
        await asyncio.sleep(60)
        assert reports(alice) - before <= 2


@simulated
async def test_a_node_behind_a_symmetric_router_reports_itself_no_more_than_any_other() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        router = mesh.network.nat("router", "203.0.113.7", NatKind.SYMMETRIC)
        await mesh.relay("far", "far")
        alice, bob = await mesh.join("alice", address="192.168.1.5", nat=router), await mesh.join("bob")
        await asyncio.sleep(60)
        before = reports(alice)
        for _ in range(60):
            await alice.reach(bob)
            await asyncio.sleep(60)
        assert reports(alice) == before
        assert "203.0.113.7:41641" in advertised(mesh, alice)


@simulated
async def test_an_idle_mesh_reports_nothing() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await asyncio.sleep(60)
        before = reports(alice), reports(bob)
        await asyncio.sleep(24 * 3600)
        assert (reports(alice), reports(bob)) == before
