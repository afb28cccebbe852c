"""However bytes are cut and whatever they are, the outcome is that of the frames in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire import Siblings
from ghostwire_derp.frames import FORWARD_PACKET, NOTE_PREFERRED, PING, RECV_PACKET, frame

cuts = st.lists(st.integers(1, 400), min_size=1, max_size=30)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut into pieces of these sizes, in turn, and a last one."""
    found = []
    for size in sizes:
        found.append(data[:size])
        data = data[size:]
    return [*found, data]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=30), cuts)
@settings(deadline=None)
def test_every_way_of_cutting_a_stream_has_the_same_outcome(
    tools: Any, sent: list[tuple[int, int]], sizes: list[int]
) -> None:
    outcomes = []
    for cut in ([], sizes, [1] * 200):
        house = tools.House()
        alice, bob, carol = house.join(), house.join(), house.join()
        kinds = (bob.key, carol.key, b"n" * 32)
        stream = [
            tools.packet(kinds[to], bytes([n]) * size) if to < 3 else frame(NOTE_PREFERRED, b"\1")
            for n, (to, size) in enumerate(sent)
        ]
        for piece in pieces(b"".join(stream), cut):
            alice.send(piece)
        outcomes.append((bob.heard(), carol.heard(), house.counters.preferred, house.counters.packets))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(outcomes[0][0]) == sum(to == 0 for to, _ in sent)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 60)), max_size=60), st.randoms())
@settings(deadline=None)
def test_each_flow_keeps_its_order_however_many_are_read_in_one_pass(
    tools: Any, sent: list[tuple[int, int, int]], random: Any
) -> None:
    house = tools.House()
    guests = [house.join() for _ in range(4)]
    for number, (source, to, size) in enumerate(sent):
        guests[source].waiting += tools.packet(guests[to].key, number.to_bytes(4, "big") + bytes(size))
        if random.random() < 0.2:
            cut = random.randrange(len(guests[source].waiting) + 1)
            house.feed(guests[source], guests[source].waiting[:cut])
            guests[source].waiting = guests[source].waiting[cut:]
        if random.random() < 0.1:
            house.router.settle()
    house.turn()
    for to, guest in enumerate(guests):
        heard = [(data[:32], int.from_bytes(data[32:36], "big")) for kind, data in guest.heard() if kind == RECV_PACKET]
        for source, other in enumerate(guests):
            expected = [n for n, (by, at, _) in enumerate(sent) if (by, at) == (source, to)]
            assert [n for key, n in heard if key == other.key] == expected


@given(st.lists(st.binary(max_size=2000), max_size=20), st.booleans())
@settings(deadline=None)
def test_garbage_of_a_client_or_a_relay_never_raises_and_reaches_nobody_else(
    tools: Any, chunks: list[bytes], relay: bool
) -> None:
    house = tools.House()
    house.relaying.mesh = Siblings(mesh_key=b"m" * 32)
    alice, bob = house.join(), house.join()
    mallory = house.join(meshKey=(b"m" * 32).hex()) if relay else house.join()
    for chunk in chunks:
        mallory.send(chunk)
    alice.send(tools.packet(bob.key, b"still here"))
    assert bob.heard() == [(RECV_PACKET, alice.key + b"still here")]


def test_a_large_frame_in_many_small_pieces_is_not_copied_with_each(house: Any, tools: Any) -> None:
    alice, bob = house.join(), house.join()
    data = tools.packet(bob.key, bytes(60_000))
    alice.send(data[:100])
    kept = alice.kept
    for at in range(100, 59_000, 100):
        alice.send(data[at : at + 100])
        assert alice.kept is kept
    alice.send(data[59_000:])
    assert [len(payload) for _, payload in bob.heard()] == [60_032]
    assert alice.kept == b""


def test_forwarded_frames_may_be_cut_anywhere_too(house: Any) -> None:
    house.relaying.mesh = Siblings(mesh_key=b"m" * 32)
    alice, sibling = house.join(), house.join(meshKey=(b"m" * 32).hex())
    data = b"".join(frame(FORWARD_PACKET, bytes([n]) * 32 + alice.key + b"%d" % n) for n in range(20))
    data += frame(PING, b"12345678")
    for piece in pieces(data, [7] * 300):
        sibling.send(piece)
    assert alice.heard() == [(RECV_PACKET, bytes([n]) * 32 + b"%d" % n) for n in range(20)]
