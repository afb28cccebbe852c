"""A stream of requests goes on, whatever happens to the network under it; each test bounds the longest interruption."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.testing import Link, NatKind, simulated
from ghostwire.testing.members import BARE, MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.network import Host
from ghostwire.testing.pulse import Pulse
from ghostwire.testing.trace import describe

RELAY = "derp"
SWITCH = 2.5
"""Seconds within which the relay carries what the direct path no longer does."""
RETURN = 30.0
"""Seconds within which a path that works again is used again."""
BLIP = 0.3
"""Seconds without an answer that nobody notices."""
DEATH = {"kill": 4.0, "stop": 4.0, "vanish": 30.0}
"""How long the death of the relay that carries a stream may interrupt it, by its manner."""
EASY = ("port-restricted", "address-restricted")


class Talk:
    """Two nodes with a direct path, and a stream of requests between them."""

    def __init__(self, mesh: MemoryMesh, one: MemoryNode, other: MemoryNode, pulse: Pulse) -> None:
        self.mesh, self.network, self.one, self.other, self.pulse = mesh, mesh.network, one, other, pulse

    async def gap(self, what: Callable[[], object], seconds: float = 6.0) -> float:
        """Let something happen; the longest time without an answer in the seconds that follow."""
        began = asyncio.get_running_loop().time()
        what()
        await asyncio.sleep(seconds)
        return self.pulse.gap(began)

    @property
    def via(self) -> tuple[str, str]:
        """The transports of both directions."""
        return self.one.via(self.other), self.other.via(self.one)

    async def returns(self) -> float:
        """Seconds until it is direct again; meanwhile nothing is interrupted."""
        began = asyncio.get_running_loop().time()
        took = await self.mesh.direct(self.one, self.other, timeout=2 * RETURN)
        await asyncio.sleep(3)
        assert self.pulse.gap(began) < BLIP
        return took


@asynccontextmanager
async def talking(one: str = EASY[0], other: str = EASY[1], *, every: float = 0.05) -> AsyncIterator[Talk]:
    """Two nodes at these places that talk directly, with a request every so many seconds; two relays."""
    async with MemoryMesh(relaying=True) as mesh:
        await mesh.relay("second", "home")
        alice, bob = await mesh.join("alice", at=one), await mesh.join("bob", at=other)
        await mesh.converged()
        await mesh.at_home()
        await alice.ping(bob)
        async with Pulse(alice, bob, every=every) as pulse:
            await mesh.direct(alice, bob)
            await asyncio.sleep(5)
            yield Talk(mesh, alice, bob, pulse)


@simulated
async def test_when_udp_is_cut_the_relay_carries_it_and_when_it_returns_it_is_direct_again() -> None:
    async with talking() as talk:
        for _ in range(2):
            assert await talk.gap(lambda: talk.network.block(talk.one.host, talk.other.host)) < SWITCH
            assert talk.via == (RELAY, RELAY)
            await asyncio.sleep(20)
            talk.network.heal()
            assert await talk.returns() < RETURN


@pytest.mark.parametrize("cut_off", ["alice", "bob"])
@simulated
async def test_when_a_machine_has_no_udp_at_all_any_more(cut_off: str) -> None:
    async with talking() as talk:
        host = talk.mesh.nodes[cut_off].host

        def set_udp(on: bool) -> None:
            host.datagrams = on

        assert await talk.gap(lambda: set_udp(False)) < SWITCH
        assert talk.via == (RELAY, RELAY)
        await asyncio.sleep(30)
        assert talk.pulse.gap(asyncio.get_running_loop().time() - 30) < BLIP
        set_udp(True)
        assert await talk.returns() < RETURN


@pytest.mark.parametrize("forth", [True, False])
@simulated
async def test_when_udp_passes_only_one_way_any_more(forth: bool) -> None:
    async with talking() as talk:
        ends = (talk.one.host, talk.other.host) if forth else (talk.other.host, talk.one.host)
        assert await talk.gap(lambda: talk.network.block(*ends, one_way=True), 30) < SWITCH
        talk.network.heal()
        assert await talk.returns() < RETURN


@pytest.mark.parametrize(
    ("one", "other"), [EASY, ("symmetric", "full cone"), ("symmetric", "none"), ("full cone", "double NAT")]
)
@simulated
async def test_when_a_router_restarts(one: str, other: str) -> None:
    async with talking(one, other) as talk:
        for site in talk.mesh.sites:
            router = site.router
            if router is not None:
                assert await talk.gap(lambda router=router: talk.network.reboot(router), 10) < SWITCH, router.name  # type: ignore[misc]
                assert await talk.mesh.direct(talk.one, talk.other) < RETURN


@pytest.mark.parametrize("mover", ["alice", "bob"])
@pytest.mark.parametrize("to", ["none", "port-restricted", "symmetric", "UDP blocked", "IPv6 only"])
@simulated
async def test_when_a_machine_moves(mover: str, to: str) -> None:
    async with talking("port-restricted", "full cone") as talk:
        node = talk.mesh.nodes[mover]
        assert await talk.gap(lambda: talk.mesh.move(node, to), 20) < SWITCH
        reachable = to in ("none", "port-restricted") or (to == "symmetric" and mover == "alice")
        if reachable:
            assert talk.via == (BARE, BARE)
        elif to != "symmetric":
            assert talk.via == (RELAY, RELAY)


@simulated
async def test_when_a_machine_comes_home_to_the_other_ones_local_network() -> None:
    async with talking() as talk:
        assert await talk.gap(lambda: talk.mesh.move(talk.one, talk.mesh.sites[1]), 20) < SWITCH
        await talk.mesh.direct(talk.one, talk.other, timeout=RETURN)
        path = talk.one.peer("bob").path
        assert path is not None
        assert path.endpoint.startswith("10.0.")


@simulated
async def test_when_both_machines_move_at_once() -> None:
    async with talking() as talk:

        def move() -> None:
            talk.mesh.move(talk.one, "full cone")
            talk.mesh.move(talk.other, "port-restricted")

        assert await talk.gap(move, 30) < 2 * SWITCH
        assert talk.via == (BARE, BARE)


@simulated
async def test_when_the_home_relay_dies_a_direct_path_does_not_notice() -> None:
    async with talking() as talk:
        await talk.mesh.relays["second"].kill()
        assert await talk.gap(lambda: None, 30) < BLIP
        assert talk.via == (BARE, BARE)


@pytest.mark.parametrize("how", ["kill", "stop", "vanish"])
@simulated
async def test_when_the_relay_that_carries_it_dies(how: str) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        near = await mesh.relay("near", "near")
        alice, bob = await mesh.add("alice", at="symmetric"), await mesh.add("bob", at="port-restricted")
        for node in (alice, bob):
            mesh.network.link(node.host, near.host, Link(latency=MILLISECOND))
            await node.node.up(await mesh.server.token())
        await mesh.converged()
        await mesh.until(lambda: alice.home == bob.home == "near", "both at the near relay")
        await alice.ping(bob)
        async with Pulse(alice, bob) as pulse:
            await asyncio.sleep(5)
            assert pulse.gap() < BLIP
            began = asyncio.get_running_loop().time()
            if how == "vanish":
                mesh.network.partition([near.host])
            else:
                await getattr(near, how)()
            await asyncio.sleep(40)
            assert pulse.gap(began) < DEATH[how]
            assert alice.home == bob.home == "home"


@pytest.mark.parametrize("kind", [NatKind.SYMMETRIC, NatKind.FULL_CONE, NatKind.PORT_RESTRICTED])
@simulated
async def test_when_a_translator_becomes_another_kind(kind: NatKind) -> None:
    async with talking("port-restricted", "port-restricted") as talk:
        router = talk.mesh.sites[0].router
        assert router is not None
        assert await talk.gap(lambda: router.switch(kind), 20) < SWITCH
        assert await talk.gap(lambda: router.switch(NatKind.PORT_RESTRICTED), 30) < SWITCH
        assert talk.via == (BARE, BARE)


def is_wireguard(sender: Host, receiver: Host | None, payload: bytes) -> bool:
    return describe(payload) in ("initiation", "response", "data", "keepalive")


def is_data(sender: Host, receiver: Host | None, payload: bytes) -> bool:
    return describe(payload) in ("data", "keepalive")


def is_large(sender: Host, receiver: Host | None, payload: bytes) -> bool:
    return len(payload) > 1000


@pytest.mark.parametrize("drop", [is_wireguard, is_data])
@simulated
async def test_a_middlebox_that_begins_to_drop_wireguard_and_passes_disco_does_not_hold_the_path(
    drop: Callable[[Host, Host | None, bytes], bool],
) -> None:
    async with talking(every=0.2) as talk:
        began = asyncio.get_running_loop().time()
        assert await talk.gap(lambda: talk.network.drop(drop), 120) < SWITCH
        assert talk.pulse.lost < 0.05 * talk.pulse.asked
        talk.network.heal()
        await talk.mesh.direct(talk.one, talk.other, timeout=700)
        assert talk.pulse.gap(began) < SWITCH


@pytest.mark.parametrize("drop", [is_wireguard, is_large])
@simulated
async def test_a_session_that_begins_behind_a_middlebox_is_whole(
    drop: Callable[[Host, Host | None, bytes], bool],
) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await mesh.at_home()
        mesh.network.drop(drop)
        assert await alice.ping(bob) < BLIP
        async with Pulse(alice, bob, every=0.1) as pulse:
            await asyncio.sleep(60)
            assert pulse.gap() < SWITCH
            if drop is is_large:
                assert (alice.via(bob), bob.via(alice)) == (RELAY, RELAY)


@simulated
async def test_traffic_that_nobody_answers_keeps_its_direct_path_and_loses_nothing() -> None:
    async with talking() as talk:
        await talk.pulse.stop()
        arrived: list[int] = []
        talk.other.device.udp(9)
        for number in range(20 * 60):
            talk.one.device.udp(9).send(talk.other.addresses[0], 9, number.to_bytes(4, "big"))
            await asyncio.sleep(0.05)
            assert BARE in talk.one.via(talk.other).split("+")
            arrived += [int.from_bytes(each.data, "big") for each in talk.other.device.udp(9).waiting()]
        await asyncio.sleep(1)
        assert set(arrived) == set(range(20 * 60))


@simulated
async def test_traffic_that_nobody_answers_goes_over_the_relay_when_its_path_breaks() -> None:
    async with talking() as talk:
        await talk.pulse.stop()
        arrivals: list[float] = []
        talk.other.device.udp(9)
        for number in range(20 * 40):
            if number == 200:
                talk.network.block(talk.one.host, talk.other.host)
            talk.one.device.udp(9).send(talk.other.addresses[0], 9, b"one way")
            await asyncio.sleep(0.05)
            arrivals += [asyncio.get_running_loop().time()] * bool(talk.other.device.udp(9).waiting())
        assert max(later - earlier for earlier, later in itertools.pairwise(arrivals)) < SWITCH
