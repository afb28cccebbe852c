"""The tunnel's contract fails for tunnels that break one of its rules, and says which promise was broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ghostwire import Tunnel, TunnelContext
from ghostwire.testing.contracts import TunnelContract

from .broken_tunnels import (
    AnswersOverWhatIsAttached,
    CannotTest,
    ClearTunnel,
    CountsFromTheLastSent,
    Deaf,
    DoesNotSayWhereItHeard,
    ForgetsAllElseToTest,
    Hoards,
    Honest,
    IsAnsweredByAnything,
    IsAnsweredByAttaching,
    KeepsPeers,
    LeavesATask,
    NeverRests,
    OffersATestToAllPaths,
    RefusesAfterClosing,
    RemembersPeers,
    RemembersStrangers,
    RepeatsTests,
    RoutesAll,
    StartsOver,
    TellsASourceForEveryBurst,
    TellsASourceOnce,
    TellsNoActivity,
    TellsOneSourceASecond,
    WaitsAtRest,
    WakesByHandshakes,
    WakesLate,
)
from .catching import failure

BREAKERS = [
    (ClearTunnel, "neither_plaintext_nor_keys_are_seen_on_the_network", "was sent in the clear"),
    (
        ClearTunnel,
        "a_peer_cannot_speak_as_another",
        "a peer's packet with another's address as its source was delivered",
    ),
    (
        ClearTunnel,
        "the_filter_is_asked_on_arrival_and_told_what_leaves",
        "the filter was asked about the peers []; packets came from peer 1",
    ),
    (
        ClearTunnel,
        "the_node_is_told_that_a_peer_is_wanted_and_of_the_handshake",
        "a packet waits for a peer without a path, and wanted() was not called",
    ),
    (
        ClearTunnel,
        "a_new_source_address_is_reported_once_the_datagram_is_authenticated",
        "authenticated() tells peer and new source",
    ),
    (
        ClearTunnel,
        "every_packet_goes_over_all_attached_paths_and_is_delivered_once",
        "a packet that came over two paths was delivered twice",
    ),
    (ClearTunnel, "replayed_datagrams_are_dropped", "a replayed datagram was delivered again"),
    (ClearTunnel, "malformed_datagrams_do_no_harm", "malformed datagrams reached the device"),
    (
        ClearTunnel,
        "sessions_are_renewed_while_packets_flow_and_none_is_lost",
        "1 handshakes in ten minutes; a session lasts two",
    ),
    (ClearTunnel, "the_counters_tell_bytes_path_and_the_time_of_the_handshake", "bytes were not counted"),
    (
        ClearTunnel,
        "the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not",
        "awake() must be called once after each of 1 rests",
    ),
    (ClearTunnel, "keepalives_and_handshakes_are_no_data", "awake() was called for a keepalive or a handshake"),
    (
        ClearTunnel,
        "the_activity_tells_when_data_moved_and_since_when_it_is_unanswered",
        "activity() must tell when data was sent and received, by the node's clock",
    ),
    (
        ClearTunnel,
        "an_initiation_is_answered_where_it_came_from_and_nowhere_else",
        "an initiation was not answered where it came from",
    ),
    (ClearTunnel, "a_closed_tunnel_is_silent_and_may_be_closed_again", "a closed tunnel delivered what arrived"),
    (
        NeverRests,
        "the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not",
        "awake() must be called once after each of 2 rests",
    ),
    (WakesByHandshakes, "keepalives_and_handshakes_are_no_data", "awake() was called for a keepalive or a handshake"),
    (
        WakesLate,
        "data_that_wakes_a_peer_goes_over_the_paths_attached_then",
        "awake() must be told before the datagrams of the same pass are sent",
    ),
    (
        TellsNoActivity,
        "the_activity_tells_when_data_moved_and_since_when_it_is_unanswered",
        "activity() must tell when data was sent and received, by the node's clock",
    ),
    (
        CountsFromTheLastSent,
        "the_activity_tells_when_data_moved_and_since_when_it_is_unanswered",
        "unanswered must be when the first data without an answer was sent",
    ),
    (
        IsAnsweredByAnything,
        "only_what_comes_over_an_attached_path_is_an_answer",
        "data over a path that is not attached counts as an answer",
    ),
    (
        IsAnsweredByAttaching,
        "only_what_comes_over_an_attached_path_is_an_answer",
        "attaching a path changed activity(): it answers nothing",
    ),
    (WaitsAtRest, "a_peer_at_rest_waits_for_no_answer", "a peer at rest waits for no answer"),
    (CannotTest, "a_path_that_carries_a_handshake_proves_itself_alone", "the initiation went to []"),
    (
        OffersATestToAllPaths,
        "a_path_that_carries_a_handshake_proves_itself_alone",
        "the initiation went to [('192.0.2.2', 41641)]",
    ),
    (RepeatsTests, "a_test_of_a_dead_path_is_not_repeated_and_harms_no_session", "2 initiations over the tested path"),
    (
        ForgetsAllElseToTest,
        "a_test_of_a_dead_path_is_not_repeated_and_harms_no_session",
        "a ping was lost while another path was tested",
    ),
    (
        ForgetsAllElseToTest,
        "a_test_does_not_disturb_a_handshake_under_way",
        "the handshake under way was lost: established() told []",
    ),
    (
        AnswersOverWhatIsAttached,
        "an_initiation_is_answered_where_it_came_from_and_nowhere_else",
        "an initiation was not answered where it came from",
    ),
    (TellsASourceForEveryBurst, "a_source_is_told_once_a_second_and_another_at_once", "told 55 times in five seconds"),
    (TellsASourceOnce, "a_source_is_told_once_a_second_and_another_at_once", "told 1 times in five seconds"),
    (TellsOneSourceASecond, "a_source_is_told_once_a_second_and_another_at_once", "told 3 times in five seconds"),
    (
        DoesNotSayWhereItHeard,
        "the_counters_tell_bytes_path_and_the_time_of_the_handshake",
        "path and heard_over must tell the path",
    ),
    (Deaf, "two_peers_reach_each_other_by_both_families", "100.64.0.2 does not answer"),
    (Deaf, "full_packets_arrive_whole_in_both_directions", "a packet for peer 2 should be delivered"),
    (
        Deaf,
        "a_peer_that_is_removed_and_comes_back_can_be_reached_again",
        "peer 2 did not answer a ping of peer 1 within 1 s",
    ),
    (Deaf, "a_lossy_network_only_delays_the_handshake", "of 100 pings came back over a network that loses 30 %"),
    (Deaf, "a_wall_clock_that_jumps_does_not_stop_handshakes", "no handshake after the wall clock jumped by 0 s"),
    (KeepsPeers, "a_removed_peer_is_cut_off_and_the_others_keep_their_sessions", "a removed peer still gets answers"),
    (StartsOver, "applying_the_same_peers_again_changes_nothing", "peer 2 did not answer a ping of peer 1 within 1 s"),
    (RoutesAll, "a_packet_for_nobody_goes_nowhere", "the device was given what is no packet"),
    (
        Hoards,
        "packets_for_a_peer_that_is_away_take_bounded_memory_and_time",
        "MB wait for a peer that does not answer: keep few packets, drop the rest",
    ),
    (
        RemembersStrangers,
        "initiations_of_strangers_take_bounded_memory_and_time",
        "for strangers' initiations: remember none of them",
    ),
    (RemembersPeers, "peers_that_come_and_go_leave_nothing", "for 5,000 peers that came and went: forget them"),
    (
        RefusesAfterClosing,
        "a_closed_tunnel_may_be_called_as_before",
        "calling a tunnel that is closed must do no harm, but raised RuntimeError: c",
    ),
    (LeavesATask, "a_start_that_is_cancelled_leaves_nothing_behind", "a cancelled start() left tasks behind: Task-"),
    (LeavesATask, "closing_leaves_nothing_behind", "close() left tasks behind: Task-"),
]


class Tunnels(TunnelContract):
    kind: Callable[[TunnelContext], Tunnel]

    def make(self, context: TunnelContext) -> Tunnel:
        return self.kind(context)


@pytest.mark.parametrize(("kind", "rule_name", "words"), BREAKERS)
def test_a_broken_tunnel_is_caught_in_words(kind: type[Tunnel], rule_name: str, words: str) -> None:
    assert words in failure(Tunnels, kind, rule_name)


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name, _ in BREAKERS} == set(TunnelContract.rules())


@pytest.mark.parametrize("rule_name", TunnelContract.rules())
def test_one_that_breaks_none_is_not(rule_name: str) -> None:
    assert failure(Tunnels, Honest, rule_name) == ""


def test_a_failure_shows_the_last_datagrams() -> None:
    contract = Tunnels()
    contract.kind = ClearTunnel
    with pytest.raises(AssertionError) as caught:
        contract.test_neither_plaintext_nor_keys_are_seen_on_the_network()
    notes = "\n".join(caught.value.__notes__)
    assert "host1" in notes
    assert "->" in notes
