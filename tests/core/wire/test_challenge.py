"""Challenges: both sides agree, and no proof is good for another server, certificate, key or challenge."""

from __future__ import annotations

import os

import pytest

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import ControlKey, MachineKey, NodeKey, PrivateKey
from ghostwire.wire.challenge import BINDING_BYTES, UNBOUND, Answer, Challenge

CONTROL, CLIENT, MACHINE, NODE = (PrivateKey.generate(os.urandom) for _ in range(4))
BINDING = bytes(range(BINDING_BYTES))


def challenge(control: PrivateKey = CONTROL, binding: bytes = BINDING) -> Challenge:
    return Challenge(control, PrivateKey.generate(os.urandom), CLIENT.public_raw, binding)


def answer(to: Challenge, binding: bytes = BINDING) -> Answer:
    return Answer(CONTROL.public(ControlKey), CLIENT, to.public, to.proof, binding)


def test_both_sides_prove_who_they_are() -> None:
    given = challenge()
    proofs = answer(given)
    assert given.verify(MACHINE.public(MachineKey), proofs.prove(MACHINE, MachineKey))
    assert given.verify(NODE.public(NodeKey), proofs.prove(NODE, NodeKey))


def test_a_server_with_another_key_or_another_certificate_is_known_before_anything_is_said() -> None:
    other = PrivateKey.generate(os.urandom)
    for wrong in (challenge(other), challenge(binding=UNBOUND), challenge(binding=BINDING[::-1])):
        with pytest.raises(RemoteProtocolError, match="not the server"):
            answer(wrong)


def test_a_proof_is_good_for_one_key_of_one_kind_in_one_challenge() -> None:
    given, other = challenge(), challenge()
    proof = answer(given).prove(MACHINE, MachineKey)
    assert not other.verify(MACHINE.public(MachineKey), proof)
    assert not given.verify(NODE.public(MachineKey), proof)
    assert not given.verify(MACHINE.public(NodeKey), proof)
    assert not given.verify(MACHINE.public(MachineKey), proof[:-1])
    assert not given.verify(MachineKey(bytes(32)), proof)


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(32), bytes(33)], ids=["empty", "short", "low order", "long"])
def test_a_client_key_that_is_nobodys_is_refused(wrong: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a usable"):
        Challenge(CONTROL, CLIENT, wrong, BINDING)
