"""Slow readers: what waits for them is bounded, whole frames are dropped, the oldest first, discovery goes first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire_derp.frames import FORWARD_PACKET, KEEP_ALIVE, PING, PONG, RECV_PACKET, frame
from ghostwire_derp.relay.limits import Limits
from ghostwire_derp.relay.queue import Queue


def numbers(guest: Any) -> list[int]:
    return [int(data[32:38]) for kind, data in guest.heard() if kind == RECV_PACKET]


def numbered(tools: Any, key: bytes, first: int, last: int, size: int = 1000) -> bytes:
    return b"".join(tools.packet(key, b"%06d" % n + bytes(size - 6)) for n in range(first, last))


def test_a_reader_that_catches_up_gets_everything_in_order(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    bob.room = 1500
    alice.send(numbered(tools, bob.key, 0, 10))
    alice.send(numbered(tools, bob.key, 10, 20))
    assert bob.watched
    bob.take(7777)
    alice.send(numbered(tools, bob.key, 20, 30))
    bob.take(None)
    assert numbers(bob) == list(range(30))
    assert not bob.watched
    assert house.counters.dropped_queue_head == 0


def test_of_too_much_the_oldest_whole_packets_are_dropped_and_counted(tools: Any) -> None:
    house = tools.House(Limits(queue=10 * 1037))
    alice, bob = house.join(), house.join()
    bob.room = 500
    alice.send(numbered(tools, bob.key, 0, 100))
    bob.take(None)
    assert numbers(bob) == [0, *range(90, 100)]
    assert house.counters.dropped_queue_head == 89


def test_a_slow_reader_costs_the_others_nothing(house: Any, tools: Any) -> None:
    alice, bob, carol = house.join(), house.join(), house.join()
    bob.room = 0
    alice.send(*(numbered(tools, key, n, n + 1) for n in range(1000) for key in (bob.key, carol.key)))
    assert numbers(carol) == list(range(1000))


def test_discovery_overtakes_packets_and_answers_overtake_both(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    bob.room = 10
    alice.send(numbered(tools, bob.key, 0, 3), tools.packet(bob.key, tools.disco()))
    bob.send(frame(PING, b"12345678"))
    bob.take(None)
    kinds = ["disco" if b"TS" in data else kind for kind, data in bob.heard()]
    assert kinds == [RECV_PACKET, PONG, "disco", RECV_PACKET, RECV_PACKET]


def test_discovery_has_a_queue_of_its_own(tools: Any) -> None:
    house = tools.House(Limits(queue=5000, disco_queue=1000))
    alice, bob = house.join(), house.join()
    bob.room = 0
    alice.send(
        numbered(tools, bob.key, 0, 100), tools.packet(bob.key, tools.disco()), numbered(tools, bob.key, 100, 200)
    )
    alice.send(*[tools.packet(bob.key, tools.disco())] * 50)
    bob.take(None)
    heard = [data for _, data in bob.heard()]
    assert sum(b"TS" in data for data in heard) == 1000 // (37 + 66)
    assert int(heard[-1][32:38]) == 199
    assert house.counters.dropped_queue_disco == 51 - 1000 // (37 + 66)


def test_while_an_answer_to_a_ping_waits_no_other_is_queued(house: Any) -> None:
    alice = house.join()
    alice.room = 0
    for _ in range(100):
        alice.send(frame(PING, b"12345678"))
    alice.take(None)
    assert alice.heard() == [(PONG, b"12345678")]


def test_a_reader_that_takes_nothing_for_two_seconds_is_given_up(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    bob.room = 0
    alice.send(tools.packet(bob.key))
    house.run(2)
    assert not bob.closed
    house.run(2)
    assert bob.closed
    assert house.counters.closed_slow == 1
    assert house.counters.dropped_gone == 1
    assert house.router.outgoing.queued == 0


def test_a_reader_that_takes_a_little_now_and_then_is_kept(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    bob.room = 0
    alice.send(numbered(tools, bob.key, 0, 30))
    for _ in range(10):
        house.run(1.5)
        bob.take(100)
    assert not bob.closed


def test_all_queues_together_are_bounded(tools: Any) -> None:
    house = tools.House(Limits(queue=100_000, queued=200_000, scarce_queue=5000))
    alice, readers = house.join(), [house.join() for _ in range(20)]
    for reader in readers:
        reader.room = 0
        alice.send(numbered(tools, reader.key, 0, 90))
    assert house.router.outgoing.queued <= 200_000 + 20 * 5000
    for reader in readers:
        reader.take(None)
        assert numbers(reader)[-1] == 89
    assert house.router.outgoing.queued == 0


def test_who_is_told_more_than_he_reads_is_given_up(tools: Any) -> None:
    house = tools.House(Limits(control_queue=100, write=10**15))
    alice = house.join()
    alice.room = 0
    house.run(600)
    assert not alice.closed
    house.run(3600)
    assert alice.closed
    assert house.counters.closed_slow == 1


def test_a_keep_alive_waits_behind_the_frame_begun(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    bob.room = 500
    alice.send(numbered(tools, bob.key, 0, 1))
    bob.owner.put(frame(KEEP_ALIVE))
    house.turn()
    bob.take(None)
    assert [kind for kind, _ in bob.heard()] == [RECV_PACKET, KEEP_ALIVE]


@given(
    st.lists(st.tuples(st.sampled_from([RECV_PACKET, FORWARD_PACKET, PONG]), st.integers(64, 300)), max_size=60),
    st.lists(st.integers(0, 2000), max_size=60),
    st.integers(0, 400),
    st.integers(1000, 4000),
)
def test_a_queue_never_exceeds_its_bound_and_never_tears_a_frame(
    tools: Any, added: list[tuple[int, int]], taken: list[int], already: int, bound: int
) -> None:
    queue, sent, counts = Queue(), b"", iter(taken)
    whole = [frame(kind, n.to_bytes(2, "big") * (size // 2)) for n, (kind, size) in enumerate(added)]
    first = whole[0] if whole else b""
    for at, one in enumerate(whole):
        skipped = min(already, len(first) - 1) if at == 0 else 0
        sent += one[:skipped]
        queue.add(one, skipped)
        queue.trim(bound, bound)
        assert queue._packets_size <= bound
        assert queue.size == sum(map(len, [queue._begun, *queue._control, *queue._disco, *queue._packets]))
        sent += take(queue, next(counts, 0))
    while queue.size:
        sent += take(queue, 100_000)
    frames, rest = tools.frames_of(sent)
    assert rest == b""
    assert set(frames) <= set(tools.frames_of(b"".join(whole))[0])
    for kind in (RECV_PACKET, PONG):
        order = [data[:2] for got, data in frames if got == kind]
        assert order == sorted(order)
    assert sum(kind == PONG for kind, _ in frames) == sum(kind == PONG for kind, _ in added)


def take(queue: Queue, count: int) -> bytes:
    data = b"".join(queue.front())[:count]
    queue.sent(len(data))
    return data


@pytest.mark.parametrize("kind", [RECV_PACKET, FORWARD_PACKET])
def test_discovery_is_known_by_its_magic_and_length(tools: Any, kind: int) -> None:
    keys = bytes(32) if kind == RECV_PACKET else bytes(64)
    queue = Queue()
    queue.add(frame(kind, keys + bytes(100)))
    queue.add(frame(kind, keys + tools.disco(b"")[:61]))
    queue.add(frame(kind, keys + tools.disco(b"")))
    assert [len(one) - 5 - len(keys) for one in queue.front()] == [62, 100, 61]
