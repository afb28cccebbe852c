"""Every pair of places: it connects at once over the relay, and goes direct exactly where physics allows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.testing import Link, NatKind, simulated
from ghostwire.testing.members import BARE, MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.places import PLACES, can_be_direct
from ghostwire.testing.pulse import Pulse

FIRST = 0.3
"""Seconds from a cold start to the first answer."""
DIRECT = 1.0
"""Seconds to a direct path on an easy pair."""
HARD = 180.0
"""Seconds to it where a router's open input may spoil the first tries."""
RELAYED = 3.0
"""Seconds of talk in which a pair that cannot be direct is looked at."""
NAMES = list(PLACES)


@dataclass
class Meeting:
    """What came of two nodes' first talk; seconds, None for never."""

    one: str
    other: str
    first: float | None = None
    direct: float | None = None
    gap: float = 0.0
    path: str = ""

    @property
    def possible(self) -> bool:
        return can_be_direct(PLACES[self.one], PLACES[self.other])

    @property
    def hard(self) -> bool:
        return any(PLACES[name].open_input for name in (self.one, self.other))

    @property
    def fine(self) -> bool:
        if self.first is None or self.first > FIRST or self.gap > FIRST:
            return False
        if not self.possible:
            return self.path != BARE and self.direct is None
        return self.direct is not None and self.direct < (HARD if self.hard else DIRECT)

    def __str__(self) -> str:
        times = " ".join("   never" if each is None else f"{each:8.3f}" for each in (self.first, self.direct))
        right = "direct" if self.possible else "relayed"
        verdict = "" if self.fine else f"   <- should be {right}; longest gap {self.gap:.2f}"
        return f"{self.one:>18} - {self.other:<18} {times}  {self.path}{verdict}"


async def meet(mesh: MemoryMesh, one: MemoryNode, other: MemoryNode, found: Meeting) -> None:
    """Have two nodes talk that never did."""
    found.first = await one.ping(other)
    async with Pulse(one, other, every=0.2) as pulse:
        try:
            found.direct = await mesh.direct(one, other, timeout=HARD if found.hard and found.possible else RELAYED)
            found.direct += found.first
        except AssertionError:
            found.direct = None
        found.gap = pulse.gap()
        found.path = one.via(other)


@pytest.mark.parametrize("place", NAMES)
@simulated
async def test_every_pair_connects_and_is_direct_exactly_where_it_can_be(place: str) -> None:
    meetings = []
    async with MemoryMesh(relaying=True) as mesh:
        await mesh.relay("second", "home")
        one = await mesh.join("one", at=place)
        names = NAMES[NAMES.index(place) :]
        others = [await mesh.join(name.replace(" ", "-").lower(), at=name) for name in names]
        await mesh.converged()
        await mesh.at_home()
        for name, other in zip(names, others, strict=True):
            meetings.append(Meeting(place, name))
            await meet(mesh, one, other, meetings[-1])
    table = "\n".join(map(str, meetings))
    print(f"{'':40} first s direct s\n{table}")
    assert all(meeting.fine for meeting in meetings), f"first answer and direct path, in seconds:\n{table}"


@pytest.mark.parametrize("place", [name for name in NAMES if PLACES[name].nat is not None and PLACES[name].datagrams])
@simulated
async def test_two_nodes_on_one_local_network_use_it(place: str) -> None:
    if place == "one-to-one":
        pytest.skip("it has one machine")
    async with MemoryMesh(relaying=True) as mesh:
        site = mesh.site(place)
        one, other = [await mesh.join(name, at=site) for name in ("one", "other")]
        await mesh.converged()
        await mesh.at_home()
        assert await one.ping(other) < FIRST
        async with Pulse(one, other) as pulse:
            assert await mesh.direct(one, other) < DIRECT
            assert pulse.gap() < FIRST
        path = one.peer("other").path
        assert path is not None
        assert path.endpoint.startswith(("10.0.", "[2001:db8:")), path


@simulated
async def test_the_same_private_address_at_two_sites_leads_nobody_astray() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        kinds = (NatKind.PORT_RESTRICTED, NatKind.FULL_CONE)
        routers = [mesh.network.nat(f"router{n}", f"203.0.113.{n}", kind) for n, kind in enumerate(kinds, 1)]
        one = await mesh.join("one", address="10.0.0.2", nat=routers[0])
        double = await mesh.join("double", address="10.0.0.3", nat=routers[0])
        other = await mesh.join("other", address="10.0.0.3", nat=routers[1])
        await mesh.converged()
        await mesh.at_home()
        for peer, endpoint in ((other, "203.0.113.2:"), (double, "10.0.0.3:")):
            assert await one.ping(peer) < FIRST
            async with Pulse(one, peer):
                await mesh.direct(one, peer)
            path = one.peer(peer.name).path
            assert path is not None
            assert path.endpoint.startswith(endpoint)


@pytest.mark.parametrize("hairpin", [False, True])
@simulated
async def test_two_homes_of_one_carrier_are_direct_where_it_leads_back_inside(hairpin: bool) -> None:
    async with MemoryMesh(relaying=True) as mesh:
        first = mesh.site("double NAT")
        assert first.carrier is not None
        first.carrier.hairpin = hairpin
        one = await mesh.join("one", at=first)
        other = await mesh.join("other", at=mesh.site("double NAT", carrier=first.carrier))
        await mesh.converged()
        await mesh.at_home()
        assert await one.ping(other) < FIRST
        async with Pulse(one, other) as pulse:
            if hairpin:
                assert await mesh.direct(one, other) < DIRECT
            else:
                with pytest.raises(AssertionError, match="a direct path"):
                    await mesh.direct(one, other, timeout=RELAYED)
            assert pulse.gap() < FIRST


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("other", ["port-restricted", "open input", "double NAT"])
@simulated
async def test_a_port_that_an_early_ping_took_at_an_open_input_is_had_back(other: str, asks: bool) -> None:
    """Who is slow to hear of the other is pinged before it has pinged itself."""
    async with MemoryMesh(relaying=True) as mesh:
        slow, fast = await mesh.add("slow", at="open input"), await mesh.add("fast", at=other)
        mesh.network.link(slow.host, mesh.server.host, Link(latency=150 * MILLISECOND))
        for node in (slow, fast):
            await node.node.up(await mesh.server.token())
        await mesh.converged()
        await mesh.at_home()
        one, two = (slow, fast) if asks else (fast, slow)
        await one.ping(two)
        async with Pulse(one, two, every=0.5) as pulse:
            await mesh.direct(one, two, timeout=HARD)
            assert pulse.gap() < 2


@pytest.mark.parametrize("lag", [400, 800, 1500])
@pytest.mark.parametrize("asks", [True, False])
@simulated
async def test_a_node_behind_an_open_input_that_has_little_time_is_not_pinged_before_it_has_knocked(
    asks: bool, lag: int
) -> None:
    """Its machine is crowded: whatever it hears, or says, is late by so many milliseconds."""
    async with MemoryMesh(relaying=True) as mesh:
        busy, strict = await mesh.join("busy", at="open input"), await mesh.join("strict", at="port-restricted")
        await mesh.converged()
        await mesh.at_home()
        mesh.network.link(busy.host, mesh.server.host, Link(latency=lag * MILLISECOND))
        one, two = (busy, strict) if asks else (strict, busy)
        async with Pulse(one, two, every=0.2):
            assert await mesh.direct(one, two) < 2 + 4 * lag / 1000


@pytest.mark.parametrize("place", ["port-restricted", "double NAT", "open input"])
@simulated
async def test_a_port_that_a_stray_datagram_took_from_one_peer_is_lost_for_no_other(place: str) -> None:
    """The router gives all that its node begins the odd port by then, and relays still see the old one."""
    async with MemoryMesh(relaying=True) as mesh:
        victim, first = await mesh.join("victim", at="open input"), await mesh.join("first", at="port-restricted")
        public, other = await mesh.join("public", at="none"), await mesh.join("other", at=place)
        await mesh.converged()
        await mesh.at_home()
        router = mesh.whereabouts["victim"].router
        assert router is not None
        (port,) = first.host.ports.values()
        port.send((router.address, port.number), [b"stray"])
        await first.ping(victim)
        async with Pulse(first, victim, every=0.2), Pulse(victim, public, every=0.2):
            await mesh.direct(victim, public, timeout=2)
            async with Pulse(other, victim, every=0.2):
                await mesh.direct(other, victim, timeout=2)
            await mesh.direct(first, victim, timeout=20)
