"""The tunnel's contract fails for tunnels that break one of its rules."""

from collections.abc import Collection, Sequence
from ipaddress import ip_address

import pytest

from ghostwire import Buffer, Path, PeerStats, Tunnel, TunnelContext, TunnelPeer
from ghostwire.testing import packets
from ghostwire.testing.contracts import TunnelContract


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


class InTheClear(TunnelContract):
    def make(self, context: TunnelContext) -> Tunnel:
        return ClearTunnel(context)


@pytest.mark.parametrize(
    "rule_name",
    [
        "test_neither_plaintext_nor_keys_are_seen_on_the_network",
        "test_a_peer_cannot_speak_as_another",
        "test_the_filter_is_asked_on_arrival_and_told_what_leaves",
        "test_the_node_is_told_that_a_peer_is_wanted_and_of_the_handshake",
        "test_a_new_source_address_is_reported_once_the_datagram_is_authenticated",
        "test_every_packet_goes_over_all_attached_paths_and_is_delivered_once",
        "test_replayed_datagrams_are_dropped",
        "test_malformed_datagrams_do_no_harm",
        "test_sessions_are_renewed_while_packets_flow_and_none_is_lost",
        "test_the_counters_tell_bytes_path_and_the_time_of_the_handshake",
        "test_the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not",
        "test_keepalives_and_handshakes_are_no_data",
        "test_the_activity_tells_when_data_moved_and_since_when_it_is_unanswered",
        "test_an_initiation_is_answered_where_it_came_from_and_nowhere_else",
        "test_a_closed_tunnel_is_silent_and_may_be_closed_again",
    ],
)
def test_a_tunnel_that_is_none_is_caught(rule_name: str) -> None:
    with pytest.raises((AssertionError, AttributeError)):
        getattr(InTheClear(), rule_name)()


def test_a_failure_shows_the_last_datagrams() -> None:
    with pytest.raises(AssertionError) as caught:
        InTheClear().test_neither_plaintext_nor_keys_are_seen_on_the_network()
    notes = "\n".join(caught.value.__notes__)
    assert "host1" in notes
    assert "->" in notes
