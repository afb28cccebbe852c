"""The network misbehaves: loss, duplication, reordering, roaming, address translators."""

import asyncio

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.errors import Unavailable
from ghostwire.testing import Link, NatKind, simulated
from ghostwire.testing.mesh import MemoryMesh

BAD = Link(latency=30 * MILLISECOND, jitter=20 * MILLISECOND, loss=0.2, duplication=0.1, reordering=0.2)


@simulated
async def test_a_network_that_loses_a_fifth_doubles_and_reorders_still_carries_a_mesh() -> None:
    async with MemoryMesh(seed=2) as mesh:
        mesh.network.default = BAD
        nodes = [await mesh.join(f"node{number}") for number in range(4)]
        await mesh.converged()
        for one in nodes:
            for other in nodes:
                if one is not other:
                    await one.reach(other)
        first, second = nodes[:2]
        port = second.device.udp(9)
        for number in range(200):
            first.device.udp(9).send(second.addresses[0], 9, number.to_bytes(2, "big"))
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        got = [received.data for received in port.waiting()]
        assert len(set(got)) == len(got), "a payload was delivered twice"
        assert 110 < len(got) < 190


@simulated
async def test_a_node_that_roams_goes_on_with_its_session() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        handshakes = bob.status.counters["ghostwire_tunnel_handshakes_total"]
        alice.host.move("203.0.113.9")
        await alice.ping(bob)
        assert bob.status.counters["ghostwire_tunnel_handshakes_total"] == handshakes
        path = bob.peer("alice").path
        assert path is not None
        assert path.endpoint == "203.0.113.9:41641"
        await bob.ping(alice)


@simulated
async def test_a_node_that_roamed_in_silence_is_found_again_through_the_server() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        alice.host.move("203.0.113.9")
        await mesh.until(lambda: alice.connected, "alice should be back at the server", timeout=120)
        await asyncio.sleep(5)
        await bob.reach(alice)


@simulated
async def test_a_one_way_cut_does_not_confuse_the_mesh() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        mesh.network.cut(bob.host, alice.host, one_way=True)
        with pytest.raises(Unavailable):
            await alice.reach(bob, timeout=200)
        mesh.network.heal()
        await alice.reach(bob)
        await bob.reach(alice)


@simulated
@pytest.mark.parametrize("kind", list(NatKind), ids=lambda kind: kind.value)
async def test_a_node_behind_a_translator_is_reached_once_it_spoke(kind: NatKind) -> None:
    async with MemoryMesh() as mesh:
        router = mesh.network.nat("router", "203.0.113.1", kind)
        inside = await mesh.join("inside", address="10.0.0.5", nat=router)
        outside = await mesh.join("outside")
        await mesh.converged()
        await inside.reach(outside)
        await outside.reach(inside)
        path = outside.peer("inside").path
        assert path is not None
        assert path.endpoint.startswith("203.0.113.1:")


@simulated
async def test_two_nodes_behind_one_translator_use_their_private_addresses() -> None:
    async with MemoryMesh() as mesh:
        router = mesh.network.nat("router", "203.0.113.1", NatKind.PORT_RESTRICTED)
        one = await mesh.join("one", address="10.0.0.5", nat=router)
        two = await mesh.join("two", address="10.0.0.6", nat=router)
        await mesh.converged()
        await one.reach(two)
        path = one.peer("two").path
        assert path is not None
        assert path.endpoint == "10.0.0.6:41641"


@simulated
async def test_a_translator_that_forgets_its_mappings_costs_one_handshake_at_most() -> None:
    async with MemoryMesh() as mesh:
        router = mesh.network.nat("router", "203.0.113.1", NatKind.SYMMETRIC)
        inside = await mesh.join("inside", address="10.0.0.5", nat=router)
        outside = await mesh.join("outside")
        await mesh.converged()
        await inside.reach(outside)
        router.forget()
        await inside.reach(outside)
        await outside.ping(inside)


@simulated
async def test_a_node_that_hears_only_rubbish_goes_on() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        stranger = mesh.network.host("stranger", "203.0.113.66")
        port = stranger.bind(1, lambda source, burst: None)
        chance = mesh.network.hosts["alice"].addresses[0].encode()
        for size in range(0, 1400, 7):
            for kind in (0, 1, 2, 3, 4, 84, 255):
                port.send((bob.host.addresses[0], 41641), [bytes([kind, 0, 0, 0]) + (chance * 200)[:size], b"", b"\0"])
            await asyncio.sleep(0.01)
        await alice.ping(bob)
