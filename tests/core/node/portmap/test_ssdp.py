"""The SSDP engine: who is asked, and whose answers lead anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.engine import MILLISECOND
from ghostwire.node.portmap.asking import SILENT
from ghostwire.node.portmap.ssdp import MOST, Ssdp, at
from ghostwire.testing import ManualClock

GATEWAY, URL = "192.168.1.1", "http://192.168.1.1:5000/desc.xml"
# fmt: off
ELSEWHERE = [
    "http://192.168.1.2/x", "http://evil.example/x", "https://192.168.1.1/x", "http://192.168.1.1@evil.example/",
    "file:///etc/passwd", "http://user@192.168.1.1/", "http://192.168.1.1:0/", "http://192.168.1.1:99999/",
    "http://[::1]/", "//192.168.1.1/x", "x", "http://192.168.1.1.evil.example/", "http://0300.0250.1.1/",
    "http://[", "", "http://192.168.1.1/a b", "http://192.168.1.1/\u0001", "http://192.168.1.1/é",
]
# fmt: on


def searching() -> tuple[Ssdp, ManualClock]:
    clock = ManualClock()
    engine = Ssdp(GATEWAY, clock.now())
    engine.advance(clock.now())
    return engine, clock


def answer(
    location: str = URL, st: str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1", first: str = ""
) -> bytes:
    return f"{first or 'HTTP/1.1 200 OK'}\r\nCACHE-CONTROL: x\r\nst: {st}\r\nLOCATION:{location}\r\n\r\n".encode()


def through(engine: Ssdp, clock: ManualClock) -> list[str]:
    """Let it run to its end; whom each try asked."""
    asked = []
    while (deadline := engine.deadline()) is not None:
        asked.append(" ".join(sorted({target[0] for target, _ in engine.sends()})))
        clock.advance(deadline - clock.now())
        engine.advance(clock.now())
    return asked


def test_the_router_is_asked_first_and_then_the_group_as_well() -> None:
    engine, clock = searching()
    (target, data), (_, other) = engine.sends()
    assert target == (GATEWAY, 1900)
    assert data == (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 192.168.1.1:1900\r\n"
        b'ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n\r\n'
    )
    assert b"ST: ssdp:all\r\n" in other
    assert through(engine, clock) == ["", "192.168.1.1 239.255.255.250", "192.168.1.1 239.255.255.250"]
    assert clock.now() == ManualClock().now() + 1500 * MILLISECOND
    assert engine.trouble == SILENT


def test_a_gateway_device_ends_the_search() -> None:
    engine, clock = searching()
    engine.receive((GATEWAY, 40001), answer(), clock.now())
    assert (engine.locations, engine.done, engine.heard) == ([URL], True, True)


def test_other_devices_of_the_router_are_used_where_no_gateway_device_answers() -> None:
    engine, clock = searching()
    for number in range(9):
        engine.receive((GATEWAY, 1900), answer(f"http://192.168.1.1/{number}", "upnp:rootdevice"), clock.now())
    assert not engine.done
    through(engine, clock)
    assert engine.locations == [f"http://192.168.1.1/{number}" for number in range(MOST)]
    assert engine.trouble == ""


@pytest.mark.parametrize("location", [*ELSEWHERE, "http://192.168.1.1/" + "x" * 600])
def test_answers_that_lead_anywhere_but_to_the_router_are_ignored(location) -> None:
    engine, clock = searching()
    engine.receive((GATEWAY, 1900), answer(location), clock.now())
    assert (engine.locations, engine.heard, engine.ignored) == ([], False, 1)


def test_answers_from_elsewhere_and_what_is_no_answer_are_ignored() -> None:
    engine, clock = searching()
    engine.receive(("192.168.1.2", 1900), answer(), clock.now())
    engine.receive((GATEWAY, 1900), answer(first="HTTP/1.1 404 Not Found"), clock.now())
    engine.receive((GATEWAY, 1900), answer(first="NOTIFY * HTTP/1.1"), clock.now())
    assert (engine.locations, engine.ignored) == ([], 3)


@given(st.lists(st.binary(max_size=300), max_size=5), st.text(max_size=60))
def test_no_bytes_break_the_engine(datagrams, location) -> None:
    engine, clock = searching()
    for data in [*datagrams, answer(location.replace("\n", ""))]:
        engine.receive((GATEWAY, 1900), data, clock.now())
        engine.receive((GATEWAY, 1900), b"HTTP/1.1 200 OK\r\n" + data, clock.now())
    assert all(at(found, GATEWAY) for found in engine.locations)
