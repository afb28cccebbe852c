"""The node's identity towards relays: enough to log in, and nothing else."""

import json
from typing import Any

import pytest
from nacl.public import Box, PrivateKey, PublicKey

from ghostwire import keys
from ghostwire.errors import Refused, RemoteProtocolError, Unavailable
from ghostwire.keys import NodeKey, RelayKey
from ghostwire.node.relay_login import BURST, MAX_RELAYS, MAX_SEALED, RelayLogin
from ghostwire.testing import ManualClock, SeededEntropy

NODE = keys.PrivateKey(bytes(range(32)))
RELAY = PrivateKey(bytes(range(1, 33)))
RELAY_KEY = RelayKey(bytes(RELAY.public_key))
PEER = keys.PrivateKey(bytes(range(2, 34)))
BOX = Box(RELAY, PublicKey(NODE.public_raw))
"""The relay's end of the login."""


@pytest.fixture
def login(clock: ManualClock) -> RelayLogin:
    return RelayLogin(NODE, {PEER.public_raw}.__contains__, clock, SeededEntropy(1))


def test_a_relay_reads_who_logs_in_and_what_it_can_do(login: RelayLogin) -> None:
    payload = login.derp_login(RELAY_KEY)
    assert payload[:32] == NODE.public_raw
    assert json.loads(BOX.decrypt(payload[32:])) == {"version": 2, "CanAckPings": True}
    assert login.node_key == NODE.public(NodeKey)


def test_each_login_has_a_nonce_of_its_own(login: RelayLogin) -> None:
    assert login.derp_login(RELAY_KEY)[32:56] != login.derp_login(RELAY_KEY)[32:56]


def test_the_relays_answer_is_opened(login: RelayLogin) -> None:
    login.derp_login(RELAY_KEY)
    assert login.derp_open(RELAY_KEY, bytes(BOX.encrypt(b'{"version":2}'))) == b'{"version":2}'


@pytest.mark.parametrize("key", [NODE.public_raw, PEER.public_raw, bytes(32)], ids=["own", "a peer's", "nobody's"])
def test_keys_that_are_no_relays_are_refused(login: RelayLogin, key: bytes) -> None:
    with pytest.raises(Refused):
        login.derp_login(RelayKey(key))
    with pytest.raises(Refused):
        login.derp_open(RelayKey(key), bytes(64))


def test_a_relay_that_was_not_logged_in_to_cannot_have_anything_opened(login: RelayLogin) -> None:
    with pytest.raises(Refused, match="not logged in"):
        login.derp_open(RELAY_KEY, bytes(BOX.encrypt(b'{"version":2}')))


@pytest.mark.parametrize(
    "sealed",
    [
        bytes(64),
        b"",
        bytes(BOX.encrypt(b'{"padding":"' + b"x" * MAX_SEALED + b'"}')),
        bytes(BOX.encrypt(b"TS\xf0\x9f\x92\xac some disco message")),
        bytes(BOX.encrypt(b"[1, 2]")),
        bytes(BOX.encrypt(b"[" * 900)),
    ],
    ids=["forged", "empty", "long", "no JSON", "no object", "deep"],
)
def test_only_small_json_objects_in_genuine_boxes_are_opened(login: RelayLogin, sealed: bytes) -> None:
    login.derp_login(RELAY_KEY)
    with pytest.raises(RemoteProtocolError):
        login.derp_open(RELAY_KEY, sealed)


def test_a_peers_box_cannot_be_opened_by_naming_a_relay(login: RelayLogin) -> None:
    sealed = Box(PrivateKey(PEER.raw), PublicKey(NODE.public_raw)).encrypt(b'{"version":2}')
    login.derp_login(RELAY_KEY)
    with pytest.raises(RemoteProtocolError):
        login.derp_open(RELAY_KEY, bytes(sealed))


def test_calls_are_limited_and_allowed_again_in_time(login: RelayLogin, clock: ManualClock) -> None:
    for _ in range(BURST):
        login.derp_login(RELAY_KEY)
    with pytest.raises(Unavailable):
        login.derp_login(RELAY_KEY)
    clock.advance(1_000_000_000)
    login.derp_login(RELAY_KEY)
    with pytest.raises(Unavailable):
        login.derp_open(RELAY_KEY, bytes(64))


def test_of_many_relays_the_last_are_remembered(login: RelayLogin, clock: ManualClock) -> None:
    login.derp_login(RELAY_KEY)
    for number in range(MAX_RELAYS):
        clock.advance(1_000_000_000)
        login.derp_login(keys.PrivateKey.generate(SeededEntropy(number)).public(RelayKey))
    clock.advance(1_000_000_000)
    with pytest.raises(Refused, match="not logged in"):
        login.derp_open(RELAY_KEY, bytes(BOX.encrypt(b"{}")))


def test_it_shows_no_key(login: RelayLogin) -> None:
    public: list[Any] = [name for name in dir(login) if not name.startswith("_")]
    assert public == ["derp_login", "derp_open", "node_key"]
    assert NODE.raw.hex() not in repr(login)
