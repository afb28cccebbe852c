"""The NAT-PMP engine: its bytes (RFC 6886), its tries, and what it believes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.portmap.asking import SILENT
from ghostwire.node.portmap.granted import Granted, Wanted
from ghostwire.node.portmap.nat_pmp import NatPmp, announced
from ghostwire.testing import ManualClock

GATEWAY = ("192.168.1.1", 5351)
WANTED = Wanted(41641, 41641)
ADDRESS = bytes.fromhex("00 80 0000 00000064 cb007107")
MAPPED = bytes.fromhex("00 81 0000 00000065 a2a9 a2aa 00000e10")


def asking(wanted: Wanted | None = WANTED) -> tuple[NatPmp, ManualClock]:
    clock = ManualClock()
    engine = NatPmp(GATEWAY[0], wanted, clock.now())
    engine.advance(clock.now())
    return engine, clock


def test_address_and_mapping_are_asked_for_at_once() -> None:
    engine, _ = asking()
    assert engine.sends() == [
        (GATEWAY, bytes.fromhex("00 00")),
        (GATEWAY, bytes.fromhex("00 01 0000 a2a9 a2a9 00001c20")),
    ]
    assert engine.sends() == []


def test_both_answers_make_the_mapping_in_either_order() -> None:
    for answers in ([ADDRESS, MAPPED], [MAPPED, ADDRESS]):
        engine, clock = asking()
        engine.receive(GATEWAY, answers[0], clock.now())
        assert (engine.granted, engine.done) == (None, False)
        engine.receive(GATEWAY, answers[1], clock.now())
        assert engine.granted == Granted("203.0.113.7", 41642, 3600 * SECOND, engine.epoch)
        assert (engine.done, engine.heard, engine.deadline()) == (True, True, None)


def test_what_is_not_answered_is_asked_three_times_and_then_given_up() -> None:
    engine, clock = asking()
    engine.receive(GATEWAY, ADDRESS, clock.now())
    sent = [len(engine.sends())]
    while (deadline := engine.deadline()) is not None:
        clock.advance(deadline - clock.now())
        engine.advance(clock.now())
        sent.append(len(engine.sends()))
    assert sent == [2, 1, 1, 0]
    assert clock.now() == ManualClock().now() + 750 * MILLISECOND
    assert (engine.trouble, engine.granted, engine.done) == (SILENT, None, True)


def test_advancing_too_early_sends_nothing() -> None:
    engine, clock = asking()
    engine.sends()
    clock.advance(249 * MILLISECOND)
    engine.advance(clock.now())
    assert engine.sends() == []


def test_giving_back_asks_for_no_time_and_no_port_and_no_address() -> None:
    engine, clock = asking(Wanted(41641, 41642, 0))
    assert engine.sends() == [(GATEWAY, bytes.fromhex("00 01 0000 a2a9 0000 00000000"))]
    engine.receive(GATEWAY, bytes.fromhex("00 81 0000 00000065 a2a9 0000 00000000"), clock.now())
    assert (engine.done, engine.granted, engine.trouble) == (True, None, "")


def test_probing_asks_for_the_address_alone() -> None:
    engine, clock = asking(None)
    assert engine.sends() == [(GATEWAY, b"\0\0")]
    engine.receive(GATEWAY, ADDRESS, clock.now())
    assert (engine.done, engine.address, engine.epoch) == (True, "203.0.113.7", 100)


@pytest.mark.parametrize(
    "source", [("192.168.1.2", 5351), ("192.168.1.1", 5350), ("192.168.1.1", 53), ("203.0.113.7", 5351)]
)
def test_answers_from_elsewhere_are_ignored(source) -> None:
    engine, clock = asking()
    engine.receive(source, ADDRESS, clock.now())
    engine.receive(source, MAPPED, clock.now())
    assert (engine.ignored, engine.heard, engine.done) == (2, False, False)


@pytest.mark.parametrize(
    ("answer", "trouble", "heard"),
    [
        ("00 81 0001 00000065", "unsupported version", False),
        ("00 80 0002 00000065 00000000", "not authorized", True),
        ("00 80 0003 00000065", "the router has no outside address", True),
        ("00 81 0004 00000065 a2a9 0000 00000000", "no more mappings", True),
        ("00 81 0005 00000065", "unsupported opcode", True),
        ("00 81 00ff 00000065", "result 255", True),
        ("02 81 0001 00000000 00000000", "unsupported version", False),
    ],
)
def test_refusals_end_it_and_say_why(answer, trouble, heard) -> None:
    engine, clock = asking()
    engine.receive(GATEWAY, bytes.fromhex(answer), clock.now())
    assert (engine.trouble, engine.heard, engine.done, engine.granted) == (trouble, heard, True, None)


@pytest.mark.parametrize(
    "answer",
    [
        "00 81 0000 00000065 a2aa a2aa 00000e10",  # another inside port
        "00 82 0000 00000065 a2a9 a2a9 00000e10",  # TCP
        "00 01 0000 00000065 a2a9 a2a9 00000e10",  # a request
        "00 81 0000 00000065 a2a9 a2a9",
        "00 80 0000 00000065 cb0071",
        "00 80",
        "",
    ],
)
def test_what_answers_something_else_or_is_cut_is_ignored(answer) -> None:
    engine, clock = asking()
    engine.receive(GATEWAY, bytes.fromhex(answer), clock.now())
    assert (engine.ignored, engine.heard, engine.done) == (1, False, False)


@pytest.mark.parametrize("tail", ["0000 00000e10", "a2a9 00000000"])
def test_a_mapping_without_a_port_or_time_is_none(tail) -> None:
    engine, clock = asking()
    engine.receive(GATEWAY, ADDRESS, clock.now())
    engine.receive(GATEWAY, bytes.fromhex("00 81 0000 00000065 a2a9" + tail), clock.now())
    assert (engine.done, engine.granted) == (True, None)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_break_the_engine(datagrams) -> None:
    engine, clock = asking()
    for data in datagrams:
        for prefix in (b"", b"\x00\x80\x00\x00", b"\x00\x81\x00\x00"):
            engine.receive(GATEWAY, prefix + data, clock.now())
    assert engine.granted is None or 0 < engine.granted.port < 65536
    assert engine.done == (engine.deadline() is None)


@given(st.binary(max_size=40))
def test_announcements_are_address_answers_and_nothing_else(data) -> None:
    assert announced(ADDRESS) == (100, "203.0.113.7")
    told = announced(data)
    assert told is None or data[:4] == b"\x00\x80\x00\x00"
