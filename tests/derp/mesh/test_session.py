"""The link to another relay, frame by frame, without a stream."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.errors import AuthenticationFailed, GhostwireError, RemoteProtocolError, Unavailable
from ghostwire.keys import PrivateKey, RelayKey
from ghostwire.testing import SeededEntropy
from ghostwire.wire.box import Box
from ghostwire_derp import frames
from ghostwire_derp.mesh import session
from ghostwire_derp.mesh.session import Itself, MeshSession

ENTROPY = SeededEntropy("mesh")
OURS, THEIRS = PrivateKey.generate(ENTROPY), PrivateKey.generate(ENTROPY)
MESH_KEY = bytes(range(32))
ALICE, BOB = b"\xa1" * 32, b"\xb0" * 32


def begun(peer: RelayKey | None = None, now: int = 0) -> MeshSession:
    return MeshSession(OURS, MESH_KEY, peer, ENTROPY, now)


def greeting(key: PrivateKey = THEIRS) -> bytes:
    return frames.MAGIC + key.public_raw


def split(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        kind, size = frames.header.unpack_from(data)
        found.append((kind, data[frames.HEADER_BYTES :][:size]))
        data = data[frames.HEADER_BYTES + size :]
    return found


def opened(now: int = 0) -> MeshSession:
    made = begun(now=now)
    made.receive(frames.SERVER_KEY, greeting(), now)
    made.outgoing()
    made.receive(frames.SERVER_INFO, Box(THEIRS, OURS.public_raw).seal(b'{"version":2}', ENTROPY), now)
    assert split(made.outgoing()) == [(frames.WATCH_CONNS, b"")]
    return made


def test_it_logs_in_as_a_client_that_has_the_mesh_key() -> None:
    made = begun(THEIRS.public(RelayKey))
    made.receive(frames.SERVER_KEY, greeting() + b"later versions say more", 0)
    ((kind, payload),) = split(made.outgoing())
    assert (kind, payload[:32]) == (frames.CLIENT_INFO, OURS.public_raw)
    info = msgspec.json.decode(Box(THEIRS, OURS.public_raw).open(payload[32:]))
    assert info == {"version": 2, "meshKey": MESH_KEY.hex(), "CanAckPings": True}
    assert not made.opened


def test_then_it_asks_who_is_there_and_learns_who_comes_and_goes() -> None:
    made = opened()
    made.receive(frames.PEER_PRESENT, ALICE + bytes(18) + b"\x01", 0)
    made.receive(frames.PEER_PRESENT, BOB, 0)
    made.receive(frames.PEER_GONE, ALICE + bytes([frames.DISCONNECTED]), 0)
    made.receive(frames.PEER_GONE, BOB + bytes([frames.NOT_HERE]), 0)
    assert made.changes == [(ALICE, True), (BOB, True), (ALICE, False)]


def test_a_key_that_comes_again_is_told_again_so_that_the_last_word_counts() -> None:
    made = opened()
    for _ in range(2):
        made.receive(frames.PEER_PRESENT, ALICE, 0)
    made.receive(frames.PEER_GONE, ALICE, 0)
    made.receive(frames.PEER_GONE, ALICE, 0)
    assert made.changes == [(ALICE, True), (ALICE, True), (ALICE, False)]


def test_other_relays_are_nobodys_destination() -> None:
    made = opened()
    made.receive(frames.PEER_PRESENT, ALICE + bytes(18) + bytes([frames.MESH_PEER]), 0)
    made.receive(frames.PEER_PRESENT, OURS.public_raw + bytes(18) + b"\x01", 0)
    assert made.changes == []


def test_pings_are_answered_and_what_is_new_is_skipped() -> None:
    made = opened()
    made.receive(frames.PING, b"12345678", 0)
    for kind in (frames.KEEP_ALIVE, frames.HEALTH, frames.RESTARTING, 0x77):
        made.receive(kind, b"", 0)
    assert split(made.outgoing()) == [(frames.PONG, b"12345678")]


def test_this_relay_itself_is_recognised() -> None:
    with pytest.raises(Itself, match="it is this relay itself"):
        begun().receive(frames.SERVER_KEY, greeting(OURS), 0)


def test_a_relay_with_another_key_than_its_record_is_refused() -> None:
    with pytest.raises(AuthenticationFailed, match="another key than its record"):
        begun(RelayKey(b"\x01" * 32)).receive(frames.SERVER_KEY, greeting(), 0)


def test_who_does_not_hold_the_key_it_shows_is_refused() -> None:
    made = begun()
    made.receive(frames.SERVER_KEY, greeting(), 0)
    with pytest.raises(RemoteProtocolError):
        made.receive(frames.SERVER_INFO, Box(PrivateKey.generate(ENTROPY), OURS.public_raw).seal(b"{}", ENTROPY), 0)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(frames.KEEP_ALIVE, b""), (frames.SERVER_KEY, b"HTTP"), (frames.SERVER_KEY, frames.MAGIC + b"short")],
)
def test_what_does_not_greet_as_a_relay_is_refused(kind: int, payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        begun().receive(kind, payload, 0)


def test_a_login_has_ten_seconds_and_silence_two_minutes() -> None:
    late = begun(now=5)
    assert late.deadline() == 5 + 10 * SECOND
    late.advance(5 + 10 * SECOND)
    assert isinstance(late.failure, Unavailable)
    made = opened(now=0)
    made.receive(frames.KEEP_ALIVE, b"", 60 * SECOND)
    made.advance(179 * SECOND)
    assert made.failure is None
    made.advance(180 * SECOND)
    assert str(made.failure) == "it was silent for 120 s"
    assert made.deadline() is None


def test_a_relay_that_closes_at_the_login_has_another_mesh_key() -> None:
    made = begun()
    made.receive(frames.SERVER_KEY, greeting(), 0)
    assert "the same mesh key?" in str(made.closed())
    assert str(opened().closed()) == "it closed the connection"


def test_the_keys_of_one_link_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_KEYS", 2)
    made = opened()
    for number in range(4):
        made.receive(frames.PEER_PRESENT, bytes([number]) * 32, 0)
    assert [key[0] for key, _ in made.changes] == [0, 1]
    assert made.overflow == 2


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=80))))
def test_whatever_comes_it_ends_in_an_error_of_ours_at_most(sent: list[tuple[int, bytes]]) -> None:
    made = begun()
    try:
        for kind, payload in [(frames.SERVER_KEY, greeting()), *sent]:
            made.receive(kind, payload, 0)
    except GhostwireError:
        return
    assert not made.opened
