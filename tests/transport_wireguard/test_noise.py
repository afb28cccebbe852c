"""The handshake's messages and keys against an independent Noise implementation, in both roles."""

from __future__ import annotations

import struct

import pytest
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.keypair import KeyPair
from dissononce.dh.x25519.private import PrivateKey as PeerPrivateKey
from dissononce.dh.x25519.public import PublicKey as PeerPublicKey
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import PrivateKey
from ghostwire_transport_wireguard import noise

PRESHARED = bytes(range(32))
TIMESTAMP = bytes(range(12))
INITIATOR, RESPONDER, EPHEMERAL = PrivateKey(b"i" * 32), PrivateKey(b"r" * 32), PrivateKey(b"e" * 32)


class FixedDH(X25519DH):
    """X25519 whose every ephemeral key is the same, so that messages can be compared byte for byte."""

    def generate_keypair(self, privatekey: PeerPrivateKey | None = None) -> KeyPair:
        return super().generate_keypair(privatekey or PeerPrivateKey(EPHEMERAL.raw))


def independent(own: PrivateKey, remote: PrivateKey | None) -> HandshakeState:
    """The other implementation, as initiator towards ``remote``, or as responder."""
    state = HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), Blake2sHash()), FixedDH())
    state.initialize(
        PSKPatternModifier(2).modify(IKHandshakePattern()),
        remote is not None,
        noise.IDENTIFIER,
        s=FixedDH().generate_keypair(PeerPrivateKey(own.raw)),
        rs=None if remote is None else PeerPublicKey(remote.public_raw),
        psks=[PRESHARED],
    )
    assert state.protocol_name == noise.CONSTRUCTION.decode()
    return state


def initiate() -> tuple[bytes, noise.Pending]:
    shared = INITIATOR.exchange(RESPONDER.public_raw)
    return noise.initiate(INITIATOR, EPHEMERAL, RESPONDER.public_raw, shared, 7, TIMESTAMP)


def test_an_initiation_is_what_another_implementation_writes() -> None:
    theirs = bytearray()
    independent(INITIATOR, RESPONDER).write_message(TIMESTAMP, theirs)
    ours, _ = initiate()
    assert ours == struct.pack("<II", 1, 7) + theirs
    assert len(ours) + noise.MACS_BYTES == noise.INITIATION_BYTES == 148


def test_as_initiator_both_agree_on_the_keys() -> None:
    body, pending = initiate()
    peer, timestamp, answer = independent(RESPONDER, None), bytearray(), bytearray()
    peer.read_message(body[8:], timestamp)
    first, second = peer.write_message(b"", answer)
    assert timestamp == TIMESTAMP
    remote, keys = pending.finish(struct.pack("<III", 2, 9, 7) + answer, PRESHARED)
    assert remote == 9
    assert (keys.send, keys.receive) == (first._key, second._key)


def test_as_responder_both_agree_on_the_keys() -> None:
    peer, body = independent(INITIATOR, RESPONDER), bytearray()
    peer.write_message(TIMESTAMP, body)
    request = noise.read_initiation(RESPONDER, struct.pack("<II", 1, 7) + body)
    assert (request.sender, request.initiator) == (7, INITIATOR.public_raw)
    assert request.timestamp(RESPONDER.exchange(INITIATOR.public_raw)) == TIMESTAMP
    answer, keys = request.respond(EPHEMERAL, 9, PRESHARED)
    assert answer[:12] == struct.pack("<III", 2, 9, 7)
    assert len(answer) + noise.MACS_BYTES == noise.RESPONSE_BYTES == 92
    first, second = peer.read_message(answer[12:], bytearray())
    assert (keys.receive, keys.send) == (first._key, second._key)


def test_another_preshared_key_makes_the_response_worthless() -> None:
    body, pending = initiate()
    request = noise.read_initiation(RESPONDER, body)
    request.timestamp(RESPONDER.exchange(INITIATOR.public_raw))
    answer, _ = request.respond(EPHEMERAL, 9, PRESHARED)
    with pytest.raises(RemoteProtocolError):
        pending.finish(answer, noise.NO_PRESHARED_KEY)
    remote, _ = pending.finish(answer, PRESHARED)
    assert remote == 9, "a forged response leaves the handshake as it was"


@pytest.mark.parametrize("position", range(8, 116, 9))
def test_no_byte_of_an_initiation_may_change(position: int) -> None:
    body = bytearray(initiate()[0])
    body[position] ^= 0x40
    with pytest.raises(RemoteProtocolError):
        noise.read_initiation(RESPONDER, bytes(body)).timestamp(RESPONDER.exchange(INITIATOR.public_raw))


def test_an_initiation_for_another_node_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        noise.read_initiation(EPHEMERAL, initiate()[0])


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_a_key_of_low_order_is_refused(point: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="low order"):
        noise.exchange(INITIATOR, point)
    message = noise.INITIATION_BODY.pack(1, 7, point, bytes(48), bytes(28))
    with pytest.raises(RemoteProtocolError, match="low order"):
        noise.read_initiation(RESPONDER, message)
    with pytest.raises(RemoteProtocolError, match="low order"):
        initiate()[1].finish(noise.RESPONSE_BODY.pack(2, 9, 7, point, bytes(16)), PRESHARED)
