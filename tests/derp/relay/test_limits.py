"""Rates: a client that sends too fast is read more slowly, and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire import Metrics, Siblings
from ghostwire.engine import SECOND
from ghostwire_derp.bucket import Bucket
from ghostwire_derp.frames import FORWARD_PACKET, RECV_PACKET, frame
from ghostwire_derp.relay.limits import LEAST_BURST
from ghostwire_derp.settings import Settings

RATE = 100_000


@pytest.fixture
def limited(tools: Any) -> Any:
    return tools.House(settings=Settings(client_rate=RATE))


def test_a_client_above_its_rate_is_paused_until_it_has_made_up_for_it(limited: Any, tools: Any) -> None:
    alice, bob = limited.join(), limited.join()
    limited.run(10)
    alice.send(*[tools.packet(bob.key, bytes(963))] * 100)
    assert alice.paused
    assert len(bob.heard()) == 100
    alice.waiting = tools.packet(bob.key, b"later")
    limited.run((100_000 - LEAST_BURST) / RATE - 0.1)
    assert bob.heard() == []
    limited.run(0.2)
    assert bob.heard() == [(RECV_PACKET, alice.key + b"later")]


def test_a_client_within_its_rate_is_never_paused(limited: Any, tools: Any) -> None:
    alice, bob = limited.join(), limited.join()
    for _ in range(50):
        alice.send(*[tools.packet(bob.key, bytes(963))] * 10)
        assert not alice.paused
        limited.run(0.1)
    assert len(bob.heard()) == 500


def test_relays_of_the_mesh_have_no_limit(limited: Any) -> None:
    limited.relaying.mesh = Siblings(mesh_key=b"m" * 32)
    alice, sibling = limited.join(), limited.join(meshKey=(b"m" * 32).hex())
    sibling.send(*[frame(FORWARD_PACKET, bytes(32) + alice.key + bytes(60_000))] * 10)
    assert not sibling.paused
    assert len(alice.heard()) == 10


def test_a_paused_client_that_goes_is_forgotten(limited: Any, tools: Any) -> None:
    alice = limited.join()
    alice.send(tools.packet(alice.key, bytes(65_000)), tools.packet(alice.key, bytes(65_000)))
    assert alice.paused
    alice.hang_up()
    limited.run(10)
    assert alice.paused
    assert limited.router.load.clients == 0


@given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 300)), max_size=50))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(asked: list[tuple[int, int]]) -> None:
    bucket, now, given_ = Bucket(100, 50, 0), 0, 0
    for passed, amount in asked:
        now += passed
        given_ += amount if bucket.take(amount, now) else 0
        assert given_ <= 50 + 100 * now / SECOND + 1


def test_every_counter_is_a_metric(house: Any) -> None:
    metrics = Metrics()
    house.counters.register(metrics)
    assert len(list(metrics)) == len(type(house.counters).__slots__)
    house.join()
    assert metrics.values()["ghostwire_relay_logins_total"] == 1
