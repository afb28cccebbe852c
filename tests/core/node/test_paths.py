"""The engine that decides which path a peer's packets take."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire import Path
from ghostwire.engine import SECOND
from ghostwire.node.paths.by_handshake import GRACE, PROBE, PROBES, TRUST, Answer, Paths, Reach, Renew, Search, Use

NOW = 1_000 * SECOND


@pytest.fixture
def trusted(kit: Any) -> tuple[Paths, Any]:
    """Peer 2 has the confirmed path ``a``."""
    paths, a = Paths(), kit.Path("a")
    paths.wanted(2, NOW)
    paths.established(2, a, NOW)
    paths.drain()
    return paths, a


def test_a_peer_without_a_path_is_searched() -> None:
    paths = Paths()
    paths.wanted(2, NOW)
    assert paths.drain() == [Search(2, None)]
    assert paths.drain() == []
    assert paths.trusted(2) is None


def test_the_first_path_that_completes_a_handshake_is_used(kit: Any) -> None:
    paths = Paths()
    paths.wanted(2, NOW)
    paths.established(2, kit.Path("a"), NOW)
    assert paths.drain() == [Search(2, None), Use(2, kit.Path("a"))]
    assert paths.trusted(2) == kit.Path("a")


def test_a_peer_that_speaks_first_has_the_path_it_came_by(kit: Any) -> None:
    paths = Paths()
    paths.authenticated(2, kit.Path("a"), NOW)
    assert paths.drain() == [Use(2, kit.Path("a"))]


def test_a_renewal_goes_over_the_trusted_path(trusted: tuple[Paths, Any]) -> None:
    paths, a = trusted
    paths.wanted(2, NOW + 120 * SECOND)
    assert paths.drain() == [Use(2, a)]
    paths.established(2, a, NOW + 120 * SECOND)
    assert paths.drain() == []
    paths.wanted(2, NOW + 240 * SECOND)
    assert paths.drain() == [Use(2, a)]


def test_a_renewal_that_stays_unanswered_goes_back_to_searching(trusted: tuple[Paths, Any]) -> None:
    paths, a = trusted
    paths.wanted(2, NOW + 120 * SECOND)
    paths.wanted(2, NOW + 125 * SECOND)
    assert paths.drain() == [Use(2, a), Search(2, a, a)]
    assert paths.trusted(2) is None
    paths.wanted(2, NOW + 130 * SECOND)
    assert paths.drain() == [Search(2, a, a, Reach.RELAYED)]  # all of them, where there is no relay


def test_a_path_without_a_handshake_for_a_sessions_life_is_only_a_guess(trusted: tuple[Paths, Any]) -> None:
    paths, a = trusted
    paths.wanted(2, NOW + TRUST)
    assert paths.drain() == [Search(2, a, a)]


def test_a_peer_that_roams_is_followed(trusted: tuple[Paths, Any], kit: Any) -> None:
    paths, _ = trusted
    paths.authenticated(2, kit.Path("b"), NOW + SECOND)
    assert paths.drain() == [Use(2, kit.Path("b"))]
    assert paths.trusted(2) == kit.Path("b")


def test_after_a_link_change_the_next_initiation_fans_out(trusted: tuple[Paths, Any]) -> None:
    paths, a = trusted
    paths.links_changed(NOW)
    assert paths.trusted(2) == a  # data goes on meanwhile
    paths.wanted(2, NOW + SECOND)
    assert paths.drain() == [Search(2, a, a)]


def test_a_forgotten_peer_begins_anew(trusted: tuple[Paths, Any]) -> None:
    paths, _ = trusted
    paths.forget(2)
    assert paths.trusted(2) is None
    paths.wanted(2, NOW + SECOND)
    assert paths.drain() == [Search(2, None)]


class Relayed(Path):
    """A path over a relay."""

    transport, endpoint, relayed = "relay", "1/peer", True

    def send(self, datagrams: Any) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.relayed or self is other)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "R"


R, ELSEWHERE = Relayed(), Relayed()
ELSEWHERE.endpoint = "2/peer"


class Direct(Relayed):
    transport, relayed = "udp", False

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return self.endpoint


D, E = Direct("d"), Direct("e")


@pytest.fixture
def backed() -> Paths:
    """Where a relay reaches everybody."""
    return Paths(lambda peer: True)


@pytest.fixture
def relayed(backed: Paths) -> Paths:
    """Peer 2's session began over the relay."""
    backed.wanted(2, NOW)
    backed.established(2, R, NOW)
    backed.drain()
    return backed


@pytest.fixture
def direct(backed: Paths) -> Paths:
    """Peer 2 has a direct path, and a relay stands by."""
    backed.wanted(2, NOW)
    backed.established(2, D, NOW)
    backed.drain()
    return backed


def test_a_session_may_begin_over_the_relay(backed: Paths) -> None:
    backed.wanted(2, NOW)
    backed.authenticated(2, R, NOW)
    backed.established(2, R, NOW)
    assert backed.drain()[-1] == Use(2, R)
    assert backed.trusted(2) is R


def test_a_search_tries_the_relay_alone_at_every_second_time(backed: Paths) -> None:
    for second in range(4):
        backed.wanted(2, NOW + 5 * second * SECOND)
    found = [each.reach for each in backed.drain() if isinstance(each, Search)]
    assert found == [Reach.ALL, Reach.RELAYED, Reach.ALL, Reach.RELAYED]


def test_over_a_relay_each_new_handshake_is_tried_on_direct_paths_first(relayed: Paths) -> None:
    relayed.wanted(2, NOW + 120 * SECOND)
    assert relayed.drain() == [Search(2, R, R, Reach.DIRECT)]
    assert relayed.trusted(2) is R
    relayed.wanted(2, NOW + 125 * SECOND)
    assert relayed.drain() == [Search(2, R, R, Reach.ALL)]
    relayed.established(2, R, NOW + 125 * SECOND)
    assert relayed.drain() == [Use(2, R)]


def test_the_direct_path_that_answers_is_preferred_to_the_relay(relayed: Paths) -> None:
    relayed.wanted(2, NOW + 120 * SECOND)
    relayed.authenticated(2, D, NOW + 120 * SECOND)
    relayed.established(2, D, NOW + 120 * SECOND)
    assert relayed.drain()[-1] == Use(2, D)
    relayed.authenticated(2, R, NOW + 121 * SECOND)  # what was sent before
    assert relayed.drain() == []
    assert relayed.trusted(2) is D


def test_a_direct_datagram_alone_proves_no_way_back_where_a_relay_stands_by(relayed: Paths) -> None:
    relayed.authenticated(2, D, NOW + 9 * SECOND)
    assert relayed.drain() == [Search(2, D, D)]
    assert relayed.trusted(2) is None
    relayed.established(2, R, NOW + 10 * SECOND)
    assert relayed.drain() == [Use(2, R)]


def test_a_peer_that_roams_is_followed_at_once_and_the_relay_helps_until_that_is_proven(direct: Paths) -> None:
    direct.authenticated(2, E, NOW + 9 * SECOND)
    assert direct.drain() == [Search(2, E, E)]
    assert direct.deadline() == NOW + 9 * SECOND + PROBE
    direct.advance(NOW + 10 * SECOND)
    assert direct.drain() == [Renew(2)]
    direct.established(2, E, NOW + 10 * SECOND)
    assert direct.drain() == [Use(2, E)]
    assert direct.deadline() is None


def test_a_peer_that_comes_over_the_relay_may_have_lost_the_direct_path(direct: Paths) -> None:
    direct.authenticated(2, R, NOW + GRACE)
    assert direct.drain() == [Search(2, D, R)]
    direct.authenticated(2, D, NOW + GRACE)
    assert direct.drain() == [Answer(2, D)]
    direct.authenticated(2, R, NOW + GRACE)
    assert direct.drain() == [Answer(2, R)]
    direct.established(2, R, NOW + GRACE)
    assert direct.drain() == [Use(2, R)]


def test_a_relayed_path_is_probed_ever_more_rarely_and_then_no_more(relayed: Paths) -> None:
    now, probes = NOW, []
    while (due := relayed.deadline()) is not None:
        relayed.advance(due)
        probes.append((due - now) // SECOND)
        now = due
        assert relayed.drain() == [Renew(2)]
        relayed.wanted(2, now)
        relayed.established(2, R, now)
        relayed.drain()
    assert probes == [1, 4, 16, 64]
    assert len(probes) == PROBES


def test_new_candidates_and_other_links_bring_new_probes(relayed: Paths) -> None:
    for hope in (lambda: relayed.found(2, NOW), lambda: relayed.links_changed(NOW)):
        while (due := relayed.deadline()) is not None:
            relayed.advance(due)
            relayed.established(2, R, due)
        hope()
        assert relayed.deadline() == NOW + PROBE


def test_a_peer_with_another_home_is_reached_there(relayed: Paths) -> None:
    relayed.moved(2, R)
    assert relayed.drain() == []
    relayed.moved(2, ELSEWHERE)
    assert relayed.drain() == [Use(2, ELSEWHERE)]
    assert relayed.trusted(2) is ELSEWHERE


def test_a_forgotten_peer_is_not_probed(relayed: Paths) -> None:
    relayed.forget(2)
    assert relayed.deadline() is None


@given(st.lists(st.tuples(st.sampled_from(["wanted", "authenticated", "established"]), st.sampled_from([D, E, R]))))
def test_only_a_completed_handshake_makes_a_path_trusted_where_a_relay_stands_by(events: list[Any]) -> None:
    paths, now, proven = Paths(lambda peer: True), NOW, None
    for name, path in events:
        now += 3 * SECOND
        arguments = (2, now) if name == "wanted" else (2, path, now)
        getattr(paths, name)(*arguments)
        proven = path if name == "established" else proven
        assert paths.trusted(2) in (None, proven)
        if name == "established":
            assert paths.trusted(2) is path


@given(st.lists(st.sampled_from(["wanted", "direct", "relay"]), max_size=30))
def test_a_peer_who_answers_over_the_relay_always_ends_up_there(events: list[str]) -> None:
    """Whatever came before, and though direct datagrams arrive that cannot be answered."""
    paths, now = Paths(lambda peer: True), NOW
    for event in events:
        now += 2 * SECOND
        if event == "wanted":
            paths.wanted(2, now)
        else:
            paths.authenticated(2, D if event == "direct" else R, now)
    reached: list[Reach] = []
    for _ in range(3):
        paths.drain()
        paths.wanted(2, now := now + 5 * SECOND)
        reached += [each.reach for each in paths.drain() if isinstance(each, Search)]
        paths.authenticated(2, D, now)
    assert Reach.RELAYED in reached
