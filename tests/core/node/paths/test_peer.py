"""What one peer's path choice does, event by event, on a manual clock."""

from __future__ import annotations

import itertools

from ghostwire import Activity
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Attach, Call, Ping, Rest, Trial, Trust, Want
from ghostwire.node.paths.timing import BAR, SESSION

from .conftest import LAN, OTHER, PEER, RELAY, WAN, Way, World, deaf, direct, make_world, talk


def test_a_session_starts_on_the_relay_and_everything_else_at_once(world: World) -> None:
    world.awake()
    assert world.attached == (RELAY,)
    assert [(each.path, each.ttl) for each in world.seen(Ping) if isinstance(each, Ping)] == [(LAN, 2), (WAN, 2)]
    assert world.seen(Call) == [Call(PEER, RELAY)]
    assert world.seen(Want) == [Want(PEER)]


def test_a_path_is_used_once_a_ping_of_full_size_is_answered(world: World) -> None:
    world.answering[WAN], world.flow = 20 * MILLISECOND, talk
    world.awake()
    took = world.until(lambda: world.state == "direct")
    assert took <= 750 * MILLISECOND, "a round after the one that knocks"
    assert world.attached == (WAN,)
    pings = [each for each in world.seen(Ping) if isinstance(each, Ping) and each.path == WAN]
    assert [(each.ttl, each.padded) for each in pings] == [(2, False), (None, False), (None, True)]
    assert world.seen(Trust) == [Trust(PEER, WAN)]


def test_a_path_over_which_large_pings_get_lost_is_never_used(world: World) -> None:
    world.flow = talk
    world.awake()
    for _ in range(5):
        ping = next(each for each in reversed(world.seen(Ping)) if isinstance(each, Ping) and each.path == WAN)
        if not ping.padded:
            world.paths.ponged(PEER, WAN, ping.transaction, world.now)
            world.settle()
        world.run(5 * SECOND)
    assert world.state == "searching"
    assert world.attached == (RELAY,)


def test_a_pong_over_the_relay_selects_nothing(world: World) -> None:
    world.awake()
    for each in world.seen(Ping):
        assert isinstance(each, Ping)
        world.paths.ponged(PEER, RELAY, each.transaction, world.now)
    world.settle()
    assert world.state == "searching"
    assert len(world.seen(Ping)) == 2


def test_a_pong_counts_once_and_only_from_whom_was_asked(world: World) -> None:
    world.awake()
    ping = world.seen(Ping)[1]
    assert isinstance(ping, Ping)
    world.paths.awake(8, world.now)
    world.paths.ponged(8, WAN, ping.transaction, world.now)
    world.settle()
    assert all(each.answered is None for each in world.peer.candidates)
    world.paths.ponged(PEER, WAN, ping.transaction, world.now)
    world.paths.ponged(PEER, WAN, ping.transaction, world.now + SECOND)
    assert [each.latency for each in world.peer.candidates if each.answered] == [0]


def test_the_lan_is_preferred_to_the_way_around_by_the_router(world: World) -> None:
    direct(world, WAN)
    world.answering[LAN] = MILLISECOND
    world.paths.called(PEER, [LAN, WAN], world.now)
    world.settle()
    world.until(lambda: world.attached == (LAN,))


def test_a_better_transport_wins_however_slow_it_is() -> None:
    quic = Way("203.0.113.7:443", "quic")
    world = make_world(known=(quic, WAN))
    direct(world, quic, 5 * MILLISECOND)
    world.answering[WAN] = 80 * MILLISECOND
    assert world.until(lambda: world.attached == (WAN,)) < 30 * SECOND


def test_latencies_that_waver_move_nothing() -> None:
    world = make_world(known=(WAN, OTHER))
    world.answering = {WAN: 20 * MILLISECOND, OTHER: 20 * MILLISECOND}
    world.flow = talk
    world.awake()
    world.until(lambda: world.state == "direct")
    for number in range(130):
        world.answering = {WAN: (19 + number % 3) * MILLISECOND, OTHER: (21 - number % 3) * MILLISECOND}
        world.run(SECOND, MILLISECOND)
    assert len(world.seen(Trust)) == 1


def test_a_busy_path_that_goes_silent_is_backed_by_the_relay_within_a_second(world: World) -> None:
    direct(world)
    world.answering.clear()
    world.flow = deaf
    took = world.until(lambda: RELAY in world.attached)
    assert took <= 800 * MILLISECOND
    assert world.attached == (WAN, RELAY)
    took += world.until(lambda: world.attached == (RELAY,))
    assert took <= 3 * SECOND


def test_a_path_that_answers_again_in_doubt_is_used_alone_again(world: World) -> None:
    direct(world)
    world.answering.clear()
    world.flow = deaf
    world.until(lambda: world.state == "doubted")
    world.answering[WAN], world.flow = 20 * MILLISECOND, talk
    assert world.until(lambda: world.attached == (WAN,)) <= SECOND
    assert world.state == "direct"


def test_a_quiet_path_keeps_its_trust_for_six_and_a_half_seconds_without_a_pong(world: World) -> None:
    direct(world)
    world.flow = None
    world.run(4 * SECOND)
    world.answering.clear()
    world.until(lambda: world.state == "searching")
    last = max(each.answered for each in world.peer.candidates if each.answered)
    assert 6 * SECOND <= world.now - last <= 8 * SECOND


def test_udp_that_comes_back_is_used_again_within_thirty_seconds(world: World) -> None:
    direct(world)
    world.answering.clear()
    world.flow = deaf
    world.until(lambda: world.attached == (RELAY,))
    world.flow = talk
    world.run(300 * SECOND, 100 * MILLISECOND)
    assert world.state == "searching"
    world.answering[WAN] = 20 * MILLISECOND
    assert world.until(lambda: world.state == "direct") < 26 * SECOND


def test_packets_that_come_over_the_relay_are_answered_both_ways_until_the_path_has_proved_itself(world: World) -> None:
    direct(world)
    world.run(3700 * MILLISECOND)
    before = world.now
    world.paths.authenticated(PEER, RELAY, world.now)
    world.settle()
    assert world.pings(WAN, before) == 1
    assert world.attached == (WAN, RELAY)
    world.activity = world.activity._replace(over=WAN)
    assert SECOND <= world.until(lambda: world.attached == (WAN,)) <= 1200 * MILLISECOND


def test_a_peer_that_goes_on_over_the_relay_has_the_path_tested(world: World) -> None:
    direct(world)
    world.run(3 * SECOND)
    world.carrying.clear()

    def over_the_relay(world: World) -> None:
        world.send(answered=True)
        world.activity = world.activity._replace(over=RELAY)

    world.flow = over_the_relay
    world.paths.authenticated(PEER, RELAY, world.now)
    world.settle()
    assert world.until(lambda: world.attached == (RELAY,)) <= 2200 * MILLISECOND
    assert len(world.seen(Trial)) == 2


def test_stragglers_over_the_relay_say_nothing_against_a_new_path(world: World) -> None:
    direct(world)
    world.paths.authenticated(PEER, RELAY, world.now)
    world.settle()
    assert world.attached == (WAN,)


def test_a_middlebox_that_passes_pings_and_drops_packets_does_not_hold_the_path(world: World) -> None:
    direct(world)
    world.carrying.clear()
    world.flow = deaf
    assert world.until(lambda: RELAY in world.attached) <= 1600 * MILLISECOND
    assert world.until(lambda: world.attached == (RELAY,)) <= 1500 * MILLISECOND
    assert "carries no packets" in world.peer.why
    world.flow = talk
    world.run(BAR - SECOND)
    assert world.attached == (RELAY,), "barred, though its pings are answered all the time"
    world.run(40 * SECOND)
    assert world.attached == (RELAY,), "it fails the test again"
    world.carrying.add(WAN)
    assert world.until(lambda: world.attached == (WAN,), 180 * SECOND)


def test_a_middlebox_that_passes_even_handshakes_and_drops_data_does_not_hold_the_path_either(world: World) -> None:
    direct(world)

    def over_the_relay(world: World) -> None:
        world.send(answered=RELAY in world.attached)
        world.activity = world.activity._replace(over=RELAY)

    world.flow = over_the_relay
    assert world.until(lambda: RELAY in world.attached) <= 1600 * MILLISECOND
    assert world.until(lambda: world.attached == (RELAY,)) <= 1500 * MILLISECOND
    assert "carries no packets" in world.peer.why


def test_a_path_that_no_longer_answers_while_it_is_tested_is_lost_and_not_barred(world: World) -> None:
    direct(world)
    world.flow = deaf
    world.until(lambda: bool(world.seen(Trial)))
    world.carrying.clear()
    del world.answering[WAN]
    assert RELAY in world.attached
    assert world.until(lambda: world.attached == (RELAY,)) <= 3200 * MILLISECOND
    assert "no longer answers" in world.peer.why
    world.answering[WAN], world.flow = 20 * MILLISECOND, talk
    assert world.until(lambda: world.attached == (WAN,)) <= 5 * SECOND


def test_a_stock_peer_that_answers_a_tested_path_over_the_relay_has_time_to_find_the_way(world: World) -> None:
    direct(world)
    world.carrying.clear()
    world.flow = deaf
    world.until(lambda: bool(world.seen(Trial)))
    world.paths.established(PEER, RELAY, world.now)
    world.settle()
    world.run(500 * MILLISECOND)

    def over_the_path(world: World) -> None:
        world.send(answered=True)
        world.activity = world.activity._replace(over=WAN)

    world.flow = over_the_path
    assert world.until(lambda: world.attached == (WAN,)) <= SECOND
    assert world.peer.why == "it carries packets"


def barred(world: World) -> None:
    """Of a middlebox that passes handshakes and drops data."""
    direct(world)

    def over_the_relay(world: World) -> None:
        world.send(answered=RELAY in world.attached)
        world.activity = world.activity._replace(over=RELAY)

    world.flow = over_the_relay
    world.until(lambda: world.attached == (RELAY,))


def test_a_barred_path_over_which_the_peers_data_comes_is_used_again(world: World) -> None:
    barred(world)
    world.paths.authenticated(PEER, WAN, world.now)
    world.run(SECOND)
    assert world.attached == (RELAY,), "that was no data, but a handshake that the peer tests it with"
    world.flow = None
    world.activity = world.activity._replace(received=world.now, over=WAN)
    world.paths.authenticated(PEER, WAN, world.now)
    assert world.until(lambda: world.attached == (WAN,)) <= SECOND


def test_a_path_that_was_barred_has_packets_sent_over_the_relay_as_well_until_it_brings_data(world: World) -> None:
    barred(world)
    world.until(lambda: WAN in world.attached)
    assert world.attached == (WAN, RELAY)
    world.until(lambda: world.attached == (RELAY,))
    assert all(RELAY in each.paths for each in world.seen(Attach, world.now - 3 * SECOND)), "no packet is lost"


def test_a_probation_lasts_until_something_was_sent_that_the_peer_could_answer(world: World) -> None:
    direct(world)
    world.flow = deaf
    world.until(lambda: RELAY in world.attached)
    world.flow = None
    world.run(10 * SECOND)
    assert world.attached == (WAN, RELAY), "a sender that backs off said nothing meanwhile"
    world.flow = talk
    world.activity = world.activity._replace(over=WAN)
    world.until(lambda: world.attached == (WAN,), 3 * SECOND)


def test_a_path_that_only_works_while_the_relay_helps_is_barred(world: World) -> None:
    """Somebody drops one direction's data alone: answers come directly, as soon as the relay brings the questions."""
    direct(world)

    def one_way(world: World) -> None:
        world.send(answered=RELAY in world.attached)

    world.flow = one_way
    took = world.until(lambda: world.attached == (RELAY,))
    assert took <= 7 * SECOND
    assert "carries no packets" in world.peer.why


def test_one_way_traffic_keeps_its_path_at_the_cost_of_ever_rarer_handshakes(world: World) -> None:
    direct(world)
    began = world.now
    world.flow = deaf
    for _ in range(60):
        world.run(10 * SECOND, 50 * MILLISECOND)
        world.activity = world.activity._replace(unanswered=0, heard=world.now)  # WireGuard's keepalive
        assert world.state in ("direct", "doubted")
    tests = world.seen(Trial, began)
    assert 5 <= len(tests) <= 14
    assert not world.seen(Trust, began + 1)


def test_whoever_answers_a_question_now_and_then_tests_nothing(world: World) -> None:
    direct(world)
    began = world.now

    def answer(world: World) -> None:
        if (world.now - began) % (2 * SECOND) == 0:
            world.activity = Activity(world.now, world.now, world.now, world.now, WAN)

    world.flow = answer
    world.run(60 * SECOND)
    assert world.attached == (WAN,)
    assert not world.seen(Trial, began)


def test_streams_that_are_answered_now_and_then_are_tested_ever_more_rarely(world: World) -> None:
    direct(world)
    began = world.now

    def stream(world: World) -> None:
        world.send(answered=(world.now - began) % (5 * SECOND) == 0)
        world.activity = world.activity._replace(over=WAN)

    world.flow = stream
    world.run(120 * SECOND)
    assert 2 <= len(world.seen(Trial, began)) <= 6


def test_a_guess_that_does_not_answer_is_dropped_and_a_handshake_begun_over_the_relay_alone(world: World) -> None:
    direct(world)
    world.flow = None
    world.run(SESSION + 20 * SECOND)
    world.answering, began = {}, world.now
    world.awake()
    assert world.attached == (WAN, RELAY)
    world.run(1500 * MILLISECOND)
    assert world.attached == (RELAY,)
    assert world.seen(Trial, began) == [Trial(PEER, RELAY)]


def test_where_a_peer_was_merely_heard_it_is_pinged_but_sent_nothing_as_long_as_there_is_a_relay(world: World) -> None:
    world.answering[OTHER] = 20 * MILLISECOND
    world.awake()
    world.paths.authenticated(PEER, OTHER, world.now)
    world.settle()
    assert (world.attached, world.pings(OTHER)) == ((RELAY,), 1)
    assert world.until(lambda: world.attached == (OTHER,)) <= 100 * MILLISECOND


def test_without_a_relay_the_guess_alone_is_kept() -> None:
    world = make_world(relay=None)
    world.paths.authenticated(PEER, OTHER, world.now)
    world.awake()
    world.run(20 * SECOND)
    assert world.attached == (OTHER,)
    assert not world.seen(Call)


def test_an_idle_peer_falls_asleep_and_costs_nothing_until_data_moves(world: World) -> None:
    direct(world)
    world.flow = None
    world.run(SESSION + SECOND)
    assert world.state == "asleep"
    assert world.seen(Rest) == [Rest(PEER)]
    assert world.attached == (WAN, RELAY)
    world.run(10 * SECOND)
    assert world.paths.deadline() is None
    before = world.now
    world.run(3600 * SECOND, SECOND)
    assert not [each for at, each in world.decisions if at >= before]
    world.awake()
    assert world.attached == (WAN, RELAY)
    assert world.until(lambda: world.attached == (WAN,)) <= 750 * MILLISECOND


def test_what_sleeps_is_woken_by_a_call_knocks_calls_back_and_pings_where_it_says(world: World) -> None:
    world.paths.called(PEER, [OTHER], world.now)
    world.settle()
    assert world.pings(OTHER) == 0
    assert world.seen(Call) == [Call(PEER, RELAY)]
    world.run(310 * MILLISECOND)
    assert world.pings(OTHER) == 1
    assert not world.seen(Want), "it is the peer that wants something, and told the server so"


def test_who_is_called_back_pings_at_once(world: World) -> None:
    world.awake()
    world.run(50 * MILLISECOND)
    world.paths.called(PEER, [OTHER], world.now)
    world.settle()
    assert world.pings(OTHER) == 1


def test_a_ping_is_returned_while_no_path_is_trusted(world: World) -> None:
    world.paths.pinged(PEER, OTHER, world.now)
    world.settle()
    assert not world.seen(Ping), "asleep: only the pong goes out, which disco sends"
    world.awake()
    world.run(3200 * MILLISECOND)
    before = world.pings(OTHER)
    world.paths.pinged(PEER, OTHER, world.now)
    world.paths.pinged(PEER, OTHER, world.now)
    world.settle()
    assert world.pings(OTHER) == before + 1


def test_changed_links_put_every_path_to_the_proof_at_once(world: World) -> None:
    direct(world)
    world.paths.links_changed(world.now)
    world.settle()
    assert world.attached == (WAN, RELAY)
    world.until(lambda: world.attached == (WAN,), SECOND)


def test_calls_are_a_second_apart_and_none_is_lost(world: World) -> None:
    world.awake()
    for _ in range(5):
        world.paths.endpoints_changed(world.now)
        world.settle()
        world.run(100 * MILLISECOND)
    world.run(SECOND)
    times = [at for at, each in world.decisions if isinstance(each, Call)]
    assert len(times) >= 2
    assert all(later - earlier >= SECOND for earlier, later in itertools.pairwise(times))


def test_a_relay_that_changes_is_used_at_once(world: World) -> None:
    world.awake()
    elsewhere = Way("2/nodekey:aa", "derp", relayed=True)
    world.peer.relayed(elsewhere, world.now)
    world.settle()
    assert world.attached == (elsewhere,)
    assert world.seen(Trial) == [Trial(PEER, elsewhere)], "what went over the old one may be lost"


def test_candidates_are_bounded_and_the_one_in_use_stays(world: World) -> None:
    direct(world)
    for number in range(1000):
        world.paths.pinged(PEER, Way(f"198.51.100.{number % 250}:{number}"), world.now)
    assert len(list(world.peer.candidates)) <= 64
    assert world.peer.best in list(world.peer.candidates)


def test_a_forgotten_peer_leaves_nothing_behind(world: World) -> None:
    world.awake()
    world.paths.forget(PEER)
    world.run(60 * SECOND)
    assert world.paths.get(PEER) is None
    assert world.paths.deadline() is None
    assert world.activity != Activity()


def test_everything_that_is_attached_is_news() -> None:
    world = make_world(known=(WAN,))
    direct(world)
    world.run(100 * SECOND, 100 * MILLISECOND)
    attached = world.seen(Attach)
    assert all(one != other for one, other in itertools.pairwise(attached))


def test_a_peer_that_moves_is_followed_at_once(world: World) -> None:
    direct(world)
    world.answering = {OTHER: 20 * MILLISECOND}
    world.paths.authenticated(PEER, OTHER, world.now)
    world.settle()
    assert world.attached == (WAN, RELAY)
    assert world.until(lambda: world.attached == (OTHER,)) <= 100 * MILLISECOND


def test_a_peer_that_sends_over_another_known_path_moves_nothing(world: World) -> None:
    world.answering[LAN] = 200 * MILLISECOND
    direct(world)
    world.run(5 * SECOND)
    for _ in range(20):
        world.paths.authenticated(PEER, LAN, world.now)
        world.settle()
        assert world.attached == (WAN,)
        world.run(SECOND)
