"""The composite path of a peer that is searched for."""

from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire import Path
from ghostwire.node.fanout import FRESH, FanOut
from ghostwire.node.paths.by_handshake import Reach
from ghostwire.testing import ManualClock

INITIATION, RETRY = b"\x01\0\0\0first", b"\x01\0\0\0second"
RESPONSE, DATA = b"\x02\0\0\0answer", b"\x04\0\0\0data"


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


# Where a relay stands by


def over_relay(kit: Any) -> Any:
    path = kit.Path("5/peer", "derp")
    path.relayed = True
    return path


@pytest.fixture
def fan(clock: ManualClock) -> FanOut:
    return FanOut(clock)


def test_data_goes_over_the_best_guess_and_the_relay_at_once(kit: Any, fan: FanOut) -> None:
    guess, other, relayed = kit.Path("guess"), kit.Path("other"), over_relay(kit)
    fan.offer([guess, other, relayed])
    assert fan.send([DATA])
    assert [path.sent for path in (guess, other, relayed)] == [[DATA], [], [DATA]]
    fan.offer([relayed, guess, other])
    fan.send([DATA])
    assert [len(path.sent) for path in (guess, other, relayed)] == [1, 0, 2]


@pytest.mark.parametrize(("reach", "heard"), [(Reach.ALL, "dor"), (Reach.DIRECT, "do"), (Reach.RELAYED, "r")])
def test_an_initiation_goes_as_far_as_it_is_to_reach(kit: Any, fan: FanOut, reach: Reach, heard: str) -> None:
    paths = {"d": kit.Path("direct"), "o": kit.Path("other"), "r": over_relay(kit)}
    fan.offer(list(paths.values()), reach)
    fan.send([INITIATION])
    assert "".join(name for name, path in paths.items() if path.sent) == heard


@pytest.mark.parametrize("reach", list(Reach))
def test_where_there_is_nothing_within_reach_an_initiation_goes_everywhere(kit: Any, fan: FanOut, reach: Reach) -> None:
    only = kit.Path("direct") if reach is Reach.RELAYED else over_relay(kit)
    fan.offer([only], reach)
    assert fan.send([INITIATION])
    assert only.sent == [INITIATION]


def test_an_answer_goes_back_where_the_peer_was_heard(kit: Any, fan: FanOut) -> None:
    guess, relayed = kit.Path("guess"), over_relay(kit)
    fan.offer([guess, relayed])
    fan.heard = relayed
    fan.send([RESPONSE, DATA])
    assert (guess.sent, relayed.sent) == ([DATA], [RESPONSE, DATA])


def test_a_relayed_peer_that_has_another_home_gets_the_initiation_there(kit: Any, fan: FanOut) -> None:
    class Anywhere(type(over_relay(kit))):  # type: ignore[misc]
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Anywhere)

        def __hash__(self) -> int:
            return 0

    before, after = Anywhere("0/peer", "derp"), Anywhere("6/peer", "derp")
    fan.offer([before])
    fan.send([INITIATION])
    fan.offer([after])
    fan.offer([after])
    assert (before.sent, after.sent) == ([INITIATION], [INITIATION])
