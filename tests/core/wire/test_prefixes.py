"""Prefixes as text: one form each, nothing guessed."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.wire.prefixes import overlap, parse_prefix


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("FD00:1:0::/64", "fd00:1::/64"),
        ("fd00::1", "fd00::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_prefix_has_one_form(text, prefix):
    assert str(parse_prefix(text)) == prefix


NONE = (
    *("", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "10.0.0.0/-1", "10/8"),
    *("fe80::%eth0/64", "2001:db8::%1/64", "a", "1", " 10.0.0.0/8", "10.0.0.0/8\n", "\u0661.0.0.0/8", "::" * 5000),
)


@pytest.mark.parametrize("text", NONE, ids=lambda text: repr(text[:20]))
def test_what_is_none_is_refused_in_a_short_line(text):
    with pytest.raises(ValueError, match="is no prefix") as caught:
        parse_prefix(text)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "meant"), [("10.1.2.3/16", "10.1.0.0/16"), ("fd00:1::5/64", "fd00:1::/64"), ("1.0.0.0/0", "0.0.0.0/0")]
)
def test_bits_behind_the_length_are_refused_naming_what_was_meant(text, meant):
    with pytest.raises(ValueError, match="bits set") as caught:
        parse_prefix(text)
    assert meant in str(caught.value)


@given(st.ip_addresses(), st.integers(0, 128), st.integers(0, 128))
def test_every_prefix_comes_back_from_its_text_and_overlaps_what_holds_it(address, one, other):
    lengths = sorted(min(length, address.max_prefixlen) for length in (one, other))
    wide, narrow = (ip_network(f"{address}/{length}", strict=False) for length in lengths)
    if "%" not in str(address):
        assert parse_prefix(str(narrow)) == narrow
        assert overlap(wide, narrow)
        assert overlap(narrow, wide)


def test_families_do_not_overlap():
    assert not overlap(parse_prefix("0.0.0.0/0"), parse_prefix("::/0"))
    assert ip_address("10.0.0.1") in parse_prefix("10.0.0.0/8")
