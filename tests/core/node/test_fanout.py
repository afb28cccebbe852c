"""The composite path of a peer that is searched for."""

from collections.abc import Sequence
from typing import Any

from ghostwire import Path
from ghostwire.node.fanout import FRESH, FanOut
from ghostwire.testing import ManualClock

INITIATION, RETRY, DATA = b"\x01\0\0\0first", b"\x01\0\0\0second", b"\x04\0\0\0data"


def search(clock: ManualClock, candidates: Sequence[Path]) -> FanOut:
    fan = FanOut(clock)
    fan.offer(candidates)
    return fan


def test_an_initiation_goes_to_every_candidate_and_data_to_the_best_guess(kit: Any, clock: ManualClock) -> None:
    best, other = kit.Path("best"), kit.Path("other")
    assert search(clock, [best, other]).send([INITIATION, DATA])
    assert best.sent == [INITIATION, DATA]
    assert other.sent == [INITIATION]


def test_a_candidate_that_comes_later_gets_the_initiation_under_way(kit: Any, clock: ManualClock) -> None:
    early, late = kit.Path("early"), kit.Path("late")
    fan = search(clock, [early])
    buffer = bytearray(INITIATION)
    fan.send([buffer])
    buffer[:] = bytes(len(buffer))  # the tunnel reuses its buffers
    fan.offer([early, late])
    assert late.sent == [INITIATION]
    assert early.sent == [INITIATION]


def test_a_search_without_candidates_drops_but_remembers(kit: Any, clock: ManualClock) -> None:
    late = kit.Path("late")
    fan = search(clock, [])
    assert not fan.send([INITIATION])
    assert not fan.send([RETRY])
    fan.offer([late])
    assert late.sent == [RETRY]


def test_an_initiation_that_wireguard_gave_up_is_not_sent_late(kit: Any, clock: ManualClock) -> None:
    late = kit.Path("late")
    fan = search(clock, [])
    fan.send([INITIATION])
    clock.advance(FRESH)
    fan.offer([late])
    assert late.sent == []


def test_it_fails_only_where_every_candidate_fails(kit: Any, clock: ManualClock) -> None:
    full, free = kit.Path("full"), kit.Path("free")
    full.open = False
    assert search(clock, [full, free]).send([INITIATION])
    assert not search(clock, [full]).send([INITIATION])


def test_data_goes_to_one_candidate_though_there_are_many(kit: Any, clock: ManualClock) -> None:
    paths = [kit.Path(str(number)) for number in range(16)]
    search(clock, paths).send([DATA] * 64)
    assert sum(len(path.sent) for path in paths) == 64
