"""What relays see of a node, compared."""

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.endpoints.observed import FEW, LATELY, MEMORY, MOST, ROUND, Observed

NOW = 1_000 * SECOND
HOST = "203.0.113.7"


@pytest.fixture
def observed() -> Observed:
    return Observed()


def round_of(observed: Observed, now: int, *ports: int, host: str = HOST) -> None:
    """Relays 1, 2, ... see these ports, one after the other."""
    for relay, port in enumerate(ports, 1):
        observed.answered(f"192.0.2.{relay}:3478", (host, port), now + relay * MILLISECOND)


def test_relays_that_agree_give_one_endpoint(observed: Observed) -> None:
    assert observed.varies is None
    round_of(observed, NOW, 5)
    assert (observed.endpoints(), observed.varies) == ((f"{HOST}:5",), None)
    round_of(observed, NOW, 5, 5, 5)
    assert (observed.endpoints(), observed.varies) == ((f"{HOST}:5",), False)


def test_it_says_whether_an_answer_was_news(observed: Observed) -> None:
    assert observed.answered("r1", (HOST, 5), NOW)
    assert observed.answered("r2", (HOST, 5), NOW)  # now it is known that the mapping does not vary
    assert not observed.answered("r3", (HOST, 5), NOW)
    assert not observed.answered("r1", (HOST, 5), NOW + 20 * SECOND)


def test_both_ip_versions_have_their_own(observed: Observed) -> None:
    round_of(observed, NOW, 5, 5)
    observed.answered("[2001:db8::1]:3478", ("2001:db8::9", 6), NOW)
    assert observed.endpoints() == (f"{HOST}:5", "[2001:db8::9]:6")
    assert observed.varies is False


def test_what_most_relays_see_counts_and_what_several_see_beside_it(observed: Observed) -> None:
    round_of(observed, NOW, 9, 5, 5, 5, 8, 8)
    assert observed.endpoints() == (f"{HOST}:5", f"{HOST}:8")
    assert observed.varies is True


def test_a_new_mapping_takes_the_place_of_the_old_one_once_the_round_is_over(observed: Observed) -> None:
    round_of(observed, NOW, 5, 5, 5)
    round_of(observed, NOW + 20 * SECOND, 6)
    assert observed.endpoints() == (f"{HOST}:6",)
    assert observed.varies is False
    round_of(observed, NOW + 20 * SECOND, 6, 6, 6)
    assert observed.endpoints() == observed.steady() == (f"{HOST}:6",)


def test_where_the_mapping_varies_the_steady_port_stays_until_the_address_is_another(observed: Observed) -> None:
    round_of(observed, NOW, 5, 6, 7)
    (steady,) = observed.steady()
    for number in range(1, 9):
        round_of(observed, NOW + number * 23 * SECOND, 10 * number, 10 * number + 1, 10 * number + 2)
        assert observed.steady() == (steady,)
        assert observed.endpoints() != (steady,)
    round_of(observed, NOW + 999 * SECOND, 5, 6, host="198.51.100.1")
    assert [text.partition(":")[0] for text in observed.steady()] == ["198.51.100.1"]


def test_a_lost_answer_changes_nothing(observed: Observed) -> None:
    round_of(observed, NOW, 5, 5)
    observed.answered("[2001:db8::1]:3478", ("2001:db8::9", 6), NOW)
    before = observed.endpoints()
    round_of(observed, NOW + 23 * SECOND, 5)
    assert (observed.endpoints(), observed.varies) == (before, False)


def test_an_ip_version_that_is_silent_for_long_is_forgotten(observed: Observed) -> None:
    observed.answered("[2001:db8::1]:3478", ("2001:db8::9", 6), NOW)
    round_of(observed, NOW + MEMORY - SECOND, 5)
    assert len(observed.endpoints()) == 2
    round_of(observed, NOW + MEMORY + SECOND, 5)
    assert observed.endpoints() == (f"{HOST}:5",)


def test_elsewhere_nothing_is_known(observed: Observed) -> None:
    round_of(observed, NOW, 5, 6)
    observed.forget()
    assert (observed.endpoints(), observed.steady(), observed.varies) == ((), (), None)


def test_the_number_of_answers_is_bounded(observed: Observed) -> None:
    for number in range(3 * MOST):
        observed.answered(f"relay{number}", (HOST, number + 1), NOW + ROUND // 2)
    assert all(len(family.answers) <= MOST for family in observed._families.values())


def test_another_port_that_a_peer_sees_counts_for_a_while_and_moves_nothing_else(observed: Observed) -> None:
    round_of(observed, NOW, 5, 5)
    observed.seen(f"{HOST}:6", NOW + SECOND)
    observed.seen(f"{HOST}:5", NOW + SECOND)
    assert observed.lately(NOW + SECOND) == (f"{HOST}:6",)
    assert observed.endpoints() == observed.steady() == (f"{HOST}:5",)
    assert observed.lately(NOW + SECOND + LATELY) == ()
    round_of(observed, NOW + 20 * SECOND, 6, 6)
    assert observed.lately(NOW + 20 * SECOND) == ()


@pytest.mark.parametrize("said", ["198.51.100.66:5", "[2001:db8::66]:5", ""])
def test_an_address_that_no_relay_sees_is_not_taken_from_a_peer(observed: Observed, said: str) -> None:
    observed.seen(said, NOW)
    round_of(observed, NOW, 5, 5)
    observed.seen(said, NOW)
    assert observed.lately(NOW) == ()


def test_where_the_mapping_varies_a_peers_word_says_nothing_for_others(observed: Observed) -> None:
    round_of(observed, NOW, 5, 6)
    observed.seen(f"{HOST}:7", NOW)
    assert observed.lately(NOW) == ()


def test_peers_push_out_no_more_than_what_peers_said_and_links_that_change_all_of_it(observed: Observed) -> None:
    round_of(observed, NOW, 5, 5)
    for port in range(100, 200):
        observed.seen(f"{HOST}:{port}", NOW)
    assert observed.lately(NOW) == tuple(f"{HOST}:{port}" for port in range(199, 199 - FEW, -1))
    observed.forget()
    round_of(observed, NOW, 5, 5)
    assert observed.lately(NOW) == ()
