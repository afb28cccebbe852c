"""Whom an endpoint's text leads to, whatever transport reads it."""

from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.model import Endpoint, NetworkMap
from ghostwire.node.addresses import address_of
from ghostwire.node.candidates import Candidates


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:41641", "192.0.2.1"),
        ("[2001:db8::1]:41641", "2001:db8::1"),
        ("2001:db8::1:41641", "2001:db8::1"),
        ("[::ffff:192.0.2.1]:9", "192.0.2.1"),
        ("192.0.2.1:41642#" + "ab" * 32, "192.0.2.1"),
        ("192.0.2.1#a:b", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:443/path", "192.0.2.1"),
        ("wss://100.64.0.3/x#..", "100.64.0.3"),
        ("wss://[fd00::1]/x#pin", "fd00::1"),
        ("wss://[fe80::1%eth0]:443/", "fe80::1%eth0"),
        ("wss://user:pass@127.0.0.1:443/x?y=z", "127.0.0.1"),
        ("//127.0.0.1./", "127.0.0.1"),
        ("WSS://LOCALHOST:443/", "127.0.0.1"),
        ("a.localhost:80", "127.0.0.1"),
        ("wss://2130706433/", "127.0.0.1"),
        ("wss://0x7f000001/", "127.0.0.1"),
        ("127.1:80", "127.0.0.1"),
        ("0177.0.0.01:80", "127.0.0.1"),
        ("wss://127\u30020.0.\uff11/", "127.0.0.1"),
        ("wss://a.example/127.0.0.1", None),
        ("a.example:443", None),
        ("wss://a.example:443/x#127.0.0.1", None),
        ("wss://[::1", None),
        ("wss://256.1.1.1/", None),
        ("1.2.3.4.5:6", None),
        ("1.0x:9", None),
        ("loft 3", None),
        ("5/nodekey:ab", None),
        ("2130706433", None),
        ("", None),
        ("#", None),
        (":", None),
    ],
)
def test_the_address_shows(text: str, address: str | None) -> None:
    assert address_of(text) == (ip_address(address) if address else None)


@given(st.text(max_size=80))
def test_no_text_is_too_much(text: str) -> None:
    address_of(text)


@given(st.ip_addresses(v=4), st.sampled_from(["{}:1", "{}", "wss://{}/x#y", "//u@{}:5?z", "{}:9#ab:cd"]))
def test_every_address_is_found_wherever_it_stands(address: IPv4Address, shape: str) -> None:
    assert address_of(shape.format(address)) == address


@pytest.mark.parametrize(
    "text", ["wss://100.64.0.7/x#pin", "wss://[fd00:1:2::6440:7]:443/", "//127.0.0.1", "127.0.0.1:41642#ab", "[::1]#"]
)
def test_a_strangers_text_leads_neither_into_the_mesh_nor_to_ourselves(kit: Any, text: str) -> None:
    candidates = Candidates([kit.Transport("websocket")], NetworkMap(), "udp")
    candidates.avoid([ip_network("100.64.0.0/10"), ip_network("fd00:1:2::/48")])
    elsewhere = "wss://192.0.2.7/x#pin"
    found = candidates.paths([Endpoint("websocket", text), Endpoint("websocket", elsewhere)])
    assert [path.endpoint for path in found] == [elsewhere]
    assert candidates.refused == 1
