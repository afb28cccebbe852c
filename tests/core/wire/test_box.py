"""NaCl boxes as DERP and disco write them."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import Box as NaClBox
from nacl.public import PrivateKey as NaClPrivateKey
from nacl.public import PublicKey as NaClPublicKey

from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import PrivateKey
from ghostwire.wire.box import OVERHEAD, Box

ALICE, BOB = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))


@given(plain=st.binary(max_size=200))
def test_what_one_seals_the_other_opens(plain: bytes) -> None:
    sealed = Box(ALICE, BOB.public_raw).seal(plain, os.urandom)
    assert len(sealed) == len(plain) + OVERHEAD
    assert Box(BOB, ALICE.public_raw).open(sealed) == plain


def test_it_is_the_box_of_the_nacl_library() -> None:
    theirs = NaClBox(NaClPrivateKey(BOB.raw), NaClPublicKey(ALICE.public_raw))
    assert theirs.decrypt(Box(ALICE, BOB.public_raw).seal(b"hello", os.urandom)) == b"hello"
    assert Box(ALICE, BOB.public_raw).open(bytes(theirs.encrypt(b"hello"))) == b"hello"


def test_the_nonce_comes_first_and_from_the_given_entropy() -> None:
    assert Box(ALICE, BOB.public_raw).seal(b"", lambda size: b"\x07" * size)[:24] == b"\x07" * 24


@given(at=st.integers(0, OVERHEAD + 4), bit=st.integers(0, 7))
def test_a_box_that_was_touched_does_not_open(at: int, bit: int) -> None:
    sealed = bytearray(Box(ALICE, BOB.public_raw).seal(b"hello", os.urandom))
    sealed[at] ^= 1 << bit
    with pytest.raises(RemoteProtocolError):
        Box(BOB, ALICE.public_raw).open(bytes(sealed))


@pytest.mark.parametrize("size", [0, 23, OVERHEAD - 1])
def test_a_box_that_is_too_short_does_not_open(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Box(BOB, ALICE.public_raw).open(bytes(size))


def test_a_point_of_low_order_is_nobodys_key() -> None:
    with pytest.raises(RemoteProtocolError, match="nobody"):
        Box(ALICE, bytes(32))
