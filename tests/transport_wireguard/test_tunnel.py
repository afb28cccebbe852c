"""The `userspace` tunnel by every tunnel's rules, and what is particular to it."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from ghostwire import Metrics, Tunnel, TunnelContext
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError
from ghostwire.testing.contracts import TunnelContract, rule
from ghostwire.testing.contracts.ends import meet, reaches
from ghostwire.testing.loop import running_clock
from ghostwire_transport_wireguard.cookie import MacStamper
from ghostwire_transport_wireguard.noise import INITIATION_BODY
from ghostwire_transport_wireguard.tunnel import TIMESTAMP_FILE, UserspaceTunnel


class TestUserspaceTunnel(TunnelContract):
    """Every rule of the contract, and more of the same kind."""

    def make(self, context: TunnelContext) -> Tunnel:
        self.contexts = [*getattr(self, "contexts", []), context]
        return UserspaceTunnel(context)

    @rule
    async def test_a_conversation_goes_on_across_many_rekeys(self) -> None:
        one, two = await self.pair()
        for _ in range(100):
            assert await reaches(one, two)
            await asyncio.sleep(9)
        assert one.handshakes() == 8
        assert one.tunnel.counters.no_session == 0

    @rule
    async def test_a_young_session_is_renewed_by_a_test_of_its_path(self) -> None:
        one, two = await self.pair()
        assert await reaches(one, two)
        one.tunnel.test(2, one.path_to(two))
        await asyncio.sleep(1)
        assert (one.handshakes(), two.handshakes()) == (2, 2)
        assert await reaches(one, two)

    @rule
    async def test_a_flood_of_forged_initiations_costs_no_established_packet(self) -> None:
        one, two = await self.pair()
        assert await reaches(one, two)
        stamper, stranger = MacStamper(two.key.public_raw), two.transport.path("203.0.113.66:1")
        bodies = [INITIATION_BODY.pack(1, n, bytes([n]) * 32, bytes(48), bytes(28)) for n in range(64)]
        forged = [stamper.stamp(body, 0) for body in bodies]
        inbox, counters = two.device.udp(9), two.tunnel.counters
        computed, passes = counters.computed + counters.cookies, 0
        for number in range(500):
            one.device.udp(9).send(two.ipv4, 9, b"%d" % number)
            two.tunnel.receive(stranger, forged)
            await asyncio.sleep(0)
            passes += 1
        await asyncio.sleep(1)
        assert len(inbox.waiting()) == 500
        assert counters.computed + counters.cookies - computed <= 4 * (passes + 20)

    @rule
    async def test_metrics_name_every_reason_for_a_drop(self) -> None:
        one, _ = await self.pair()
        one.device.udp(9).send("100.64.0.77", 9, b"lost")
        await asyncio.sleep(1)
        values = self.contexts[0].metrics.values()
        assert values["ghostwire_tunnel_dropped_no_peer_total"] == 1
        assert values["ghostwire_tunnel_handshakes_total"] == 0

    @rule
    async def test_the_last_handshake_is_told_in_unix_time(self) -> None:
        one, two = await self.pair()
        assert one.stats_of(two).last_handshake == 0
        assert await reaches(one, two)
        age = running_clock().wall() - one.stats_of(two).last_handshake
        assert 0 <= age < SECOND

    @rule
    async def test_a_tunnel_that_was_closed_keeps_silent(self) -> None:
        one, two = await self.pair()
        assert await reaches(one, two)
        await one.tunnel.close()
        await one.tunnel.close()
        sent: list[bytes] = []
        self.network.taps.append(lambda host, target, payload: sent.append(payload) if host is one.host else None)
        one.device.udp(9).send(two.ipv4, 9, b"not sent")
        one.tunnel.receive(one.path_to(two), [bytes(148)])
        meet(one, two)
        await asyncio.sleep(600)
        assert sent == []

    @rule
    async def test_timestamps_are_kept_in_the_state_folder(self) -> None:
        one, two = await self.pair()
        assert await reaches(one, two)
        file = self.contexts[0].state / TIMESTAMP_FILE
        assert file.stat().st_mode & 0o777 == 0o600
        await one.tunnel.close()
        assert abs(int(file.read_text()) - running_clock().wall()) < 10 * SECOND

    @rule
    async def test_a_state_folder_that_cannot_be_used_is_refused_at_start(self) -> None:
        end = await self.end(1)
        (self.contexts[0].state / TIMESTAMP_FILE).write_text("no number")
        again = UserspaceTunnel(replace(self.contexts[0], metrics=Metrics()))
        with pytest.raises(GhostwireError, match="handshake timestamp"):
            await again.start()
        await end.tunnel.close()
