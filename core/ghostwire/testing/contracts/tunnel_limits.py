"""What every tunnel must do when it is pressed: floods, strangers, peers that come and go, cancelling, closing."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network

from ghostwire.capabilities.tunnel import TunnelPeer
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.testing import packets
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.contracts.base import harmless, leaves_nothing, rule
from ghostwire.testing.contracts.ends import answers, meet
from ghostwire.testing.contracts.memory import Growth
from ghostwire.testing.contracts.tunnel_scene import TunnelScene
from ghostwire.testing.packets import Datagram

MEMORY, SPAN = 12 << 20, 20.0
"""Bytes and seconds of this machine's that a rule of this page may take at most."""
INITIATION = b"\1\0\0\0"
"""How a handshake begins on the wire (WireGuard, section 5.4.2)."""


class TunnelLimits(TunnelScene):
    """Rules about limits; part of `TunnelContract`."""

    @rule
    async def test_packets_for_a_peer_that_is_away_take_bounded_memory_and_time(self) -> None:
        """Few may wait for a handshake, and the rest is dropped: 20,000 full packets are sent."""
        one, two = await self.pair()
        one.tunnel.attach(2, [])
        packet = packets.udp_packet(one.ipv4, two.ipv4, Datagram(9, 9, bytes(1252)))
        with Growth() as growth:
            began = time.monotonic()
            for _ in range(200):
                for number in range(100):
                    one.device.inject(packet[:-2] + number.to_bytes(2, "big"))
                await asyncio.sleep(0.01)
            grown, took = growth(), time.monotonic() - began
        assert grown < MEMORY, f"{grown >> 20} MB wait for a peer that does not answer: keep few packets, drop the rest"
        assert took < SPAN, f"20,000 packets for a peer that does not answer took {took:.1f} s"
        one.tunnel.attach(2, [one.path_to(two)])
        await answers(one, two, timeout=30)

    @rule
    async def test_initiations_of_strangers_take_bounded_memory_and_time(self) -> None:
        """Random ones and replayed ones, from many sources; the session of a peer goes on."""
        one, two = await self.pair()
        await answers(one, two)
        (genuine, *_) = [raw for _, raw in two.datagrams if raw.startswith(INITIATION)] or [INITIATION + bytes(144)]
        chance = SeededEntropy("strangers")
        with Growth() as growth:
            began = time.monotonic()
            for number in range(400):
                source = two.transport.path(f"203.0.113.{number % 200 + 1}:{1000 + number}")
                two.tunnel.receive(source, [INITIATION + chance(144) for _ in range(15)] + [genuine])
                if number % 20 == 0:
                    await asyncio.sleep(0.01)
            grown, took = growth(), time.monotonic() - began
        assert grown < MEMORY, f"memory grew by {grown >> 20} MB for strangers' initiations: remember none of them"
        assert took < SPAN, f"6,400 initiations of strangers took {took:.1f} s: look at cheap marks first"
        await answers(one, two)
        assert one.handshakes() == 1, "strangers' initiations ended a peer's session"

    @rule
    async def test_peers_that_come_and_go_leave_nothing(self) -> None:
        """A large mesh changes all day: 100 times 50 peers are added and removed, and one stays."""
        one, two = await self.pair()
        await answers(one, two)
        keys = [PrivateKey.generate(SeededEntropy(number)).public(NodeKey) for number in range(50)]
        with Growth() as growth:
            for turn in range(100):
                others = [_stranger(1000 + 50 * turn + number, key) for number, key in enumerate(keys)]
                one.tunnel.apply([two.as_peer(), *others])
                for other in others:
                    one.tunnel.attach(other.id, [one.path_to(two)])
                one.tunnel.apply([two.as_peer()])
            grown = growth()
        assert grown < MEMORY, f"memory grew by {grown >> 20} MB for 5,000 peers that came and went: forget them"
        left = [stats.id for stats in one.tunnel.stats()]
        assert left == [2], f"stats() tells of {len(left)} peers after all but one were removed"
        await answers(one, two)

    @rule
    async def test_a_closed_tunnel_may_be_called_as_before(self) -> None:
        """Programs close in reverse order while others still hold it."""
        one, two = await self.pair()
        await answers(one, two)
        raw, path = list(one.datagrams), one.path_to(two)
        await one.tunnel.close()
        sent = self.targets_of(one)
        with harmless("calling a tunnel that is closed"):
            one.tunnel.receive(path, [each for _, each in raw])
            one.tunnel.apply([two.as_peer(), one.as_peer()])
            one.tunnel.attach(2, [path])
            one.tunnel.test(2, path)
            one.tunnel.rest(2)
            one.tunnel.activity(2)
            one.tunnel.stats()
        one.device.send_echo(two.ipv4)
        await asyncio.sleep(200)
        assert not sent, f"a closed tunnel sent {len(sent)} datagrams"

    @rule
    async def test_a_start_that_is_cancelled_leaves_nothing_behind(self) -> None:
        """And the tunnel can be closed."""
        end = self.prepared(1)
        with leaves_nothing("a cancelled start()"):
            starting = asyncio.ensure_future(end.tunnel.start())
            await asyncio.sleep(0)
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self.within(end.tunnel.close(), "close() after a cancelled start()")
            await asyncio.sleep(0.05)

    @rule
    async def test_closing_leaves_nothing_behind(self) -> None:
        """Neither tasks nor descriptors nor threads, though a handshake is under way."""
        with leaves_nothing("close()"):
            one, two = self.prepared(1), self.prepared(2)
            for end in (one, two):
                await self.start(end)
            meet(one, two)
            await answers(one, two)
            one.tunnel.attach(2, [])
            one.tunnel.test(2, one.path_to(two))
            for end in (one, two):
                await self.within(end.tunnel.close(), "close()")
            await asyncio.sleep(0.05)


def _stranger(number: int, key: NodeKey) -> TunnelPeer:
    return TunnelPeer(id=number, key=key, allowed_ips=(ip_network(f"100.64.9.{number % 50}"),))
