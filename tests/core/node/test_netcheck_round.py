"""The engines of netcheck: which relays are asked when, and what a round finds."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.model import MapRelay
from ghostwire.node.netcheck import plan
from ghostwire.node.netcheck.plan import Probe
from ghostwire.node.netcheck.round import PATIENCE, Round
from ghostwire.testing import SeededEntropy
from ghostwire.wire.stun import TRANSACTION_BYTES, answer, mapped_address

NOW = 1_000 * SECOND
MAPPED = ("203.0.113.9", 7)


def relay(id_: int, region: int, **changes: Any) -> MapRelay:
    return MapRelay(
        id=id_, name=f"r{id_}", region=region, region_name=f"region{region}", host=f"r{id_}.test", **changes
    )


def regions(*relays: MapRelay) -> dict[int, list[MapRelay]]:
    found: dict[int, list[MapRelay]] = {}
    for each in relays:
        found.setdefault(each.region, []).append(each)
    return found


def transaction(request: bytes) -> bytes:
    return request[20 - TRANSACTION_BYTES : 20]


# What is asked


def test_a_full_round_asks_each_region_three_times_at_another_relay_over_both_ip_versions() -> None:
    places = {1: {4: "192.0.2.1", 6: "2001:db8::1"}, 2: {4: "192.0.2.2"}, 3: {4: "192.0.2.3"}}
    probes = plan.full(regions(relay(1, 7), relay(2, 7), relay(3, 8, stun_port=9)), places)
    assert [(each.region, each.endpoint, each.after // MILLISECOND) for each in probes] == [
        (7, "192.0.2.1:3478", 0),
        (7, "192.0.2.2:3478", 100),
        (7, "192.0.2.1:3478", 200),
        (7, "[2001:db8::1]:3478", 0),
        (7, "[2001:db8::1]:3478", 100),
        (7, "[2001:db8::1]:3478", 200),
        (8, "192.0.2.3:9", 0),
        (8, "192.0.2.3:9", 100),
        (8, "192.0.2.3:9", 200),
    ]


def test_where_there_is_but_one_region_two_of_its_relays_are_asked_to_compare_mappings(
    begin: Callable[..., Round],
) -> None:
    places = {1: {4: "192.0.2.1"}, 2: {4: "192.0.2.2"}}
    probes = plan.full(regions(relay(1, 7), relay(2, 7)), places)
    made = begin(*probes)
    requests = [(probe.endpoint, transaction(request)) for probe, request in made.drain()]
    assert [endpoint for endpoint, _ in requests] == ["192.0.2.1:3478", "192.0.2.2:3478"]
    made.answered(requests[0][1], MAPPED, NOW + MILLISECOND)
    assert not made.done
    made.answered(requests[1][1], ("203.0.113.9", 8), NOW + MILLISECOND)
    assert made.done
    assert list(made.mapped.values()) == [MAPPED, ("203.0.113.9", 8)]


def test_a_relay_without_stun_or_without_an_address_is_not_asked() -> None:
    assert plan.full(regions(relay(1, 1, stun_port=0), relay(2, 2)), {1: {4: "192.0.2.1"}, 2: {}}) == []


def test_an_incremental_round_asks_the_three_fastest_and_the_home() -> None:
    held = regions(*(relay(n, n) for n in range(1, 7)))
    places = {n: {4: f"192.0.2.{n}"} for n in range(1, 7)}
    latencies = {n: 10 * n * MILLISECOND for n in range(1, 7)}
    probes = plan.incremental(held, places, latencies, 6)
    assert {n: [each.after // MILLISECOND for each in probes if each.region == n] for n in (1, 2, 3, 4, 5, 6)} == {
        1: [0, 12],
        2: [0, 24],
        3: [0],
        4: [],
        5: [],
        6: [0, 72, 144, 216],
    }


def test_a_home_that_never_answered_is_asked_every_200_ms() -> None:
    probes = plan.incremental(regions(relay(1, 1)), {1: {4: "192.0.2.1"}}, {}, 1)
    assert [each.after // MILLISECOND for each in probes] == [0, 200, 400, 600]


def test_a_glance_asks_the_home_and_the_two_nearest_twice() -> None:
    held = regions(*(relay(n, n) for n in range(1, 7)))
    places = {n: {4: f"192.0.2.{n}"} for n in range(1, 7)}
    probes = plan.glance(held, places, {n: 10 * (7 - n) * MILLISECOND for n in range(1, 7)}, 1)
    assert [(each.region, each.after // MILLISECOND) for each in probes] == [
        (1, 0),
        (1, 200),
        (6, 0),
        (6, 200),
        (5, 0),
        (5, 200),
    ]


def test_a_glance_at_the_only_region_asks_two_of_its_relays() -> None:
    probes = plan.glance(regions(relay(1, 7), relay(2, 7)), {1: {4: "192.0.2.1"}, 2: {4: "192.0.2.2"}}, {}, None)
    assert {each.endpoint for each in probes if each.after == 0} == {"192.0.2.1:3478", "192.0.2.2:3478"}


# A round


@pytest.fixture
def begin() -> Callable[..., Round]:
    def made(*probes: Probe, **options: Any) -> Round:
        return Round(probes, SeededEntropy(1), NOW, **options)

    return made


def tries(region: int, *offsets: int, family: int = 4) -> list[Probe]:
    return [Probe(region, family, f"192.0.2.{region}:3478", offset * MILLISECOND) for offset in offsets]


def test_requests_go_out_on_time_each_with_an_id_of_its_own(begin: Callable[..., Round]) -> None:
    made = begin(*tries(1, 0, 100, 200))
    sent = [each for _, each in made.drain()]
    assert made.deadline() == NOW + 100 * MILLISECOND
    for _ in range(2):
        made.advance(made.deadline() or 0)
        sent += [each for _, each in made.drain()]
    assert len({transaction(each) for each in sent}) == 3
    assert made.deadline() == NOW + PATIENCE
    made.advance(NOW + PATIENCE)
    assert made.done
    assert made.exhausted
    assert made.latencies == {}


def test_an_answer_gives_the_round_trip_and_ends_the_asking(begin: Callable[..., Round]) -> None:
    made = begin(*tries(1, 0, 100))
    ((probe, request),) = made.drain()
    found = mapped_address(answer(request, MAPPED) or b"")
    assert found is not None
    assert made.expects(found[0])
    made.answered(found[0], found[1:], NOW + 30 * MILLISECOND)
    assert made.latencies == {(1, 4): 30 * MILLISECOND}
    assert made.mapped == {probe.endpoint: MAPPED}
    assert made.done
    assert made.deadline() is None


def test_a_round_may_wait_but_little_after_the_first_answer(begin: Callable[..., Round]) -> None:
    made = begin(*tries(1, 0), *tries(2, 0), linger=100 * MILLISECOND, patience=SECOND)
    (_, request), _ = made.drain()
    assert made.deadline() == NOW + SECOND
    made.answered(transaction(request), MAPPED, NOW + 30 * MILLISECOND)
    assert made.deadline() == NOW + 130 * MILLISECOND
    made.advance(NOW + 130 * MILLISECOND)
    assert made.done


def test_a_retry_is_measured_from_its_own_sending(begin: Callable[..., Round]) -> None:
    made = begin(*tries(1, 0, 100))
    made.drain()
    made.advance(NOW + 100 * MILLISECOND)
    ((_, request),) = made.drain()
    made.answered(transaction(request), MAPPED, NOW + 120 * MILLISECOND)
    assert made.latencies == {(1, 4): 20 * MILLISECOND}


def test_forged_and_repeated_answers_change_nothing(begin: Callable[..., Round]) -> None:
    made = begin(*tries(1, 0), *tries(2, 0))
    ((_, request), _) = made.drain()
    made.answered(bytes(12), ("198.51.100.1", 1), NOW + MILLISECOND)
    made.answered(transaction(request), MAPPED, NOW + 9 * MILLISECOND)
    made.answered(transaction(request), ("198.51.100.1", 1), NOW + MILLISECOND)
    assert made.latencies == {(1, 4): 9 * MILLISECOND}
    assert list(made.mapped.values()) == [MAPPED]


def test_where_nothing_can_be_sent_nothing_is_waited_for(begin: Callable[..., Round]) -> None:
    made = begin(*tries(1, 0, 100), *tries(1, 0, 100, family=6))
    for probe, _ in made.drain():
        made.unsendable(probe)
    assert made.done
    assert begin().done


def test_enough_answers_end_a_round_but_never_before_the_home_has_answered(begin: Callable[..., Round]) -> None:
    made = begin(*(each for region in range(1, 6) for each in tries(region, 0)), enough=3, awaited=[5])
    requests = [transaction(request) for _, request in made.drain()]
    for request in requests[:4]:
        made.answered(request, MAPPED, NOW + MILLISECOND)
    assert not made.done
    made.answered(requests[4], MAPPED, NOW + MILLISECOND)
    assert made.done
    shorter = begin(*(each for region in range(1, 6) for each in tries(region, 0)), enough=3)
    for _, request in shorter.drain()[:3]:
        shorter.answered(transaction(request), MAPPED, NOW + MILLISECOND)
    assert shorter.done
    assert not shorter.exhausted


@pytest.mark.parametrize("seed", range(20))
def test_a_round_always_ends_whatever_is_lost(begin: Callable[..., Round], seed: int) -> None:
    chance, now = random.Random(seed), NOW
    made = begin(*(each for region in range(1, 9) for each in tries(region, 0, 100, 200)))
    asked = 0
    while (due := made.deadline()) is not None:
        assert due >= now
        now = due
        made.advance(now)
        for _, request in made.drain():
            asked += 1
            if chance.random() < 0.4:
                made.answered(transaction(request), MAPPED, now)
    assert now <= NOW + PATIENCE
    assert asked <= 24
