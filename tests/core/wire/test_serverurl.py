"""Server URLs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.wire.serverurl import ServerUrl


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://mesh.example.org", ServerUrl(True, "mesh.example.org", 443, "")),
        ("http://mesh.example.org:8080/", ServerUrl(False, "mesh.example.org", 8080, "")),
        ("https://[fd00::1]:8080/vpn/", ServerUrl(True, "fd00::1", 8080, "/vpn")),
    ],
)
def test_a_url_is_taken_apart(text: str, url: ServerUrl) -> None:
    assert ServerUrl.parse(text) == url


def test_an_ipv6_address_gets_its_brackets_back() -> None:
    assert ServerUrl.parse("http://[fd00::1]").authority == "[fd00::1]:80"
    assert ServerUrl.parse("http://h").authority == "h:80"


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "h:80", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:65536", "http://h:x"),
        *("http://[::1", "http://h/a b", "http://h\n", "http://é", "http://u:p@h", "http://h?q", "http://h#f"),
        "http://h/" + "x" * 2000,
        *("http://" + "x" * 64, "http://a..b", "http://."),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ServerUrl.parse(text)


@given(st.text(max_size=60).map("http://".__add__))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert ServerUrl.parse(text).port > 0
