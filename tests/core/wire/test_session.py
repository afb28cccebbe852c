"""The control session's both sides, without a socket."""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire.errors import LocalProtocolError, RemoteProtocolError
from ghostwire.keys import ControlKey, MachineKey, NodeKey, PrivateKey
from ghostwire.testing import SeededEntropy
from ghostwire.wire.messages import MAX_FRAME_TO_SERVER
from ghostwire.wire.session import FIRST_BYTES, SECOND_BYTES, WRONG_SERVER, ControlSession

ENTROPY = SeededEntropy("session")
CONTROL, MACHINE, NODE, OTHER = (PrivateKey.generate(ENTROPY) for _ in range(4))


def sessions() -> tuple[ControlSession, ControlSession]:
    node = ControlSession.initiator(MACHINE, CONTROL.public(ControlKey), ENTROPY)
    return node, ControlSession.responder(CONTROL, ENTROPY)


def established() -> tuple[ControlSession, ControlSession]:
    node, server = sessions()
    server.receive(node.outgoing())
    node.receive(server.outgoing())
    return node, server


def greeted() -> tuple[ControlSession, ControlSession]:
    node, server = established()
    node.send(b"hello")
    assert server.receive(node.outgoing()) == [b"hello"]
    return node, server


def test_the_handshake_has_the_documented_bytes_on_the_wire() -> None:
    node, server = sessions()
    first = node.outgoing()
    assert (len(first), first[:2]) == (2 + FIRST_BYTES, struct.pack(">H", 96))
    assert server.receive(first) == []
    second = server.outgoing()
    assert (len(second), second[:2]) == (2 + SECOND_BYTES, struct.pack(">H", 80))
    assert node.receive(second) == []
    assert node.outgoing() == server.outgoing() == b""


def test_the_server_knows_nobody_before_the_first_record() -> None:
    node, server = established()
    assert node.established
    assert not server.established
    assert server.remote is None
    with pytest.raises(LocalProtocolError):
        server.send(b"too early")
    node.send(b"hello")
    assert server.receive(node.outgoing()) == [b"hello"]
    assert server.established
    assert server.remote == MACHINE.public(MachineKey)


def test_a_node_cannot_send_before_the_server_has_proven_itself() -> None:
    node, _ = sessions()
    with pytest.raises(LocalProtocolError):
        node.send(b"hello")
    with pytest.raises(LocalProtocolError):
        node.prove(NODE)


def test_frames_of_one_drain_share_a_record() -> None:
    node, server = greeted()
    for number in range(10):
        node.send(b"frame %d" % number)
    sent = node.outgoing()
    assert struct.unpack(">H", sent[:2])[0] == len(sent) - 2
    assert server.receive(sent) == [b"frame %d" % number for number in range(10)]
    assert node.outgoing() == b""
    assert node.queued == 0


def test_a_long_frame_spans_records() -> None:
    node, server = greeted()
    frame = bytes(range(256)) * 1024
    server.send(frame)
    assert server.queued == 4 + len(frame)
    sent = server.outgoing()
    assert len(sent) > len(frame) + 4 + 3 * 18
    assert node.receive(sent) == [frame]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 3000), max_size=30))
def test_any_chopping_gives_the_same_frames(frames: list[bytes], cuts: list[int]) -> None:
    node, server = greeted()
    stream = b""
    for frame in frames:
        node.send(frame)
        stream += node.outgoing()
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    received = [f for start, end in pairwise(edges) for f in server.receive(stream[start:end])]
    assert received == frames


def test_a_handshake_byte_by_byte_works() -> None:
    node, server = sessions()
    for byte in node.outgoing():
        server.receive(bytes([byte]))
    for byte in server.outgoing():
        node.receive(bytes([byte]))
    assert node.established


def test_another_servers_key_is_told_apart_by_a_plain_answer() -> None:
    node = ControlSession.initiator(MACHINE, OTHER.public(ControlKey), ENTROPY)
    server = ControlSession.responder(CONTROL, ENTROPY)
    with pytest.raises(RemoteProtocolError):
        server.receive(node.outgoing())
    assert server.outgoing() == WRONG_SERVER
    with pytest.raises(RemoteProtocolError):
        node.receive(WRONG_SERVER)
    assert not node.established


def test_a_server_with_another_key_is_not_believed() -> None:
    node = ControlSession.initiator(MACHINE, CONTROL.public(ControlKey), ENTROPY)
    impostor_node = ControlSession.initiator(MACHINE, OTHER.public(ControlKey), ENTROPY)
    impostor = ControlSession.responder(OTHER, ENTROPY)
    impostor.receive(impostor_node.outgoing())
    with pytest.raises(RemoteProtocolError):
        node.receive(impostor.outgoing())


def test_a_replayed_message_1_leads_nowhere() -> None:
    node, server = sessions()
    first = node.outgoing()
    server.receive(first)
    node.receive(server.outgoing())
    node.send(b"hello")
    record = node.outgoing()
    assert server.receive(record) == [b"hello"]
    again = ControlSession.responder(CONTROL, ENTROPY)
    assert again.receive(first) == []
    with pytest.raises(RemoteProtocolError):
        again.receive(record)
    assert not again.established
    assert again.remote is None


def test_a_violation_ends_the_session_for_good() -> None:
    node, server = greeted()
    node.send(b"fine")
    sealed = node.outgoing()
    with pytest.raises(RemoteProtocolError):
        server.receive(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(RemoteProtocolError):
        server.receive(sealed)


def three_records() -> tuple[ControlSession, list[bytes]]:
    node, server = greeted()
    records = []
    for text in (b"one", b"two", b"three"):
        node.send(text)
        records.append(node.outgoing())
    return server, records


def test_three_records_in_order_are_three_frames() -> None:
    server, records = three_records()
    assert server.receive(b"".join(records)) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("order", [(0, 0), (1,), (1, 0), (0, 2), (0, 1, 0)], ids=str)
def test_a_record_cannot_be_replayed_dropped_or_reordered(order: tuple[int, ...]) -> None:
    server, records = three_records()
    with pytest.raises(RemoteProtocolError, match="failed authentication"):
        server.receive(b"".join(records[index] for index in order))


def test_a_frame_too_long_for_a_server_is_refused_on_both_sides() -> None:
    node, server = greeted()
    with pytest.raises(LocalProtocolError):
        node.send(bytes(MAX_FRAME_TO_SERVER + 1))
    node._send_limit = MAX_FRAME_TO_SERVER + 1
    node.send(bytes(MAX_FRAME_TO_SERVER + 1))
    with pytest.raises(RemoteProtocolError, match="at most 16384"):
        server.receive(node.outgoing())


@pytest.mark.parametrize("size", [0, 1, 16])
def test_a_record_without_content_is_refused(size: int) -> None:
    _, server = greeted()
    with pytest.raises(RemoteProtocolError, match=f"a record of {size} bytes"):
        server.receive(struct.pack(">H", size) + bytes(size))


@pytest.mark.parametrize("size", [0, 95, 97, 65535])
def test_message_1_of_another_length_is_refused_before_it_has_arrived(size: int) -> None:
    server = ControlSession.responder(CONTROL, ENTROPY)
    with pytest.raises(RemoteProtocolError):
        server.receive(struct.pack(">H", size))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=10), st.booleans())
def test_random_bytes_only_ever_raise_a_remote_protocol_error(chunks: list[bytes], handshaken: bool) -> None:
    _, server = greeted() if handshaken else sessions()
    for chunk in chunks:
        with suppress(RemoteProtocolError):
            assert server.receive(chunk) == []
    assert len(server._buffer) <= 2 + 65535
    assert len(server._frames._buffer) <= 4 + MAX_FRAME_TO_SERVER


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 97), st.integers(1, 255))
def test_any_change_to_message_1_is_noticed_at_once(position: int, change: int) -> None:
    node, server = sessions()
    first = bytearray(node.outgoing())
    first[position] ^= change
    with pytest.raises(RemoteProtocolError):
        server.receive(bytes(first) + bytes(65536))


def test_a_node_proves_its_node_key_once() -> None:
    node, server = greeted()
    proof = node.prove(NODE)
    assert server.verify(NODE.public(NodeKey), proof)
    assert not server.verify(NODE.public(NodeKey), proof)


@pytest.mark.parametrize("proof", [b"", b"short", bytes(32), bytes(33)])
def test_a_wrong_proof_is_refused(proof: bytes) -> None:
    _, server = greeted()
    assert not server.verify(NODE.public(NodeKey), proof)


def test_a_proof_is_for_one_node_key_in_one_session() -> None:
    node, server = greeted()
    assert not server.verify(OTHER.public(NodeKey), node.prove(NODE))
    _, another = greeted()
    assert not another.verify(NODE.public(NodeKey), node.prove(NODE))


def test_a_low_order_node_key_proves_nothing() -> None:
    _, server = greeted()
    assert not server.verify(NodeKey(bytes(32)), bytes(32))


def test_only_the_right_side_proves_and_verifies() -> None:
    node, server = greeted()
    with pytest.raises(LocalProtocolError):
        server.prove(NODE)
    with pytest.raises(LocalProtocolError):
        node.verify(NODE.public(NodeKey), b"")


def test_a_proof_is_not_accepted_before_the_first_record() -> None:
    node, server = established()
    assert not server.verify(NODE.public(NodeKey), node.prove(NODE))


def test_a_session_says_nothing_about_its_keys_in_clear() -> None:
    first = sessions()[0].outgoing()
    assert MACHINE.public_raw not in first
    assert CONTROL.public_raw not in first
