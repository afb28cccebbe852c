"""The PCP engine: its bytes (RFC 6887), and what it believes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import SECOND
from ghostwire.node.portmap.granted import Granted, Wanted
from ghostwire.node.portmap.pcp import Pcp, announced
from ghostwire.testing import ManualClock

GATEWAY, LOCAL = ("192.168.1.1", 5351), "192.168.1.9"
WANTED = Wanted(41641, 41641)
NONCE = b"twelve bytes"
HEAD = "02 81 00 00 00000e10 00000065 000000000000000000000000"
BODY = NONCE.hex() + "11 000000 a2a9 a2aa 00000000000000000000ffffcb007107"


def asking(wanted: Wanted | None = WANTED) -> tuple[Pcp, ManualClock]:
    clock = ManualClock()
    engine = Pcp(GATEWAY[0], LOCAL, wanted, NONCE, clock.now())
    engine.advance(clock.now())
    return engine, clock


def answered(text: str, source: tuple[str, int] = GATEWAY) -> Pcp:
    engine, clock = asking()
    engine.receive(source, bytes.fromhex(text), clock.now())
    return engine


def test_a_mapping_is_asked_for_in_sixty_bytes() -> None:
    engine, _ = asking()
    ((target, data),) = engine.sends()
    assert target == GATEWAY
    assert data == bytes.fromhex(
        "02 01 0000 00001c20 00000000000000000000ffffc0a80109"
        + NONCE.hex()
        + "11 000000 a2a9 a2a9 00000000000000000000ffff00000000"
    )


def test_giving_back_asks_for_no_time_and_no_port() -> None:
    engine, clock = asking(Wanted(41641, 41642, 0))
    ((_, data),) = engine.sends()
    assert (data[4:8], data[40:44]) == (bytes(4), bytes.fromhex("a2a9 0000"))
    engine.receive(GATEWAY, bytes.fromhex(HEAD.replace("0e10", "0000") + BODY), clock.now())
    assert (engine.done, engine.trouble, engine.granted) == (True, "", None)


def test_probing_announces_and_any_answer_to_that_will_do() -> None:
    engine, clock = asking(None)
    assert engine.sends() == [(GATEWAY, bytes.fromhex("02 00 0000 00000000 00000000000000000000ffffc0a80109"))]
    engine.receive(GATEWAY, bytes.fromhex(HEAD.replace("81", "80", 1)), clock.now())
    assert (engine.done, engine.heard, engine.epoch) == (True, True, 101)


def test_the_answer_makes_the_mapping_whatever_options_follow() -> None:
    for options in ("", "03 00 0000"):
        engine = answered(HEAD + BODY + options)
        assert engine.granted == Granted("203.0.113.7", 41642, 3600 * SECOND, 101)
        assert (engine.done, engine.heard, engine.deadline()) == (True, True, None)


@pytest.mark.parametrize("source", [("192.168.1.2", 5351), ("192.168.1.1", 5350)])
def test_answers_from_elsewhere_are_ignored(source) -> None:
    engine = answered(HEAD + BODY, source)
    assert (engine.ignored, engine.heard, engine.done) == (1, False, False)


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace(NONCE.hex(), b"another one.".hex()),
        BODY.replace("11 0", "06 0"),
        BODY.replace("a2a9 a2aa", "a2a8 a2aa"),
        BODY[:-2],
        "",
    ],
    ids=["nonce", "protocol", "port", "cut", "head alone"],
)
@pytest.mark.parametrize("result", ["00", "02"])
def test_an_answer_to_another_request_is_ignored_even_where_it_refuses(body, result) -> None:
    engine = answered(HEAD.replace("02 81 00 00", f"02 81 00 {result}") + body)
    assert (engine.ignored, engine.heard, engine.done) == (1, False, False)


@pytest.mark.parametrize(
    ("result", "trouble", "heard"),
    [
        (1, "unsupported version", False),
        (2, "not authorized", True),
        (7, "the router has no network", True),
        (8, "no more mappings", True),
        (10, "too many mappings of this machine", True),
        (11, "the outside port cannot be had", True),
        (12, "the request's address was changed on the way", True),
        (99, "result 99", True),
    ],
)
def test_refusals_end_it_and_say_why(result, trouble, heard) -> None:
    engine = answered(HEAD.replace("02 81 00 00", f"02 81 00 {result:02x}") + BODY)
    assert (engine.trouble, engine.heard, engine.done, engine.granted) == (trouble, heard, True, None)


@pytest.mark.parametrize("answer", ["00 81 0001 00000065", "01 81 00 01 00000000", "00 80 0001"])
def test_a_router_of_another_version_speaks_no_pcp(answer) -> None:
    engine = answered(answer)
    assert (engine.trouble, engine.heard, engine.done) == ("unsupported version", False, True)


@pytest.mark.parametrize(
    "address", ["20010db8000000000000000000000001", "00000000000000000000000000000000"], ids=["IPv6", "none"]
)
def test_a_mapping_at_no_ipv4_address_has_none(address) -> None:
    engine = answered(HEAD + BODY.replace("00000000000000000000ffffcb007107", address))
    assert engine.granted is not None
    assert engine.granted.address == ""


@given(st.lists(st.binary(max_size=80), max_size=6), st.booleans())
def test_no_bytes_break_the_engine(datagrams, probing) -> None:
    engine, clock = asking(None if probing else WANTED)
    for data in datagrams:
        for prefix in (b"", b"\x02\x81\x00\x00", bytes.fromhex(HEAD), bytes.fromhex(HEAD) + NONCE):
            engine.receive(GATEWAY, prefix + data, clock.now())
    assert engine.granted is None or 0 < engine.granted.port < 65536
    assert engine.done == (engine.deadline() is None)


@given(st.binary(max_size=40))
def test_announcements_are_answers_to_announce_and_nothing_else(data) -> None:
    assert announced(bytes.fromhex(HEAD.replace("81", "80", 1))) == (101, "")
    told = announced(data)
    assert told is None or data[:2] == b"\x02\x80"
