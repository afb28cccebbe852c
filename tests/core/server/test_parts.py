"""The small parts: names, limits, complaints, state."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.server.limits import Buckets, Complaints
from ghostwire.server.names import is_label, label, unique
from ghostwire.testing import ManualClock


@given(st.text(max_size=300))
def test_any_host_name_becomes_a_dns_label(text):
    assert is_label(label(text))


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("Web-1.example.org", "web-1"),
        ("Jürgen's PC", "jurgen-s-pc"),
        ("--", "node"),
        ("", "node"),
        ("a" * 99, "a" * 55),
    ],
)
def test_host_names_are_recognisable_in_labels(hostname, expected):
    assert label(hostname) == expected


@given(st.integers(1, 200))
def test_a_taken_name_gets_the_next_number(count):
    taken: set[str] = set()
    for _ in range(count):
        name = unique("pc", taken.__contains__)
        assert name not in taken
        taken.add(name)
    assert taken == {"pc", *(f"pc-{number}" for number in range(1, count))}


def test_finding_a_free_name_asks_few_times():
    taken = {"pc", *(f"pc-{number}" for number in range(1, 10_000))}
    asked: list[str] = []
    assert unique("pc", lambda name: asked.append(name) or name in taken) == "pc-10000"
    assert len(asked) < 32


def test_a_bucket_lets_a_burst_through_and_then_a_trickle():
    clock = ManualClock()
    buckets = Buckets(clock, burst=3, interval=10.0)
    for _ in range(3):
        assert buckets.wait("192.0.2.1") == 0
        buckets.take("192.0.2.1")
    assert 0 < buckets.wait("192.0.2.1") <= 10
    assert buckets.wait("192.0.2.2") == 0
    clock.advance(10 * SECOND)
    assert buckets.wait("192.0.2.1") == 0
    buckets.take("192.0.2.1")
    assert buckets.wait("192.0.2.1") > 0


def test_addresses_of_one_ipv6_network_share_a_bucket():
    buckets = Buckets(ManualClock(), burst=1, interval=10.0)
    buckets.take("2001:db8::1")
    assert buckets.wait("2001:db8::ffff:2") > 0
    assert buckets.wait("2001:db8:0:1::1") == 0


def test_buckets_are_bounded():
    buckets = Buckets(ManualClock(), burst=1, interval=10.0, addresses=10)
    for number in range(100):
        buckets.take(f"192.0.2.{number}")
    assert len(buckets._full_at) == 10


def test_complaints_are_counted_and_logged_now_and_then(caplog):
    clock = ManualClock()
    complaints = Complaints(logging.getLogger("test"), clock)
    for number in range(1000):
        complaints.add("refused", f"stranger {number}")
    clock.advance(11 * SECOND)
    complaints.add("refused", "stranger 1000")
    assert complaints.total == 1001
    assert [record.getMessage() for record in caplog.records] == [
        "refused: stranger 0",
        "refused: stranger 1000 (and 999 more since)",
    ]
