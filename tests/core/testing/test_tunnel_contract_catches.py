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

BREAKERS = [
    (ClearTunnel, "neither_plaintext_nor_keys_are_seen_on_the_network", ""),
    (ClearTunnel, "a_peer_cannot_speak_as_another", ""),
    (ClearTunnel, "the_filter_is_asked_on_arrival_and_told_what_leaves", ""),
    (ClearTunnel, "the_node_is_told_that_a_peer_is_wanted_and_of_the_handshake", ""),
    (ClearTunnel, "a_new_source_address_is_reported_once_the_datagram_is_authenticated", ""),
    (ClearTunnel, "every_packet_goes_over_all_attached_paths_and_is_delivered_once", ""),
    (ClearTunnel, "replayed_datagrams_are_dropped", ""),
    (ClearTunnel, "malformed_datagrams_do_no_harm", ""),
    (ClearTunnel, "sessions_are_renewed_while_packets_flow_and_none_is_lost", ""),
    (ClearTunnel, "the_counters_tell_bytes_path_and_the_time_of_the_handshake", ""),
    (ClearTunnel, "the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not", ""),
    (ClearTunnel, "keepalives_and_handshakes_are_no_data", ""),
    (ClearTunnel, "the_activity_tells_when_data_moved_and_since_when_it_is_unanswered", ""),
    (ClearTunnel, "an_initiation_is_answered_where_it_came_from_and_nowhere_else", ""),
    (ClearTunnel, "a_closed_tunnel_is_silent_and_may_be_closed_again", ""),
    (NeverRests, "the_first_data_after_a_rest_wakes_the_peer_and_the_next_does_not", ""),
    (WakesByHandshakes, "keepalives_and_handshakes_are_no_data", ""),
    (WakesLate, "data_that_wakes_a_peer_goes_over_the_paths_attached_then", ""),
    (TellsNoActivity, "the_activity_tells_when_data_moved_and_since_when_it_is_unanswered", ""),
    (CountsFromTheLastSent, "the_activity_tells_when_data_moved_and_since_when_it_is_unanswered", ""),
    (IsAnsweredByAnything, "only_what_comes_over_an_attached_path_is_an_answer", ""),
    (IsAnsweredByAttaching, "only_what_comes_over_an_attached_path_is_an_answer", ""),
    (WaitsAtRest, "a_peer_at_rest_waits_for_no_answer", ""),
    (CannotTest, "a_path_that_carries_a_handshake_proves_itself_alone", ""),
    (OffersATestToAllPaths, "a_path_that_carries_a_handshake_proves_itself_alone", ""),
    (RepeatsTests, "a_test_of_a_dead_path_is_not_repeated_and_harms_no_session", ""),
    (ForgetsAllElseToTest, "a_test_of_a_dead_path_is_not_repeated_and_harms_no_session", ""),
    (ForgetsAllElseToTest, "a_test_does_not_disturb_a_handshake_under_way", ""),
    (AnswersOverWhatIsAttached, "an_initiation_is_answered_where_it_came_from_and_nowhere_else", ""),
    (TellsASourceForEveryBurst, "a_source_is_told_once_a_second_and_another_at_once", ""),
    (TellsASourceOnce, "a_source_is_told_once_a_second_and_another_at_once", ""),
    (TellsOneSourceASecond, "a_source_is_told_once_a_second_and_another_at_once", ""),
    (DoesNotSayWhereItHeard, "the_counters_tell_bytes_path_and_the_time_of_the_handshake", ""),
    (Deaf, "two_peers_reach_each_other_by_both_families", ""),
    (Deaf, "full_packets_arrive_whole_in_both_directions", ""),
    (Deaf, "a_peer_that_is_removed_and_comes_back_can_be_reached_again", ""),
    (Deaf, "a_lossy_network_only_delays_the_handshake", ""),
    (Deaf, "a_wall_clock_that_jumps_does_not_stop_handshakes", ""),
    (KeepsPeers, "a_removed_peer_is_cut_off_and_the_others_keep_their_sessions", ""),
    (StartsOver, "applying_the_same_peers_again_changes_nothing", ""),
    (RoutesAll, "a_packet_for_nobody_goes_nowhere", ""),
    (Hoards, "packets_for_a_peer_that_is_away_take_bounded_memory_and_time", ""),
    (RemembersStrangers, "initiations_of_strangers_take_bounded_memory_and_time", ""),
    (RemembersPeers, "peers_that_come_and_go_leave_nothing", ""),
    (RefusesAfterClosing, "a_closed_tunnel_may_be_called_as_before", ""),
    (LeavesATask, "a_start_that_is_cancelled_leaves_nothing_behind", ""),
    (LeavesATask, "closing_leaves_nothing_behind", ""),
]


def contract_of(kind: Callable[[TunnelContext], Tunnel]) -> TunnelContract:
    class Rules(TunnelContract):
        def make(self, context: TunnelContext) -> Tunnel:
            return kind(context)

    return Rules()


def failure(kind: Callable[[TunnelContext], Tunnel], rule_name: str) -> str:
    """Why one rule fails for this kind; empty where it does not."""
    try:
        getattr(contract_of(kind), f"test_{rule_name}")()
    except AssertionError as error:
        return str(error) or "no words"
    return ""


@pytest.mark.parametrize(("kind", "rule_name", "words"), BREAKERS)
def test_a_broken_tunnel_is_caught_in_words(kind: type[Tunnel], rule_name: str, words: str) -> None:
    assert words in failure(kind, rule_name)


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name, _ in BREAKERS} == set(TunnelContract.rules())


@pytest.mark.parametrize("rule_name", TunnelContract.rules())
def test_one_that_breaks_none_is_not(rule_name: str) -> None:
    assert failure(Honest, rule_name) == ""


def test_a_failure_shows_the_last_datagrams() -> None:
    with pytest.raises(AssertionError) as caught:
        contract_of(ClearTunnel).test_neither_plaintext_nor_keys_are_seen_on_the_network()
    notes = "\n".join(caught.value.__notes__)
    assert "host1" in notes
    assert "->" in notes
