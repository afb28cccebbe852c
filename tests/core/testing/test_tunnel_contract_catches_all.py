"""Every rule of tunnels has a tunnel that breaks it."""

from collections.abc import Collection, Sequence
from ipaddress import ip_network
from pathlib import Path as FilePath

import pytest
from msgspec.structs import replace

from ghostwire import Buffer, Path, Tunnel, TunnelContext, TunnelPeer
from ghostwire.testing.contracts import TunnelContract
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel


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


BREAKERS = [
    (Deaf, "two_peers_reach_each_other_by_both_families"),
    (Deaf, "full_packets_arrive_whole_in_both_directions"),
    (Deaf, "a_peer_that_is_removed_and_comes_back_can_be_reached_again"),
    (Deaf, "a_lossy_network_only_delays_the_handshake"),
    (Deaf, "a_wall_clock_that_jumps_does_not_stop_handshakes"),
    (KeepsPeers, "a_removed_peer_is_cut_off_and_the_others_keep_their_sessions"),
    (StartsOver, "applying_the_same_peers_again_changes_nothing"),
    (RoutesAll, "a_packet_for_nobody_goes_nowhere"),
]


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_tunnel_is_caught(kind: type[UserspaceTunnel], rule_name: str) -> None:
    class Rules(TunnelContract):
        def make(self, context: TunnelContext) -> Tunnel:
            return kind(context)

    with pytest.raises(Exception):  # noqa: B017 (a simulation that waits for ever ends with an error of its own)
        getattr(Rules(), f"test_{rule_name}")()


def test_every_rule_has_a_breaker() -> None:
    others = "".join(file.read_text() for file in FilePath(__file__).parent.glob("test_tunnel_contract_catches*.py"))
    assert [name for name in TunnelContract.rules() if f'{name}"' not in others] == []
