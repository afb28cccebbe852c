"""Tunnels that break one rule each, and one that breaks none."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from ipaddress import ip_address, ip_network

from msgspec.structs import replace

from ghostwire import Activity, Buffer, Path, PeerStats, Tunnel, TunnelContext, TunnelPeer
from ghostwire.testing import packets
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel


class ClearTunnel(Tunnel):
    """No tunnel at all: packets go as they are, and everybody is believed."""

    name = "clear"

    def __init__(self, context: TunnelContext) -> None:
        self.context = context
        self.peers: dict[int, TunnelPeer] = {}
        self.paths: dict[int, Sequence[Path]] = {}
        self.known: set[int] = set()

    async def start(self) -> None:
        self.context.device.start(self.leave)

    def apply(self, peers: Collection[TunnelPeer]) -> None:
        self.peers = {peer.id: peer for peer in peers}

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        self.paths[peer] = paths

    def leave(self, burst: Sequence[Buffer]) -> None:
        for packet in burst:
            target = ip_address(packets.decode(packet).target)
            for peer in self.peers.values():
                if any(target in prefix for prefix in peer.allowed_ips):
                    for path in self.paths.get(peer.id, ()):
                        path.send([bytes(packet)])

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        for peer in self.peers.values():
            if peer.id not in self.known and source in self.paths.get(peer.id, ()):
                self.known.add(peer.id)
                self.context.events.established(peer.id, source)
        self.context.device.write(datagrams)

    def stats(self) -> Sequence[PeerStats]:
        return [PeerStats(peer, 0, 0, 0, None) for peer in self.peers]

    async def close(self) -> None:
        self.peers = {}


class Honest(Tunnel):
    """A good tunnel in another's hands: what it is told and tells passes through here."""

    name = "honest"

    def __init__(self, context: TunnelContext) -> None:
        self.events = context.events
        self.inner = UserspaceTunnel(replace(context, events=self))
        self.paths: dict[int, Sequence[Path]] = {}
        self.peers: Collection[TunnelPeer] = ()

    async def start(self) -> None:
        await self.inner.start()

    def apply(self, peers: Collection[TunnelPeer]) -> None:
        self.peers = peers
        self.inner.apply(peers)

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        self.paths[peer] = paths
        self.inner.attach(peer, paths)

    def test(self, peer: int, path: Path) -> None:
        self.inner.test(peer, path)

    def activity(self, peer: int) -> Activity:
        return self.inner.activity(peer)

    def rest(self, peer: int) -> None:
        self.inner.rest(peer)

    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        self.inner.receive(source, datagrams)

    def stats(self) -> Sequence[PeerStats]:
        return self.inner.stats()

    async def close(self) -> None:
        await self.inner.close()

    def awake(self, peer: int) -> None:
        self.events.awake(peer)

    def wanted(self, peer: int) -> None:
        self.events.wanted(peer)

    def authenticated(self, peer: int, source: Path) -> None:
        self.events.authenticated(peer, source)

    def established(self, peer: int, source: Path) -> None:
        self.events.established(peer, source)


class NeverRests(Honest):
    def rest(self, peer: int) -> None:
        """Not even told."""


class WakesByHandshakes(Honest):
    def established(self, peer: int, source: Path) -> None:
        super().established(peer, source)
        self.awake(peer)


class WakesLate(Honest):
    def awake(self, peer: int) -> None:
        asyncio.get_running_loop().call_soon(self.events.awake, peer)


class TellsNoActivity(Honest):
    def activity(self, peer: int) -> Activity:
        return Activity()


class CountsFromTheLastSent(Honest):
    def activity(self, peer: int) -> Activity:
        told = super().activity(peer)
        return told._replace(unanswered=told.unanswered and told.sent)


class IsAnsweredByAnything(Honest):
    def activity(self, peer: int) -> Activity:
        told = super().activity(peer)
        return told._replace(unanswered=told.unanswered if told.unanswered >= told.received else 0)


class IsAnsweredByAttaching(Honest):
    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        super().attach(peer, paths)
        self.inner.rest(peer)


class WaitsAtRest(Honest):
    unanswered = 0

    def activity(self, peer: int) -> Activity:
        told = super().activity(peer)
        self.unanswered = self.unanswered or told.unanswered
        return told._replace(unanswered=self.unanswered)


class CannotTest(Honest):
    def test(self, peer: int, path: Path) -> None:
        """A good path would be held for a bad one."""


class OffersATestToAllPaths(Honest):
    def test(self, peer: int, path: Path) -> None:
        for each in (*self.paths.get(peer, ()), path):
            self.inner.test(peer, each)


class RepeatsTests(Honest):
    def test(self, peer: int, path: Path) -> None:
        super().test(peer, path)
        asyncio.get_running_loop().call_later(5, super().test, peer, path)


class ForgetsAllElseToTest(Honest):
    def test(self, peer: int, path: Path) -> None:
        self.inner.apply([])
        self.inner.apply(self.peers)
        self.inner.attach(peer, [path])
        self.inner.test(peer, path)
        self.inner.attach(peer, self.paths.get(peer, ()))


class AnswersOverWhatIsAttached(Honest):
    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        attached = [path for paths in self.paths.values() for path in paths]
        super().receive(attached[0] if datagrams[0][0] == 1 else source, datagrams)


class TellsASourceForEveryBurst(Honest):
    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        super().receive(source, datagrams)
        for peer, paths in self.paths.items():
            if source not in paths:
                self.authenticated(peer, source)


class TellsASourceOnce(Honest):
    told: Path | None = None

    def authenticated(self, peer: int, source: Path) -> None:
        if source != self.told:
            self.told = source
            super().authenticated(peer, source)


class TellsOneSourceASecond(Honest):
    told = 0.0

    def authenticated(self, peer: int, source: Path) -> None:
        now = asyncio.get_running_loop().time()
        if now - self.told >= 1:
            self.told = now
            super().authenticated(peer, source)


class DoesNotSayWhereItHeard(Honest):
    def stats(self) -> Sequence[PeerStats]:
        return [replace(stats, heard_over=None) for stats in super().stats()]


class Deaf(UserspaceTunnel):
    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        """Hears nothing."""


class KeepsPeers(UserspaceTunnel):
    def apply(self, peers: Collection[TunnelPeer]) -> None:
        self.all = {**getattr(self, "all", {}), **{peer.id: peer for peer in peers}}
        super().apply(list(self.all.values()))


class StartsOver(UserspaceTunnel):
    def apply(self, peers: Collection[TunnelPeer]) -> None:
        super().apply([])
        super().apply(peers)


class RoutesAll(UserspaceTunnel):
    def apply(self, peers: Collection[TunnelPeer]) -> None:
        super().apply([replace(peer, allowed_ips=(ip_network("0.0.0.0/0"),)) for peer in peers])


class Hoards(Honest):
    """Keeps whatever leaves until it can go."""

    def __init__(self, context: TunnelContext) -> None:
        super().__init__(context)
        self.device, self.kept = context.device, list[bytes]()

    async def start(self) -> None:
        await super().start()
        leave = self.device._deliver  # type: ignore[attr-defined]

        def hoard(packets: Sequence[Buffer]) -> None:
            self.kept += [bytes(packet) for packet in packets]
            leave(packets)

        self.device.start(hoard)


class RemembersStrangers(Honest):
    def receive(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        self.memory = [*getattr(self, "memory", []), (source, bytes(100_000))]
        super().receive(source, datagrams)


class RemembersPeers(Honest):
    def apply(self, peers: Collection[TunnelPeer]) -> None:
        self.memory = [*getattr(self, "memory", []), bytes(4000) * len(peers)]
        super().apply(peers)


class RefusesAfterClosing(Honest):
    closed = False

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        if self.closed:
            raise RuntimeError("closed")
        super().attach(peer, paths)

    async def close(self) -> None:
        self.closed = True
        await super().close()


class LeavesATask(Honest):
    async def start(self) -> None:
        self.task = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0.001)
        await super().start()
