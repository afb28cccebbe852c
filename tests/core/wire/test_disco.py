"""Disco's messages, byte for byte as their table says, in boxes of the NaCl library."""

import os
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import Box as NaClBox
from nacl.public import PrivateKey as NaClPrivateKey
from nacl.public import PublicKey as NaClPublicKey

from ghostwire.capabilities.transport import SEALED_MTU
from ghostwire.errors import RemoteProtocolError
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.wire.box import Box
from ghostwire.wire.disco import (
    MAX_CALLED,
    MAX_DATAGRAM,
    PING_BYTES,
    PONG_BYTES,
    CallMeMaybe,
    Ping,
    Pong,
    decode,
    encode,
    seal,
    sender,
    unseal,
)

ALICE, BOB = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))
NODE = NodeKey(bytes(range(100, 132)))
TRANSACTION = bytes.fromhex("0102030405060708090a0b0c")
NONCE = bytes(range(200, 224))
IPV4, IPV6 = "203.0.113.7:41641", "[2001:db8::7]:3478"
PACKED_IPV4 = bytes.fromhex("00000000000000000000ffffcb007107a2a9")
PACKED_IPV6 = bytes.fromhex("20010db80000000000000000000000070d96")

MESSAGES = {
    "ping": (Ping(TRANSACTION, NODE), "0100" + TRANSACTION.hex() + NODE.raw.hex()),
    "old ping": (Ping(TRANSACTION), "0100" + TRANSACTION.hex()),
    "padded ping": (Ping(TRANSACTION, NODE, 5), "0100" + TRANSACTION.hex() + NODE.raw.hex() + "00" * 5),
    "pong to IPv4": (Pong(TRANSACTION, IPV4), "0200" + TRANSACTION.hex() + PACKED_IPV4.hex()),
    "pong to IPv6": (Pong(TRANSACTION, IPV6), "0200" + TRANSACTION.hex() + PACKED_IPV6.hex()),
    "pong to nowhere": (Pong(TRANSACTION, ""), "0200" + TRANSACTION.hex() + "00" * 18),
    "call-me-maybe": (CallMeMaybe((IPV4, IPV6)), "0300" + PACKED_IPV4.hex() + PACKED_IPV6.hex()),
}
STOCK = {
    "ping": (
        "3703bc1c27318ec04513016d7690f764f90243bdbd48996c0e0e6760e00836999cfc6ad4193ff61590e5c8c1a2c0f377"
        "ec609873e0675dec2aa311e6117a733783e8f6e4058fd6593b5fc32b247344ca89103665d03b"
    ),
    "old ping": (
        "b54bb82b2050704f617a8bcfd2002830694f7ee6a17dae0ef2c94c492bbe8fc42386f7dbf05c0c1993e160a9c9fd8355f47b0d585095"
    ),
    "padded ping": (
        "c75b1b38e2ab22eddee262afd073745f77393a64baedd85c73950afff7f686b37c6053ef492dfbabdc6800a8ce8301b8"
        "9d293018c323430ad693315371ec57e9d705ae95aec1120bcfc55ca658b82682ea43dd2894d30135ee9cc1"
    ),
    "pong to IPv4": (
        "f683c14033d1214b1c08ed67dd2ae5ca395e58eebfe44ef2e48639eeb737d2bf4bcd23a2404d87013e9340c45709d4a2"
        "ae7a33dc87d3ae405bc8018c6a9e748af4722f8a3d7fb50d"
    ),
    "pong to IPv6": (
        "12bda4addacaa92810bba211ebe401d93451d21fcc6367fa6ff6f5c3bcf25f105e05ce89a05cf614b4e70e4e59746746"
        "fbb56e325eb610e3a83b3c45959c8338ec4aab1af9e57cf5"
    ),
    "call-me-maybe": (
        "bb18ae63e9bd510f31159091eff24b782c3549fa5e510e5b876ec7f9216d4c114e121b5d843e1addcce9fa2a50045e9f"
        "b662e0d65f76920243e5738ff26c3e0a46125b4f0b8e1467e825893b7e98"
    ),
}
"""Nonce and box of each message from Alice to Bob, written by Tailscale 1.102's own code (package disco)."""
each_message = pytest.mark.parametrize(("message", "written"), MESSAGES.values(), ids=MESSAGES)

ports = st.integers(1, 65_535)
ipv4_endpoints = st.builds("{}:{}".format, st.ip_addresses(v=4), ports)
ipv6_endpoints = st.builds("[{}]:{}".format, st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None), ports)
endpoints = ipv4_endpoints | ipv6_endpoints
transactions = st.binary(min_size=12, max_size=12)
node_keys = st.binary(min_size=32, max_size=32).filter(any).map(NodeKey)
messages = (
    st.builds(Ping, transactions, st.none() | node_keys, st.integers(0, 1500))
    | st.builds(Pong, transactions, st.just("") | endpoints)
    | st.lists(endpoints, min_size=1, max_size=MAX_CALLED).map(tuple).map(CallMeMaybe)
)


def boxed(plain: bytes) -> bytes:
    """A datagram from Alice to Bob, made by the NaCl library alone."""
    box = NaClBox(NaClPrivateKey(ALICE.raw), NaClPublicKey(BOB.public_raw))
    return b"TS\xf0\x9f\x92\xac" + ALICE.public_raw + bytes(box.encrypt(plain, NONCE))


def bobs_box() -> Box:
    return Box(BOB, ALICE.public_raw)


@each_message
def test_messages_are_written_and_read_as_the_table_says(message, written) -> None:
    assert encode(message) == bytes.fromhex(written)
    assert decode(bytes.fromhex(written)) == message


@each_message
def test_a_sealed_message_is_magic_key_nonce_and_the_nacl_librarys_box(message, written) -> None:
    datagram = seal(message, ALICE.public(DiscoKey), Box(ALICE, BOB.public_raw), lambda size: NONCE[:size])
    assert datagram == boxed(bytes.fromhex(written))
    assert sender(datagram) == ALICE.public(DiscoKey)
    assert unseal(datagram, bobs_box()) == message


@pytest.mark.parametrize("name", STOCK)
def test_what_tailscales_own_code_sealed_is_opened_and_sealed_alike(name) -> None:
    datagram = b"TS\xf0\x9f\x92\xac" + ALICE.public_raw + bytes.fromhex(STOCK[name])
    message, nonce = MESSAGES[name][0], datagram[38:62]
    assert sender(datagram) == ALICE.public(DiscoKey)
    assert unseal(datagram, bobs_box()) == message
    assert seal(message, ALICE.public(DiscoKey), Box(ALICE, BOB.public_raw), lambda size: nonce[:size]) == datagram


@given(message=messages, as_buffer=st.sampled_from([bytes, bytearray, memoryview]))
def test_what_one_seals_the_other_opens(message, as_buffer) -> None:
    datagram = as_buffer(seal(message, ALICE.public(DiscoKey), Box(ALICE, BOB.public_raw), os.urandom))
    assert sender(datagram) == ALICE.public(DiscoKey)
    assert unseal(datagram, bobs_box()) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none_or_malformed(plain) -> None:
    try:
        message = decode(plain)
    except RemoteProtocolError:
        return
    if message is None:
        assert plain[0] not in (1, 2, 3) or plain[1] != 0
    elif message != CallMeMaybe(()):
        assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_datagram_is_ones_or_nobodys(datagram) -> None:
    assert sender(datagram) is None
    key = sender(b"TS\xf0\x9f\x92\xac" + datagram)
    assert key == (DiscoKey(datagram[:32]) if len(datagram) >= 32 + 24 + 16 else None)


@given(at=st.integers(0, PING_BYTES - 1), bit=st.integers(0, 7))
def test_a_datagram_that_was_touched_is_not_its_senders(at, bit) -> None:
    datagram = bytearray(boxed(encode(Ping(TRANSACTION, NODE))))
    datagram[at] ^= 1 << bit
    if at < 6:
        assert sender(datagram) is None
    elif at < 38:
        assert sender(datagram) not in (None, ALICE.public(DiscoKey))
    else:
        with pytest.raises(RemoteProtocolError):
            unseal(datagram, bobs_box())


def test_datagrams_have_the_lengths_that_bounds_are_made_of() -> None:
    assert len(boxed(encode(Ping(TRANSACTION, NODE)))) == PING_BYTES == 124
    assert len(boxed(encode(Pong(TRANSACTION, IPV4)))) == PONG_BYTES == 110
    assert len(boxed(encode(Ping(TRANSACTION, NODE, SEALED_MTU - PING_BYTES)))) == SEALED_MTU
    assert sender(boxed(bytes(MAX_DATAGRAM - 78))) is not None
    assert sender(boxed(bytes(MAX_DATAGRAM - 77))) is None


@pytest.mark.parametrize("written", ["0400", "0900" + "00" * 90, "ff00", "0000", "03ff", "0301" + "00" * 18])
def test_unknown_types_and_versions_of_calls_are_passed_over(written) -> None:
    assert decode(bytes.fromhex(written)) is None


@pytest.mark.parametrize("message", [Ping(TRANSACTION, NODE), Pong(TRANSACTION, IPV4)])
def test_a_ping_or_pong_of_a_later_version_is_read_as_one_of_this(message) -> None:
    written = bytearray(encode(message))
    written[1] = 7
    assert decode(bytes(written)) == message


@pytest.mark.parametrize(
    "written",
    ["", "01", "0100", "0100" + "00" * 11, "0200" + "00" * 29, "0200", "0300", "0300" + "00" * 17, "0300" + "00" * 37],
)
def test_messages_that_are_too_short_or_no_whole_endpoints_are_malformed(written) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(bytes.fromhex(written))


def test_what_follows_a_pong_is_passed_over() -> None:
    assert decode(encode(Pong(TRANSACTION, IPV6)) + b"of the future") == Pong(TRANSACTION, IPV6)


def test_a_node_key_of_zeros_is_padding() -> None:
    assert decode(encode(Ping(TRANSACTION)) + bytes(40)) == Ping(TRANSACTION, None, 40)


def test_half_a_node_key_is_none() -> None:
    assert decode(encode(Ping(TRANSACTION)) + b"x" * 31) == Ping(TRANSACTION, None, 31)


def test_of_many_endpoints_the_first_32_are_kept() -> None:
    many = [f"192.0.2.1:{port}" for port in range(1, 100)]
    packed = b"".join(bytes(10) + b"\xff\xff\xc0\x00\x02\x01" + struct.pack(">H", port) for port in range(1, 100))
    assert decode(b"\x03\x00" + packed) == CallMeMaybe(tuple(many[:32]))


def test_endpoints_without_a_port_are_left_out() -> None:
    assert decode(b"\x03\x00" + PACKED_IPV4[:-2] + b"\0\0" + PACKED_IPV6) == CallMeMaybe((IPV6,))


@given(address=st.ip_addresses(v=4), port=ports)
def test_an_ipv4_address_travels_mapped_into_ipv6_and_comes_back_as_itself(address: IPv4Address, port: int) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    written = encode(CallMeMaybe((f"{address}:{port}",)))
    assert written == b"\x03\x00" + mapped.packed + struct.pack(">H", port)
    assert decode(encode(CallMeMaybe((f"[{mapped}]:{port}",)))) == CallMeMaybe((f"{address}:{port}",))


@pytest.mark.parametrize("endpoint", ["host.example:1", "192.0.2.1", "192.0.2.1:0", "[fe80::1%eth0]:5", "1/nodekey:ff"])
def test_what_is_no_endpoint_cannot_be_written(endpoint) -> None:
    with pytest.raises(ValueError, match=r"not an endpoint|no such port"):
        encode(CallMeMaybe((endpoint,)))
