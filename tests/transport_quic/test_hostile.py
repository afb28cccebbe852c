"""Strangers, junk and floods cost little and break nothing."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire_transport_quic.guests import STRANGERS
from ghostwire_transport_quic.header import parse_header
from ghostwire_transport_quic.library import load_library
from ghostwire_transport_quic.remote import Remote, parse_remote

LIBRARIES = ["aioquic", "qh3"]
QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def initial(size: int = 1200, version: int = 1) -> bytes:
    ids = b"\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    head = b"\xc3" + version.to_bytes(4, "big") + ids + b"\x00" + (0x4000 | (size - 26)).to_bytes(2, "big")
    return head + os.urandom(size - len(head))


@given(st.binary(max_size=100))
def test_no_header_raises(datagram):
    parse_header(datagram)


@pytest.mark.parametrize("library", LIBRARIES)
@QUIET
@given(junk=st.binary(max_size=1300), prefix=st.sampled_from([b"", b"\xc0\0\0\0\x01\x08", b"\xc3\0\0\0\0", b"\x40"]))
def test_junk_is_counted_and_never_raises(wire, make, library, junk, prefix):
    end = make(0, library)
    end.engine.receive([prefix + junk], ("198.51.100.1", 9), wire.now)
    end.engine.flush(wire.now)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_changed_byte_anywhere_ends_no_connection(wire, make, library):
    one, other = make(0, library), make(1, library)
    one.engine.send(other.remote, [b"open"], wire.now)
    wire.run()
    for datagram, source, target in list(wire.sent):
        for at in range(0, len(datagram), 37):
            changed = datagram[:at] + bytes([datagram[at] ^ 0x41]) + datagram[at + 1 :]
            (other if target == other.address else one).engine.receive([changed], source, wire.now)
    wire.run()
    one.engine.send(other.remote, [b"after"], wire.now)
    wire.run()
    assert b"after" in other.got


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_flood_of_strangers_is_bounded_and_gets_back_less_than_it_sends(wire, make, library):
    end, sent = make(0, library), 0
    for number in range(600):
        end.engine.receive([initial()], (f"198.51.{number >> 8}.{number & 255}", 9), wire.now)
        sent += 1200
    end.engine.flush(wire.now)
    assert end.engine.connections <= STRANGERS
    assert sum(len(datagram) for datagram, _ in end.engine.take_sends()) < sent
    assert end.counters.retried > 0
    wire.skip(10)
    assert end.engine.connections == 0


def test_a_stranger_who_is_asked_to_come_again_gets_in(wire, make):
    one, other = make(0, "aioquic"), make(1, "aioquic")
    for number in range(40):
        other.engine.receive([initial()], (f"198.51.100.{number}", 9), wire.now)
    one.engine.send(other.remote, [b"me too"], wire.now)
    wire.run(2)
    assert other.counters.retried >= 1
    assert other.got == [b"me too"]


def test_an_unknown_version_is_answered_shortly_and_version_negotiation_never(wire, make):
    end = make(0, "aioquic")
    end.engine.receive([initial(version=0x1A2A3A4A)], ("198.51.100.1", 9), wire.now)
    end.engine.receive([initial(version=0)], ("198.51.100.1", 9), wire.now)
    end.engine.receive([initial(300, version=0x1A2A3A4A)], ("198.51.100.1", 9), wire.now)
    [(answer, _)] = end.engine.take_sends()
    assert len(answer) < 64
    assert end.engine.connections == 0


@pytest.mark.parametrize("hello", [b"short", bytes(33), bytes(600)], ids=["short", "long", "very-long"])
def test_who_says_something_else_than_a_hello_is_refused(wire, make, hello):
    one, other = make(0, "aioquic"), make(1, "aioquic")
    one.engine._pin = hello
    one.engine.send(other.remote, [b"data"], wire.now)
    wire.run()
    assert other.got == []
    assert other.counters.refused_hello >= 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_private_attributes_that_the_adapters_read_are_there(identities, library):
    connection = load_library(library, identities[0]).dial(None, lambda ticket: None)
    assert connection.closing is False
    connection.connect(("192.0.2.1", 1), 1.0)
    assert connection.room() > 0
    assert connection.pin() is None
    assert connection.timer() is not None
    connection.close()
    assert connection.closing is True
    if library == "aioquic":
        assert hasattr(connection._inner, "_local_active_connection_id_limit")


@given(st.text(max_size=120))
def test_an_endpoint_is_understood_or_refused(text):
    with contextlib.suppress(ValueError):
        assert isinstance(parse_remote(text), Remote)
