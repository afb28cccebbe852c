"""The engine that decides which path a peer's packets take."""

from typing import Any

import pytest

from ghostwire.engine import SECOND
from ghostwire.node.paths import TRUST, Paths, Search, Use

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
    assert paths.drain() == [Use(2, a), Search(2, a)]
    assert paths.trusted(2) is None
    paths.wanted(2, NOW + 130 * SECOND)
    assert paths.drain() == [Search(2, a)]


def test_a_path_without_a_handshake_for_a_sessions_life_is_only_a_guess(trusted: tuple[Paths, Any]) -> None:
    paths, a = trusted
    paths.wanted(2, NOW + TRUST)
    assert paths.drain() == [Search(2, a)]


def test_a_peer_that_roams_is_followed(trusted: tuple[Paths, Any], kit: Any) -> None:
    paths, _ = trusted
    paths.authenticated(2, kit.Path("b"), NOW + SECOND)
    assert paths.drain() == [Use(2, kit.Path("b"))]
    assert paths.trusted(2) == kit.Path("b")


def test_after_a_link_change_the_next_initiation_fans_out(trusted: tuple[Paths, Any]) -> None:
    paths, a = trusted
    paths.links_changed()
    assert paths.trusted(2) == a  # data goes on meanwhile
    paths.wanted(2, NOW + SECOND)
    assert paths.drain() == [Search(2, a)]


def test_a_forgotten_peer_begins_anew(trusted: tuple[Paths, Any]) -> None:
    paths, _ = trusted
    paths.keep({3})
    assert paths.trusted(2) is None
    paths.wanted(2, NOW + SECOND)
    assert paths.drain() == [Search(2, None)]
