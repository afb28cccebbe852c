"""STUN: the vectors of RFC 5769, another implementation's messages, and whatever a stranger may send."""

from __future__ import annotations

import struct
import subprocess
import sys
from zlib import crc32

import aioice.stun
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ghostwire.wire import stun

TRANSACTION = bytes(range(12))
IPV4, IPV6 = ("192.0.2.1", 32853), ("2001:db8:1234:5678:11:2233:4455:6677", 32853)
ADDRESS_BYTES = {IPV4: 12, IPV6: 24}
SOURCES = st.sampled_from([IPV4, IPV6])

RFC5769_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RFC5769_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa"
    "a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def attribute(kind: int, value: bytes = b"") -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(
    *attributes: bytes,
    kind: int = stun.BINDING_REQUEST,
    length: int | None = None,
    cookie: int = stun.COOKIE,
    fingerprint: bool = False,
) -> bytes:
    body = b"".join(attributes)
    whole = len(body) + 8 * fingerprint if length is None else length
    made = struct.pack(">HHI12s", kind, whole, cookie, TRANSACTION) + body
    return made + attribute(stun.FINGERPRINT, struct.pack(">I", crc32(made) ^ 0x5354554E)) if fingerprint else made


def parsed(answer: bytes | None) -> aioice.stun.Message:
    assert answer is not None
    return aioice.stun.parse_message(answer)


@pytest.mark.parametrize(("vector", "source"), [(RFC5769_IPV4, IPV4), (RFC5769_IPV6, IPV6)])
def test_the_responses_of_rfc_5769_are_read(vector, source):
    assert stun.mapped_address(vector) == (vector[8:20], *source)
    assert stun.mapped_address(memoryview(bytearray(vector))) == (vector[8:20], *source)


@pytest.mark.parametrize("source", [IPV4, IPV6])
def test_a_request_and_its_answer_go_both_ways(source):
    answer = stun.answer(stun.binding_request(TRANSACTION), source)
    assert answer is not None
    assert stun.mapped_address(answer) == (TRANSACTION, *source)


def test_our_request_is_what_stock_relays_answer():
    request = stun.binding_request(TRANSACTION)
    assert next(iter(parsed(request).attributes.items())) == ("SOFTWARE", "tailnode")
    assert list(parsed(request).attributes)[-1] == "FINGERPRINT"
    assert len(request) == 40


@pytest.mark.parametrize("source", [IPV4, IPV6])
@pytest.mark.parametrize("fingerprint", [False, True])
def test_another_implementation_asks_and_understands(source, fingerprint):
    request = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
    if fingerprint:
        request.add_fingerprint()
    answer = parsed(stun.answer(bytes(request), source))
    assert answer.message_class == aioice.stun.Class.RESPONSE
    assert answer.transaction_id == request.transaction_id
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == source
    assert ("FINGERPRINT" in answer.attributes) == fingerprint


@pytest.mark.parametrize("name", ["XOR-MAPPED-ADDRESS", "MAPPED-ADDRESS"])
@pytest.mark.parametrize("source", [IPV4, IPV6])
def test_another_implementations_answer_is_read(name, source):
    response = aioice.stun.Message(
        aioice.stun.Method.BINDING, aioice.stun.Class.RESPONSE, TRANSACTION, {"SOURCE-ADDRESS": IPV4, name: source}
    )
    assert stun.mapped_address(bytes(response)) == (TRANSACTION, *source)


def test_an_address_that_no_router_on_the_way_could_rewrite_is_believed_first():
    response = aioice.stun.Message(
        aioice.stun.Method.BINDING,
        aioice.stun.Class.RESPONSE,
        TRANSACTION,
        {"MAPPED-ADDRESS": ("198.51.100.9", 9), "XOR-MAPPED-ADDRESS": IPV4},
    )
    assert stun.mapped_address(bytes(response)) == (TRANSACTION, *IPV4)


def test_a_mapped_ipv4_source_is_told_its_ipv4_address():
    answer = stun.answer(message(), ("::ffff:192.0.2.1", 7))
    assert stun.mapped_address(answer or b"") == (TRANSACTION, "192.0.2.1", 7)


def test_a_link_local_source_is_told_its_address_without_the_interface():
    answer = stun.answer(message(), ("fe80::1%eth0", 7))
    assert stun.mapped_address(answer or b"") == (TRANSACTION, "fe80::1", 7)


def test_unknown_attributes_that_may_be_ignored_are():
    request = message(attribute(0x8123, b"abc"), attribute(0xC001), attribute(0x0006, b"user"), fingerprint=True)
    assert parsed(stun.answer(request, IPV4)).attributes["XOR-MAPPED-ADDRESS"] == IPV4


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("fingerprint", [False, True])
def test_unknown_attributes_that_must_be_understood_are_named_in_a_420(count, fingerprint):
    kinds = range(0x0100, 0x0100 + count)
    request = message(*map(attribute, kinds), attribute(0x8123), fingerprint=fingerprint)
    answer = stun.answer(request, IPV4)
    error = parsed(answer)
    assert error.message_class == aioice.stun.Class.ERROR
    assert error.attributes["ERROR-CODE"] == (420, "")
    assert ("FINGERPRINT" in error.attributes) == fingerprint
    assert attribute(stun.UNKNOWN_ATTRIBUTES, struct.pack(f">{count}H", *kinds)) in (answer or b"")


UNSOUND = {
    "nothing": b"",
    "a header cut short": message()[:19],
    "no cookie": message(cookie=0x2112A443),
    "an indication": message(kind=0x0011),
    "a response": message(kind=stun.BINDING_RESPONSE),
    "an error": message(kind=stun.BINDING_ERROR),
    "another method": message(kind=0x0003),
    "the two high bits": message(kind=0x8001),
    "a length too small": message(attribute(0x8022, b"x"), length=4),
    "a length too large": message(length=4),
    "a length off the raster": message(b"\x80", length=1),
    "bytes after the end": message() + bytes(4),
    "an attribute cut short": message(struct.pack(">HH", 0x8022, 4)),
    "an attribute that overruns": message(struct.pack(">HH", 0x8022, 65535)),
    "a wrong fingerprint": message(attribute(stun.FINGERPRINT, bytes(4))),
    "a fingerprint of the wrong size": message(attribute(stun.FINGERPRINT, bytes(8))),
    "an attribute after the fingerprint": message(fingerprint=True, length=12) + attribute(0x8123),
    "more than a link carries": message(attribute(0x8123, bytes(stun.MAX_MESSAGE))),
}


@pytest.mark.parametrize("datagram", UNSOUND.values(), ids=UNSOUND)
def test_there_is_no_answer_to(datagram):
    assert stun.answer(datagram, IPV4) is None


NO_ADDRESS = {
    "a request": stun.binding_request(TRANSACTION),
    "no address at all": message(kind=stun.BINDING_RESPONSE),
    "an empty address": message(attribute(stun.XOR_MAPPED_ADDRESS), kind=stun.BINDING_RESPONSE),
    "an address of no family": message(attribute(stun.XOR_MAPPED_ADDRESS, bytes(8)), kind=stun.BINDING_RESPONSE),
    "IPv4 of IPv6's size": message(attribute(stun.XOR_MAPPED_ADDRESS, b"\0\1" + bytes(18)), kind=stun.BINDING_RESPONSE),
    "an address too long": message(attribute(stun.XOR_MAPPED_ADDRESS, b"\0\2" + bytes(98)), kind=stun.BINDING_RESPONSE),
    "a flipped bit": RFC5769_IPV4[:47] + b"\x42" + RFC5769_IPV4[48:],
}


@pytest.mark.parametrize("datagram", NO_ADDRESS.values(), ids=NO_ADDRESS)
def test_there_is_no_address_in(datagram):
    assert stun.mapped_address(datagram) is None


kinds = st.one_of(st.integers(0, 0xFFFF), st.sampled_from([1, 3, 6, 0x20, 0x8022, stun.FINGERPRINT]))
attributes = st.lists(st.builds(attribute, kinds, st.binary(max_size=40)), max_size=40)
requests = st.builds(lambda parts, fingerprint: message(*parts, fingerprint=fingerprint), attributes, st.booleans())
damaged = st.builds(
    lambda whole, at, junk: whole[: at % len(whole)] + junk + whole[at % len(whole) + len(junk) :],
    requests,
    st.integers(0, 2000),
    st.binary(max_size=4),
)


@given(st.one_of(requests, damaged, st.binary(max_size=1400)), SOURCES)
@example(message(attribute(0x0100)), IPV4)
@example(message(attribute(0x0100), fingerprint=True), IPV4)
def test_no_answer_has_more_bytes_than_its_request_and_the_address(request, source):
    answer = stun.answer(request, source)
    assert answer is None or len(answer) <= len(request) + ADDRESS_BYTES[source]


@given(requests, SOURCES)
def test_every_answer_is_sound_in_the_eyes_of_another_implementation(request, source):
    answer = stun.answer(request, source)
    if answer is not None:
        assert parsed(answer).transaction_id == TRANSACTION


@given(st.one_of(requests, damaged, st.binary(max_size=1400)), SOURCES)
def test_nothing_that_arrives_raises(datagram, source):
    for form in (bytes, bytearray, memoryview):
        stun.answer(form(datagram), source)
        stun.mapped_address(form(datagram))


def respond(parts: list[bytes], fingerprint: bool) -> bytes:
    return message(*parts, kind=stun.BINDING_RESPONSE, fingerprint=fingerprint)


@given(st.builds(respond, attributes, st.booleans()))
def test_no_response_raises_and_an_address_found_is_an_address(response):
    found = stun.mapped_address(response)
    if found is not None:
        assert stun.answer(message(), found[1:]) is not None


@given(st.binary(min_size=12, max_size=12), st.ip_addresses(), st.integers(0, 65535))
def test_every_address_survives_the_way(transaction, address, port):
    answer = stun.answer(stun.binding_request(transaction), (str(address), port))
    mapped = getattr(address, "ipv4_mapped", None) or address
    assert stun.mapped_address(answer or b"") == (transaction, str(mapped), port)


def test_the_codec_needs_no_event_loop():
    script = "import ghostwire.wire.stun, sys; sys.exit(bool({'asyncio', 'aioice', 'socket'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
