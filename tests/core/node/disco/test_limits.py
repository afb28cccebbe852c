"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.node.disco.limits import Allowance, Bucket, Standing


def test_a_bucket_gives_a_burst_and_then_its_rate():
    bucket = Bucket(rate=10, burst=3)
    assert [bucket.take(SECOND) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(SECOND + SECOND // 10 - 1)
    assert bucket.take(SECOND + SECOND // 10)
    assert not bucket.take(SECOND + SECOND // 10)
    assert [bucket.take(9 * SECOND) for _ in range(4)] == [True, True, True, False]


@given(rate=st.integers(1, 50), burst=st.integers(1, 20), gaps=st.lists(st.integers(0, SECOND), max_size=200))
def test_no_bucket_gives_more_than_burst_and_rate(rate, burst, gaps):
    bucket, now, taken = Bucket(rate, burst), 0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= burst + (now * rate) // SECOND + 1


def test_each_standing_has_an_allowance_of_its_own():
    allowance = Allowance(asked=(1, 3), relayed=(1, 2), unasked=(1, 1))
    taken = {each: [allowance.take(each, 0) for _ in range(4)].count(True) for each in reversed(Standing)}
    assert taken == {Standing.ASKED: 3, Standing.RELAYED: 2, Standing.UNASKED: 1}
