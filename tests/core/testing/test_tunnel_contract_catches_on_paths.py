"""The tunnel's contract fails for tunnels that keep all promises but one about paths."""

import asyncio
from collections.abc import Collection, Sequence

import pytest
from msgspec.structs import replace

from ghostwire import Activity, Buffer, Path, PeerStats, Tunnel, TunnelContext, TunnelPeer
from ghostwire.testing.contracts import TunnelContract
from ghostwire.testing.contracts.tunnel_paths import TunnelPathRules
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel


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


def contract_of(kind: type[Tunnel]) -> TunnelContract:
    class Rules(TunnelContract):
        def make(self, context: TunnelContext) -> Tunnel:
            return kind(context)  # type: ignore[call-arg]

    return Rules()


@pytest.mark.parametrize(
    ("kind", "rule_name"),
    [
        (NeverRests, "test_the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not"),
        (WakesByHandshakes, "test_keepalives_and_handshakes_are_no_data"),
        (WakesLate, "test_data_that_wakes_a_peer_goes_over_the_paths_attached_then"),
        (TellsNoActivity, "test_the_activity_tells_when_data_moved_and_since_when_it_is_unanswered"),
        (CountsFromTheLastSent, "test_the_activity_tells_when_data_moved_and_since_when_it_is_unanswered"),
        (IsAnsweredByAnything, "test_only_what_comes_over_an_attached_path_is_an_answer"),
        (IsAnsweredByAttaching, "test_only_what_comes_over_an_attached_path_is_an_answer"),
        (WaitsAtRest, "test_a_peer_at_rest_waits_for_no_answer"),
        (CannotTest, "test_a_path_that_carries_a_handshake_proves_itself_alone"),
        (OffersATestToAllPaths, "test_a_path_that_carries_a_handshake_proves_itself_alone"),
        (RepeatsTests, "test_a_test_of_a_dead_path_is_not_repeated_and_harms_no_session"),
        (ForgetsAllElseToTest, "test_a_test_of_a_dead_path_is_not_repeated_and_harms_no_session"),
        (ForgetsAllElseToTest, "test_a_test_does_not_disturb_a_handshake_under_way"),
        (AnswersOverWhatIsAttached, "test_an_initiation_is_answered_where_it_came_from_and_nowhere_else"),
        (TellsASourceForEveryBurst, "test_a_source_is_told_once_a_second_and_another_at_once"),
        (TellsASourceOnce, "test_a_source_is_told_once_a_second_and_another_at_once"),
        (TellsOneSourceASecond, "test_a_source_is_told_once_a_second_and_another_at_once"),
        (DoesNotSayWhereItHeard, "test_the_counters_tell_bytes_path_and_the_time_of_the_handshake"),
    ],
)
def test_a_tunnel_that_breaks_one_promise_is_caught(kind: type[Tunnel], rule_name: str) -> None:
    with pytest.raises(AssertionError):
        getattr(contract_of(kind), rule_name)()


@pytest.mark.parametrize("rule_name", [name for name in vars(TunnelPathRules) if name.startswith("test_")])
def test_one_that_breaks_none_is_not(rule_name: str) -> None:
    getattr(contract_of(Honest), rule_name)()
