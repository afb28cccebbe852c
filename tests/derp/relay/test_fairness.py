"""Small frames are much work for few bytes: whoever sends many gets no longer turns than others."""

from __future__ import annotations

from typing import Any

import pytest

from ghostwire_derp.frames import NOTE_PREFERRED, PEER_GONE, PING, RECV_PACKET, frame
from ghostwire_derp.relay.arena import READ_BYTES
from ghostwire_derp.relay.inlet import FRAMES_AT_ONCE, LEAST_READ
from ghostwire_derp.relay.limits import Limits


@pytest.mark.parametrize("aside", [frame(NOTE_PREFERRED, b"\1"), frame(PING, bytes(8)), frame(0x77)])
def test_a_client_that_floods_with_anything_but_packets_is_closed(tools: Any, aside: bytes) -> None:
    house = tools.House(Limits(asides=100))
    alice, bob = house.join(), house.join()
    alice.send(aside * 100)
    alice.send(aside * 50, tools.packet(bob.key), aside * 50)
    assert not alice.closed
    alice.send(aside * 60, tools.packet(bob.key), aside * 60)
    assert alice.closed
    assert house.counters.closed_violation == 1
    assert [kind for kind, _ in bob.heard()] == [RECV_PACKET, RECV_PACKET, PEER_GONE]


def test_every_frame_of_a_client_counts_as_work(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    before = house.counters.frames
    alice.send(*[tools.packet(bob.key)] * 3, *[tools.packet(bytes(32))] * 2, frame(PING, bytes(8)), frame(0x77))
    assert house.counters.frames - before == 7


def test_of_a_stream_of_small_frames_less_is_read_at_a_time_until_they_grow(house: Any) -> None:
    alice = house.join()
    alice.fed(FRAMES_AT_ONCE)
    assert alice.most == READ_BYTES
    alice.fed(4 * FRAMES_AT_ONCE)
    assert alice.most == READ_BYTES // 4
    alice.fed(FRAMES_AT_ONCE * 3 // 4)
    assert alice.most == READ_BYTES // 4
    for _ in range(4):
        alice.fed(FRAMES_AT_ONCE // 4)
    assert alice.most == READ_BYTES
    alice.fed(1 << 30)
    assert alice.most == LEAST_READ
