"""What waits to be written."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.frontdoor.outbox import RECORD, Outbox

STEPS = st.lists(st.integers(0, 3 * RECORD).map(bytes) | st.integers(1, RECORD), max_size=30)


@given(STEPS)
def test_everything_leaves_in_order_in_records_that_stay_the_same_until_taken(steps: list[bytes | int]) -> None:
    outbox, given_, left = Outbox(), bytearray(), bytearray()
    for number, step in enumerate(steps):
        if isinstance(step, int):
            record = outbox.record()
            assert record == outbox.record()
            assert len(record) <= RECORD
            assert bool(record) == bool(outbox.size)
            count = min(step, len(record))
            left += record[:count]
            outbox.taken(count)
        else:
            data = bytes([number]) * len(step)
            outbox.put(data)
            given_ += data
        assert outbox.size == len(given_) - len(left)
    while record := outbox.record():
        left += record
        outbox.taken(len(record))
    assert left == given_
    assert outbox.size == 0


def test_a_record_under_way_is_not_changed_by_what_comes_after() -> None:
    outbox = Outbox()
    outbox.put(b"a")
    record = outbox.record()
    outbox.put(b"b")
    assert outbox.record() == record == b"a"


def test_what_may_change_is_copied() -> None:
    outbox, data = Outbox(), bytearray(b"abc")
    outbox.put(data)
    data[:] = b"xyz"
    assert outbox.record() == b"abc"


def test_what_was_written_is_let_go() -> None:
    outbox, data = Outbox(), bytes(100)
    free = sys.getrefcount(data)
    outbox.put(data)
    outbox.taken(len(outbox.record()))
    assert sys.getrefcount(data) == free


def test_limits_follow_each_other() -> None:
    outbox = Outbox()
    assert (outbox.low, outbox.high) == (16384, 65536)
    outbox.set_limits(None, 10)
    assert (outbox.low, outbox.high) == (10, 40)
    outbox.set_limits(0)
    assert (outbox.low, outbox.high) == (0, 0)
    with pytest.raises(ValueError, match="must be >="):
        outbox.set_limits(1, 2)
