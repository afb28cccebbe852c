"""What is read of a router's XML, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import RemoteProtocolError
from ghostwire.node.portmap import igd, xml
from ghostwire.node.portmap.igd import Control, Fault

from .conftest import DESCRIPTION, FAULT, SOAP

GATEWAY = "192.168.1.1"
LOCATION = f"http://{GATEWAY}:5000/igd/desc.xml"
V1, V2 = (f"urn:schemas-upnp-org:service:WANIPConnection:{version}" for version in (1, 2))
PPP = "urn:schemas-upnp-org:service:WANPPPConnection:1"
HERE = Control(f"http://{GATEWAY}:5000/ctl", V2)


def description(control: str = "/ctl", service: str = V1, base: str = "") -> bytes:
    text = DESCRIPTION.format(igd="InternetGatewayDevice:1", service=service, control=control)
    return text.replace("<device>", f"<URLBase>{base}</URLBase><device>", 1).encode()


def soap(action: str, values: str) -> bytes:
    return SOAP.format(action=action, service=V2, values=values).encode()


@pytest.mark.parametrize(
    ("control", "url"),
    [
        ("/ctl", f"http://{GATEWAY}:5000/ctl"),
        ("ctl?x=1", f"http://{GATEWAY}:5000/igd/ctl?x=1"),
        (f"http://{GATEWAY}:49152/up", f"http://{GATEWAY}:49152/up"),
    ],
)
def test_the_control_url_may_be_relative_or_whole(control, url) -> None:
    assert igd.controls(description(control), LOCATION, GATEWAY) == [Control(url, V1)]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (f"http://{GATEWAY}:80/", f"http://{GATEWAY}:80/ctl"),
        ("http://evil.example/", f"http://{GATEWAY}:5000/ctl"),
        ("nonsense", f"http://{GATEWAY}:5000/ctl"),
    ],
)
def test_a_base_is_used_only_where_it_is_at_the_router(base, url) -> None:
    assert igd.controls(description(base=base), LOCATION, GATEWAY) == [Control(url, V1)]


def test_a_description_of_very_many_services_leads_to_few() -> None:
    service = f"<service><serviceType>{V1}</serviceType><controlURL>/ctl{{}}</controlURL></service>"
    text = f"<root>{''.join(map(service.format, range(500)))}</root>"
    assert igd.controls(text.encode(), LOCATION, GATEWAY) == [
        Control(f"http://{GATEWAY}:5000/ctl{number}", V1) for number in range(igd.MOST)
    ]
    same = f"<root>{service.format('') * 500}</root>"
    assert igd.controls(same.encode(), LOCATION, GATEWAY) == [Control(f"http://{GATEWAY}:5000/ctl", V1)]


@pytest.mark.parametrize(
    "control", ["http://192.168.1.9/ctl", "//evil.example/ctl", "https://192.168.1.1/ctl", "http://["]
)
def test_services_that_lead_away_from_the_router_are_left_out(control) -> None:
    assert igd.controls(description(control), LOCATION, GATEWAY) == []


def test_the_best_service_comes_first_and_foreign_ones_not_at_all() -> None:
    document = "<root>"
    for number, service in enumerate((PPP, "urn:schemas-upnp-org:service:ContentDirectory:1", V1, V2)):
        document += f"<service><controlURL>/{number}</controlURL><serviceType>{service}</serviceType></service>"
    found = igd.controls((document + "</root>").encode(), LOCATION, GATEWAY)
    assert [(each.service, each.url[-1]) for each in found] == [(V2, "3"), (V1, "2"), (PPP, "0")]


BOMB = b"""<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><z>&b;</z>"""
FILE = b"""<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a SYSTEM "file:///etc/hostname">]><z>&a;</z>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE z SYSTEM "http://evil.example/x.dtd"><z/>"""


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (BOMB, "a document type"),
        (FILE, "a document type"),
        (OUTSIDE, "a document type"),
        (b"<a>" * 40 + b"</a>" * 40, "too many elements"),
        (b"<a>" + b"<b/>" * 2100 + b"</a>", "too many elements"),
        (b"<a>" + b" " * 70_000 + b"</a>", "more than 65536 bytes"),
        (b"<a>&unknown;</a>", "no XML"),
        (b"<a></b>", "no XML"),
        (b'<?xml version="1.0" encoding="utf-77"?><a/>', "no XML"),
        (b"", "no XML"),
        (b"\0\0\0", "no XML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_documents_that_could_do_harm_or_are_none_are_refused(document, reason) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        xml.leaves(document)


def test_names_are_told_without_prefixes_and_texts_without_space_around() -> None:
    assert xml.leaves(b"<x:a xmlns:x='u'><b> 1 </b>2<b/></x:a>") == [(("a", "b"), "1"), (("a", "b"), ""), (("a",), "2")]


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data) -> None:
    for document in (data, b"<a>" + data + b"</a>"):
        try:
            xml.leaves(document)
        except RemoteProtocolError:
            continue


def test_a_request_carries_its_arguments_escaped() -> None:
    body = igd.envelope(HERE, "Do", [("A", "<&>\"'"), ("B", 7)])
    assert xml.leaves(body)[:2] == [(("Envelope", "Body", "Do", "A"), "<&>\"'"), (("Envelope", "Body", "Do", "B"), "7")]


def test_an_answer_gives_the_value_asked_for() -> None:
    assert igd.answer(200, soap("Do", "<A>1</A>"), "Do", "A") == "1"
    assert igd.answer(200, soap("Do", "<A>1</A>"), "Do") == ""


def test_a_fault_is_told_with_its_number_in_one_line() -> None:
    with pytest.raises(Fault, match=r"^UPnP: Do was refused: 725 No$") as caught:
        igd.answer(500, FAULT.format(number=725).encode(), "Do")
    assert caught.value.number == 725


@pytest.mark.parametrize("description", ["a\nb\u009b31m", "x" * 500])
def test_a_routers_words_are_cut_and_kept_from_the_terminal(description) -> None:
    fault = f"<e><errorCode>1</errorCode><errorDescription>{description}</errorDescription></e>"
    with pytest.raises(Fault) as caught:
        igd.answer(500, fault.encode(), "Do")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, soap("DoElse", "<A>1</A>")),
        (404, soap("Do", "<A>1</A>")),
        (500, b"<a/>"),
        (500, FAULT.format(number="x").encode()),
        (500, FAULT.format(number="1" * 9).encode()),
        (500, FAULT.format(number="²").encode()),
        (200, b"hello"),
    ],
)
def test_nonsense_is_no_answer(status, body) -> None:
    with pytest.raises(RemoteProtocolError):
        igd.answer(status, body, "Do", "A")
