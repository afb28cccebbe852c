"""What every tunnel must do, seen from outside: two or three ends on a simulated network."""

from __future__ import annotations

import asyncio

from ghostwire.engine import SECOND
from ghostwire.testing import packets
from ghostwire.testing.clock import SeededEntropy
from ghostwire.testing.contracts.base import rule
from ghostwire.testing.contracts.ends import Judge, answers, meet, reaches
from ghostwire.testing.contracts.tunnel_limits import TunnelLimits
from ghostwire.testing.contracts.tunnel_paths import TunnelPathRules
from ghostwire.testing.loop import running_clock
from ghostwire.testing.network import Link
from ghostwire.testing.packets import Datagram

MARK = b"this is plaintext "


class TunnelContract(TunnelPathRules, TunnelLimits):
    """Subclass it as ``Test...`` and implement `make`. It always runs in a simulation."""

    @rule
    async def test_two_peers_reach_each_other_by_both_families(self) -> None:
        """The first packet waits for the handshake and is not lost."""
        one, two = await self.pair()
        for sender, receiver in ((one, two), (two, one)):
            for address in (receiver.ipv4, receiver.ipv6):
                assert await reaches(sender, receiver, address), f"{address} does not answer"

    @rule
    async def test_full_packets_arrive_whole_in_both_directions(self) -> None:
        """1280 bytes in, 1280 bytes out, and any smaller size."""
        one, two = await self.pair()
        for size in (0, 1, 15, 16, 17, 600, 1251, 1252):
            one.device.udp(9).send(two.ipv4, 9, bytes([size % 256]) * size)
            received = await self.received(two)
            assert received.data == bytes([size % 256]) * size, (
                f"{size} bytes arrived as {len(received.data)}, or changed"
            )
            assert received.source == one.ipv4, f"a packet of {one.ipv4} arrived as {received.source}'s"
        assert not two.device.refused, f"the device was given what is no packet: {list(two.device.refused)}"

    @rule
    async def test_neither_plaintext_nor_keys_are_seen_on_the_network(self) -> None:
        """Of any packet, before, during or after a handshake."""
        sent: list[bytes] = []
        self.network.taps.append(lambda host, target, payload: sent.append(payload))
        one, two = await self.pair()
        for _ in range(20):
            one.device.udp(9).send(two.ipv6, 9, MARK * 60)
            await self.received(two)
        assert len(sent) >= 20, f"{len(sent)} datagrams were sent for 20 packets"
        for secret in (MARK, one.key.raw, two.key.raw, one.key.public_raw, two.key.public_raw):
            assert not any(secret in payload for payload in sent), f"{secret[:8]!r}... was sent in the clear"

    @rule
    async def test_a_packet_for_nobody_goes_nowhere(self) -> None:
        """No peer has its address."""
        one, two = await self.pair()
        one.device.udp(9).send("100.64.0.77", 9, b"lost")
        await answers(one, two)
        strays = [packet.target for packet in two.device.received if packet.target != two.ipv4]
        assert not strays, f"a peer was given packets for {strays}, which are not its addresses"
        assert not two.device.refused, "the device was given what is no packet"

    @rule
    async def test_a_peer_cannot_speak_as_another(self) -> None:
        """Sources must be among the allowed IPs of the peer whose key sealed the packet."""
        one, two = await self.pair()
        forged = packets.udp_packet("100.64.0.9", two.ipv4, Datagram(9, 9, b"forged"))
        two.device.udp(9)
        one.device.inject(forged)
        one.device.udp(9).send(two.ipv4, 9, b"honest")
        first = (await self.received(two)).data
        assert first == b"honest", "a peer's packet with another's address as its source was delivered"
        assert two.device.udp(9).waiting() == [], "a forged packet was delivered"

    @rule
    async def test_the_filter_is_asked_on_arrival_and_told_what_leaves(self) -> None:
        """With the peer the packets came from."""
        judge = Judge()
        one, two = await self.end(1), await self.end(2, judge)
        meet(one, two)
        await answers(one, two)
        assert set(judge.asked) == {1}, f"the filter was asked about the peers {judge.asked}; packets came from peer 1"
        assert judge.left > 0, "the answer that left was not recorded"
        judge.admits = False
        assert not await reaches(one, two), "a refused packet reached the device"
        judge.admits, judge.releases = True, False
        assert not await reaches(two, one), "a packet that the filter held back left"

    @rule
    async def test_a_removed_peer_is_cut_off_and_the_others_keep_their_sessions(self) -> None:
        """`apply` makes these exactly the peers."""
        one, two, three = [await self.end(number) for number in (1, 2, 3)]
        meet(one, two, three)
        await answers(one, two)
        await answers(one, three)
        before = one.handshakes()
        one.tunnel.apply([three.as_peer()])
        assert not await reaches(two, one), "a removed peer still gets answers"
        assert not await reaches(one, two), "a removed peer is still sent packets"
        await answers(one, three)
        left = [stats.id for stats in one.tunnel.stats()]
        assert left == [3], f"stats() tells of the peers {left} after apply() left peer 3 alone"
        assert one.handshakes() == before, "the peer that stayed had to shake hands again"

    @rule
    async def test_applying_the_same_peers_again_changes_nothing(self) -> None:
        """The reconciler may repeat itself."""
        one, two = await self.pair()
        await answers(one, two)
        one.tunnel.apply([two.as_peer()])
        two.tunnel.apply([one.as_peer()])
        await answers(one, two)
        assert (one.handshakes(), two.handshakes()) == (1, 1), "a session began anew for a peer that did not change"

    @rule
    async def test_a_peer_that_is_removed_and_comes_back_can_be_reached_again(self) -> None:
        """With a new handshake."""
        one, two = await self.pair()
        await answers(one, two)
        one.tunnel.apply([])
        meet(one, two)
        await answers(one, two, timeout=20)

    @rule
    async def test_the_node_is_told_that_a_peer_is_wanted_and_of_the_handshake(self) -> None:
        """Even while the peer has no path."""
        one, two = await self.end(1), await self.end(2)
        one.tunnel.apply([two.as_peer()])
        two.tunnel.apply([one.as_peer()])
        one.device.send_echo(two.ipv4)
        assert not await reaches(one, two, timeout=0.5), "a peer without a path answered"
        assert one.events.wants[:1] == [2], "a packet waits for a peer without a path, and wanted() was not called"
        one.tunnel.attach(2, [one.path_to(two)])
        two.tunnel.attach(1, [two.path_to(one)])
        await answers(one, two, timeout=10)
        for end, told in ((one, (2, one.path_to(two))), (two, (1, two.path_to(one)))):
            assert end.events.handshakes == [told], f"established() told {end.events.handshakes} instead of [{told}]"

    @rule
    async def test_a_new_source_address_is_reported_once_the_datagram_is_authenticated(self) -> None:
        """Roaming: the node decides what to make of it."""
        one, two = await self.pair()
        await answers(one, two)
        one.host.move("198.51.100.7")
        one.device.send_echo(two.ipv4)
        two.tunnel.receive(two.transport.path("203.0.113.66:1"), [b"\x04\0\0\0" + bytes(60)])
        await self.network_settles()
        assert set(two.events.sources) == {(1, two.path_to(one))}, "authenticated() tells peer and new source"
        two.tunnel.attach(1, [two.path_to(one)])
        await answers(one, two)
        assert (one.handshakes(), two.handshakes()) == (1, 1), "the session must go on at the new address"

    @rule
    async def test_every_packet_goes_over_all_attached_paths_and_is_delivered_once(self) -> None:
        """Two at most; the replay window drops the copy."""
        one, two = await self.end(1), await self.end(2)
        second = one.transport.path(await self.answers_at(two, 5000))
        meet(one, two)
        one.tunnel.attach(2, [one.path_to(two), second])
        await answers(one, two)
        targets = self.targets_of(one)
        one.device.udp(9).send(two.ipv4, 9, b"once")
        assert (await self.received(two)).data == b"once", "another packet than the one that was sent came first"
        await self.network_settles()
        assert sorted(port for _, port in targets) == [5000, 41641], f"one packet went to {targets}"
        assert two.device.udp(9).waiting() == [], "a packet that came over two paths was delivered twice"

    @rule
    async def test_replayed_datagrams_are_dropped(self) -> None:
        """From wherever they come."""
        one, two = await self.pair()
        await answers(one, two)
        two.datagrams.clear()
        one.device.udp(9).send(two.ipv4, 9, b"once")
        await self.received(two)
        for source, datagram in list(two.datagrams):
            two.tunnel.receive(source, [datagram, datagram])
        await self.network_settles()
        assert two.device.udp(9).waiting() == [], "a replayed datagram was delivered again"

    @rule
    async def test_malformed_datagrams_do_no_harm(self) -> None:
        """Every length, every type, every byte of a good one changed."""
        one, two = await self.pair()
        await answers(one, two)
        source, good = two.datagrams[-1]
        chance = SeededEntropy("malformed")
        bad = [bytes([kind]) + chance(size) for kind in range(6) for size in (0, 1, 3, 15, 31, 63, 91, 147, 1500)]
        bad += [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
        bad += [good[:size] for size in range(len(good))]
        for at in range(0, len(bad), 64):
            two.tunnel.receive(source, bad[at : at + 64])
        await answers(one, two)
        assert not two.device.refused, f"malformed datagrams reached the device: {list(two.device.refused)[:3]}"

    @rule
    async def test_sessions_are_renewed_while_packets_flow_and_none_is_lost(self) -> None:
        """Ten minutes of pings, across several rekeys."""
        one, two = await self.pair()
        for _ in range(120):
            assert await reaches(one, two), "a ping was lost on a perfect network"
            await asyncio.sleep(5)
        assert one.handshakes() >= 4, f"{one.handshakes()} handshakes in ten minutes; a session lasts two"

    @rule
    async def test_a_lossy_network_only_delays_the_handshake(self) -> None:
        """Initiations are repeated."""
        self.network.default = Link(loss=0.3, duplication=0.2, reordering=0.2)
        one, two = await self.pair()
        answered = 0
        for _ in range(100):
            answered += await reaches(one, two)
            await asyncio.sleep(1)
        assert answered > 20, f"{answered} of 100 pings came back over a network that loses 30 %"

    @rule
    async def test_a_wall_clock_that_jumps_does_not_stop_handshakes(self) -> None:
        """Neither forward nor back."""
        one, two = await self.pair()
        for jump in (0, 365 * 24 * 3600 * SECOND, -2 * 365 * 24 * 3600 * SECOND, 60 * SECOND):
            running_clock().jump_wall(jump)
            await asyncio.sleep(200)
            assert await reaches(one, two), f"no handshake after the wall clock jumped by {jump // SECOND} s"

    @rule
    async def test_the_counters_tell_bytes_path_and_the_time_of_the_handshake(self) -> None:
        """What `gwctl status` shows."""
        one, two = await self.pair()
        stats = one.stats_of(two)
        assert (stats.last_handshake, stats.heard_over) == (0, None), "a peer never heard of has a handshake or a path"
        await answers(one, two)
        stats = one.stats_of(two)
        assert min(stats.received_bytes, stats.sent_bytes) > 100, f"bytes were not counted: {stats}"
        ago = running_clock().wall() - stats.last_handshake
        assert abs(ago) < SECOND, (
            f"the handshake of just now was {ago // SECOND} s ago by stats(); it is wall time, in nanoseconds"
        )
        assert stats.path == stats.heard_over == one.path_to(two), f"path and heard_over must tell the path: {stats}"

    @rule
    async def test_a_closed_tunnel_is_silent_and_may_be_closed_again(self) -> None:
        """Whatever still arrives."""
        one, two = await self.pair()
        await answers(one, two)
        await two.tunnel.close()
        await two.tunnel.close()
        taken = len(two.device.received)
        assert not await reaches(one, two), "a closed tunnel answered"
        assert len(two.device.received) == taken, "a closed tunnel delivered what arrived"
