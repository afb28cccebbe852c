"""Token buckets per source: what they let through, to whom, and how much they remember."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire_derp.source_buckets import SourceBuckets, source_of

NOW = 1_000 * SECOND


def taken(buckets: SourceBuckets, address: str, now: int, attempts: int) -> int:
    return sum(buckets.take(address, now) for _ in range(attempts))


def test_a_burst_passes_and_then_the_rate():
    buckets = SourceBuckets(rate=10, burst=5)
    assert taken(buckets, "192.0.2.1", NOW, 20) == 5
    assert taken(buckets, "192.0.2.1", NOW + 99 * MILLISECOND, 20) == 0
    assert taken(buckets, "192.0.2.1", NOW + 100 * MILLISECOND, 20) == 1
    assert taken(buckets, "192.0.2.1", NOW + 10 * SECOND, 20) == 5


def test_who_is_refused_does_not_wait_longer_for_it():
    buckets = SourceBuckets(rate=10, burst=1)
    assert taken(buckets, "192.0.2.1", NOW, 1000) == 1
    assert taken(buckets, "192.0.2.1", NOW + 100 * MILLISECOND, 1) == 1


def test_sources_do_not_pay_for_each_other():
    buckets = SourceBuckets(rate=10, burst=5)
    assert taken(buckets, "192.0.2.1", NOW, 9) == 5
    assert taken(buckets, "192.0.2.2", NOW, 9) == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1200::1", "2001:db8:0:12ff:ffff::2", True),
        ("2001:db8:0:1200::1", "2001:db8:0:1300::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_a_source_is_an_ipv4_address_or_a_56_of_ipv6(one, other, same):
    assert (source_of(one) == source_of(other)) is same


def test_the_table_is_bounded_and_forgets_who_was_quiet_longest():
    buckets = SourceBuckets(rate=1, burst=1, sources=100)
    assert buckets.take("192.0.2.1", NOW)
    for other in range(99):
        assert buckets.take(f"198.51.100.{other}", NOW)
    assert not buckets.take("192.0.2.1", NOW)  # which makes it the latest
    assert buckets.take("203.0.113.1", NOW)
    assert len(buckets) == 100
    assert not buckets.take("192.0.2.1", NOW)
    assert buckets.take("198.51.100.0", NOW)


@given(
    st.integers(1, 1000),
    st.integers(1, 50),
    st.lists(st.integers(0, 2 * SECOND), max_size=200),
)
def test_no_window_of_time_lets_through_more_than_a_burst_and_the_rate(rate, burst, gaps):
    buckets, now, passed = SourceBuckets(rate=rate, burst=burst), NOW, []
    for gap in gaps:
        now += gap
        if buckets.take("192.0.2.1", now):
            passed.append(now)
    interval = SECOND // rate
    for first, begin in enumerate(passed):
        assert all(count <= burst + (end - begin) // interval for count, end in enumerate(passed[first:], 1))
