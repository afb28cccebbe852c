"""Leases: when they are renewed, when they end, when a router has forgotten them; addresses worth telling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.node.portmap.granted import LONGEST, SHORTEST, Granted, Lease, outside_address

T = 1000 * SECOND
# fmt: off
UNREACHABLE = [
    "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
    "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.8", "::1", "2001:db8::1",
    "example.org", "1.2.3", "01.2.3.4", "1.2.3.4:5", "", " 8.8.8.8", "8.8.8.8\n",
]
# fmt: on


def lease(lifetime: int = 7200, epoch: int | None = 500) -> Lease:
    return Lease(Granted("203.0.113.7", 41641, lifetime * SECOND, epoch), T)


def test_a_lease_is_due_at_half_its_time() -> None:
    held = lease()
    assert (held.due, held.ends) == (T + 3600 * SECOND, T + 7200 * SECOND)


def test_each_failure_halves_what_is_left_until_the_end() -> None:
    held, dues = lease(64), []
    while held.due < held.ends:
        dues.append((held.due - T) // SECOND)
        held.put_off(held.due)
    assert dues == [32, 48, 56]


@given(st.integers(min_value=0, max_value=2**40))
def test_whatever_time_is_granted_renewals_are_no_flood_and_do_happen(lifetime: int) -> None:
    held = lease(lifetime)
    assert SHORTEST // 2 <= held.due - T <= LONGEST // 2


@pytest.mark.parametrize(
    ("passed", "epoch", "forgotten"),
    [
        (0, 500, False),
        (0, 498, False),
        (0, 497, True),
        (80, 580, False),
        (80, 568, False),
        (80, 567, True),
        (80, 0, True),
        (80, 2**32 - 1, False),
    ],
)
def test_a_router_has_forgotten_once_it_counts_much_less_than_time_has_passed(passed, epoch, forgotten) -> None:
    assert lease().forgotten(epoch, T + passed * SECOND) is forgotten


def test_without_a_count_nothing_is_known_to_be_forgotten() -> None:
    assert not lease(epoch=None).forgotten(0, T + 9 * SECOND)


@pytest.mark.parametrize("text", ["203.0.113.7", "8.8.8.8", "44.128.0.1", "100.63.0.1", "172.32.0.1"])
def test_addresses_that_others_may_reach_are_told(text) -> None:
    assert outside_address(text) == text


@pytest.mark.parametrize("text", UNREACHABLE)
def test_addresses_of_an_inside_and_texts_that_are_none_are_not(text) -> None:
    assert outside_address(text) == ""
