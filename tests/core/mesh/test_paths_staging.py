"""Where a middlebox drops WireGuard and passes disco, a worse transport carries the mesh until the better one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest

from ghostwire import Buffer, Provider, Transport, TransportContext
from ghostwire.testing import simulated
from ghostwire.testing.datagrams import MemoryTransport
from ghostwire.testing.members import BARE, MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.nat import Address
from ghostwire.testing.network import Host
from ghostwire.testing.pulse import Pulse
from ghostwire.testing.routing import TTL
from ghostwire.testing.streams import MemorySockets
from ghostwire.testing.trace import describe

VEILED, PORT, VEIL = "veiled", 443, b"\x40"
MOVES = 5.0
"""Seconds until the worse transport carries everything."""
GAP = 4.5
"""Seconds without an answer meanwhile, where there is no relay."""
RELAYED_GAP, BLIP = 2.5, 0.3
"""The same with one; and when a better path is taken."""
BACK = 60.0
"""Seconds until it is the better transport again, where it was filtered for a minute."""


class Veiled(MemoryTransport):
    """Datagrams that look like nothing."""

    def send(self, target: Address, datagrams: Sequence[Buffer], ttl: int = TTL) -> bool:
        return super().send(target, [VEIL + bytes(each) for each in datagrams], ttl)

    def _arrived(self, source: Address, burst: list[bytes]) -> None:
        super()._arrived(source, [each.removeprefix(VEIL) for each in burst])


def veiled(context: TransportContext) -> Transport:
    return Veiled(cast("MemorySockets", context.sockets).host, PORT, name=VEILED)


@asynccontextmanager
async def two(*, relaying: bool) -> AsyncIterator[tuple[MemoryMesh, MemoryNode, MemoryNode, Pulse]]:
    """Two public nodes that talk directly over the better of two transports."""
    worse = Provider[Transport](VEILED, veiled, rank=10)
    async with MemoryMesh(relaying=relaying, transports=[worse]) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        if relaying:
            await mesh.at_home()
        await alice.reach(bob)
        async with Pulse(alice, bob) as pulse:
            await mesh.direct(alice, bob)
            await asyncio.sleep(5)
            yield mesh, alice, bob, pulse


async def over(mesh: MemoryMesh, one: MemoryNode, other: MemoryNode, transport: str, timeout: float) -> float:
    began = asyncio.get_running_loop().time()
    what = f"both send over {transport}"
    await mesh.until(lambda: one.via(other) == other.via(one) == transport, what, timeout=timeout)
    return asyncio.get_running_loop().time() - began


def is_wireguard(sender: Host, receiver: Host | None, payload: bytes) -> bool:
    return describe(payload) in ("initiation", "response", "data", "keepalive")


def is_data(sender: Host, receiver: Host | None, payload: bytes) -> bool:
    return describe(payload) in ("data", "keepalive")


def is_bare(sender: Host, receiver: Host | None, payload: bytes) -> bool:
    return payload[:1] != VEIL


@pytest.mark.parametrize("relaying", [True, False], ids=["relay", "alone"])
@pytest.mark.parametrize("drop", [is_wireguard, is_data, is_bare])
@simulated
async def test_a_filter_leads_to_the_worse_transport_and_its_end_back(drop: object, relaying: bool) -> None:
    if drop is is_data and not relaying:
        pytest.skip("whose handshakes pass and who has no relay learns nothing of what becomes of his data")
    loop = asyncio.get_running_loop()
    async with two(relaying=relaying) as (mesh, alice, bob, pulse):
        began = loop.time()
        mesh.network.drop(drop)  # type: ignore[arg-type]
        moved = await over(mesh, alice, bob, VEILED, MOVES if drop is not is_data else 30)
        await asyncio.sleep(1)
        gap, moved_at = pulse.gap(began), loop.time()
        await asyncio.sleep(60 - (loop.time() - began))
        assert alice.via(bob) == bob.via(alice) == VEILED
        quiet, healed = pulse.gap(moved_at), loop.time()
        mesh.network.heal()
        back = await over(mesh, alice, bob, BARE, BACK)
        await asyncio.sleep(5)
        print(f"moved in {moved:.1f} s, gap {gap:.2f} s; then {quiet:.2f} s; back in {back:.1f} s,", end=" ")
        print(f"gap {pulse.gap(healed):.2f} s")
        assert gap < (RELAYED_GAP if relaying else GAP)
        assert max(quiet, pulse.gap(healed)) < BLIP
        assert alice.via(bob) == bob.via(alice) == BARE


@pytest.mark.parametrize("relaying", [True, False], ids=["relay", "alone"])
@simulated
async def test_where_nothing_is_filtered_the_worse_transport_sends_nothing(relaying: bool) -> None:
    async with two(relaying=relaying) as (mesh, alice, bob, _):
        await asyncio.sleep(200)
        assert alice.via(bob) == bob.via(alice) == BARE
        assert not [seen for seen in mesh.network.trace if seen.payload[:1] == VEIL]


@pytest.mark.parametrize("relaying", [True, False], ids=["relay", "alone"])
@simulated
async def test_a_session_that_begins_behind_a_filter_is_soon_on_the_worse_transport(relaying: bool) -> None:
    worse = Provider[Transport](VEILED, veiled, rank=10)
    async with MemoryMesh(relaying=relaying, transports=[worse]) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        if relaying:
            await mesh.at_home()
        mesh.network.drop(is_wireguard)
        first = await alice.reach(bob)
        async with Pulse(alice, bob):
            moved = await over(mesh, alice, bob, VEILED, 20)
        print(f"first answer in {first:.1f} s, moved {moved:.1f} s after")
        assert first < (1 if relaying else 10)
