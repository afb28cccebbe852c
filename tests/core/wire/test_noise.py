"""Noise IK against a published vector, another implementation, and bytes that were tampered with."""

from __future__ import annotations

import pytest
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.dh.x25519.x25519 import PrivateKey as TheirPrivate
from dissononce.dh.x25519.x25519 import PublicKey as TheirPublic
from dissononce.extras.dh.dangerous.dh_nogen import NoGenDH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState as TheirCipher
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState

from ghostwire.errors import LocalProtocolError, RemoteProtocolError
from ghostwire.keys import PrivateKey
from ghostwire.testing import SeededEntropy
from ghostwire.wire.noise import CipherState, Initiator, Responder

PROLOGUE = b"a prologue"

# Noise_IK_25519_ChaChaPoly_BLAKE2s of the public-domain cacophony vectors
VECTOR = {
    "prologue": "4a6f686e2047616c74",
    "init_static": "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
    "init_ephemeral": "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
    "resp_static": "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
    "resp_public": "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62",
    "resp_ephemeral": "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
    "hash": "48f3cb8bc9319da4ba1e9933991b1c4ed4034f1f126a76d3a1fbcfd7f94248d4",
}
VECTOR_MESSAGES = [
    (
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
        "0b03ddc7aac5123d06a1b23b71670e32e76c28239a7ca4ac8f784de7e44c1adb"
        "fc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4e"
        "ca690f6d896f543be02c996ab2b86b76",
    ),
    (
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
        "d9b5a8927f0ac9655ef76833bc7e5561f42e691ac8404efd6fbd6308b6a27c",
    ),
    ("462e20412e20486179656b", "2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b"),
    ("4361726c204d656e676572", "d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3"),
    (
        "4a65616e2d426170746973746520536179",
        "a9c068ca5d8babf72560652d8e851adbfac35c8a66e810d560863173e96adf4cfe",
    ),
    (
        "457567656e2042f6686d20766f6e2042617765726b",
        "2a09d8f459e5927e40fdd2eddc99bdafb04e13a26f145cb5cfe9e6ba34c94331ebc17d5156",
    ),
]
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


def raw(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def fixed(secret: bytes):
    return lambda size: secret


def pair(seed: str = "noise") -> tuple[Initiator, Responder]:
    entropy = SeededEntropy(seed)
    ours, theirs = PrivateKey.generate(entropy), PrivateKey.generate(entropy)
    return Initiator(ours, theirs.public_raw, PROLOGUE, entropy), Responder(theirs, PROLOGUE, entropy)


def test_the_published_vector_comes_out_byte_for_byte() -> None:
    initiator = Initiator(
        PrivateKey(raw("init_static")), raw("resp_public"), raw("prologue"), fixed(raw("init_ephemeral"))
    )
    responder = Responder(PrivateKey(raw("resp_static")), raw("prologue"), fixed(raw("resp_ephemeral")))
    messages = [(bytes.fromhex(payload), bytes.fromhex(sealed)) for payload, sealed in VECTOR_MESSAGES]
    assert initiator.write_first(messages[0][0]) == messages[0][1]
    assert responder.read_first(messages[0][1]) == messages[0][0]
    assert responder.write_second(messages[1][0]) == messages[1][1]
    assert initiator.read_second(messages[1][1]) == messages[1][0]
    assert initiator.hash == responder.hash == raw("hash")
    sides = [initiator.split(), responder.split()]
    for turn, (payload, sealed) in enumerate(messages[2:]):
        writer, reader = sides[turn % 2], sides[1 - turn % 2]
        assert writer[0].encrypt(payload) == sealed
        assert reader[1].decrypt(sealed) == payload


def their_side(static: bytes, ephemeral: bytes, remote: bytes | None) -> HandshakeState:
    x25519 = X25519DH()
    state = HandshakeState(
        SymmetricState(TheirCipher(ChaChaPolyCipher()), Blake2sHash()), NoGenDH(x25519, TheirPrivate(ephemeral))
    )
    state.initialize(
        IKHandshakePattern(),
        remote is not None,
        PROLOGUE,
        s=x25519.generate_keypair(TheirPrivate(static)),
        rs=TheirPublic(remote) if remote is not None else None,
    )
    return state


@pytest.mark.parametrize("seed", range(5))
def test_our_initiator_and_their_responder_understand_each_other(seed: int) -> None:
    entropy = SeededEntropy(seed)
    ours, theirs, e1, e2 = (PrivateKey.generate(entropy) for _ in range(4))
    initiator = Initiator(ours, theirs.public_raw, PROLOGUE, fixed(e1.raw))
    responder = their_side(theirs.raw, e2.raw, None)
    payload, second = bytearray(), bytearray()
    responder.read_message(initiator.write_first(b"hello"), payload)
    ciphers = responder.write_message(b"challenge", second)
    assert (payload, responder.rs.data) == (b"hello", ours.public_raw)
    assert initiator.read_second(bytes(second)) == b"challenge"
    assert initiator.hash == responder.symmetricstate.get_handshake_hash()
    sending, receiving = initiator.split()
    for number in range(3):
        assert ciphers[0].decrypt_with_ad(b"", sending.encrypt(b"up %d" % number)) == b"up %d" % number
        assert receiving.decrypt(ciphers[1].encrypt_with_ad(b"", b"down %d" % number)) == b"down %d" % number


@pytest.mark.parametrize("seed", range(5))
def test_their_initiator_and_our_responder_write_the_same_transcript_as_two_of_ours(seed: int) -> None:
    entropy = SeededEntropy(seed)
    ours, theirs, e1, e2 = (PrivateKey.generate(entropy) for _ in range(4))
    stranger = their_side(theirs.raw, e1.raw, ours.public_raw)
    twin = Initiator(theirs, ours.public_raw, PROLOGUE, fixed(e1.raw))
    responder = Responder(ours, PROLOGUE, fixed(e2.raw))
    first, payload = bytearray(), bytearray()
    stranger.write_message(b"", first)
    assert bytes(first) == twin.write_first()
    assert responder.read_first(bytes(first)) == b""
    assert responder.initiator == theirs.public_raw
    second = responder.write_second(b"challenge")
    ciphers = stranger.read_message(second, payload)
    twin.read_second(second)
    assert payload == b"challenge"
    assert stranger.symmetricstate.get_handshake_hash() == responder.hash == twin.hash
    sending, receiving = responder.split()
    assert ciphers[1].decrypt_with_ad(b"", sending.encrypt(b"down")) == b"down"
    assert receiving.decrypt(ciphers[0].encrypt_with_ad(b"", b"up")) == b"up"


def test_every_flipped_bit_of_message_1_is_noticed() -> None:
    initiator, _ = pair()
    first = initiator.write_first(b"x")
    for position in range(len(first)):
        _, responder = pair()
        with pytest.raises(RemoteProtocolError):
            responder.read_first(flip(first, position))


def test_every_flipped_bit_of_message_2_is_noticed() -> None:
    for position in range(32 + 1 + 16):
        initiator, responder = pair()
        responder.read_first(initiator.write_first())
        with pytest.raises(RemoteProtocolError):
            initiator.read_second(flip(responder.write_second(b"x"), position))


def test_another_prologue_is_another_protocol() -> None:
    initiator, _ = pair()
    key = PrivateKey.generate(SeededEntropy(3))
    responder = Responder(key, b"another prologue", SeededEntropy(4))
    message = Initiator(key, key.public_raw, PROLOGUE, SeededEntropy(5)).write_first()
    with pytest.raises(RemoteProtocolError):
        responder.read_first(message)
    assert initiator.hash != responder.hash


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_a_low_order_ephemeral_key_is_refused_by_both_sides(point: bytes) -> None:
    initiator, responder = pair()
    first = initiator.write_first()
    with pytest.raises(RemoteProtocolError, match="low-order"):
        responder.read_first(point + first[32:])
    with pytest.raises(RemoteProtocolError, match="low-order"):
        initiator.read_second(point + bytes(16))


@pytest.mark.parametrize("size", [0, 1, 31, 47, 95, 65536])
def test_a_message_of_an_impossible_length_is_refused(size: int) -> None:
    initiator, responder = pair()
    with pytest.raises(RemoteProtocolError):
        responder.read_first(bytes(size))
    initiator.write_first()
    with pytest.raises(RemoteProtocolError):
        initiator.read_second(bytes(size))


def test_message_2_before_message_1_is_our_own_mistake() -> None:
    _, responder = pair()
    with pytest.raises(LocalProtocolError):
        responder.write_second()


def test_a_record_opens_once_and_only_in_order() -> None:
    sending, receiving = CipherState(bytes(32)), CipherState(bytes(32))
    first, second = sending.encrypt(b"one"), sending.encrypt(b"two")
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt(second)
    assert receiving.decrypt(first) == b"one"
    with pytest.raises(RemoteProtocolError):
        receiving.decrypt(first)
    assert receiving.decrypt(second) == b"two"


def flip(message: bytes, position: int) -> bytes:
    return message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]
