"""Join tokens: round trips, damage, and nothing of the secret in any text about it."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import UsageError
from ghostwire.keys import ControlKey
from ghostwire.wire.jointoken import JoinToken

KEY = ControlKey(bytes(range(32)))
SECRET = "s3cr3t-never-shown"
TOKEN = JoinToken(url="https://mesh.example.org:8080", secret=SECRET, control_key=KEY)


def armoured(value: object) -> str:
    return "gwjoin-" + urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


def test_a_token_survives_its_text() -> None:
    full = JoinToken(url="http://[fd00::1]", secret="x", control_key=KEY, pin=bytes(32), scheme="auth_oidc")
    assert JoinToken.parse(TOKEN.encode()) == TOKEN
    assert JoinToken.parse(f"\n  {full.encode()}\r\n") == full


def test_its_text_is_one_word_that_begins_with_gwjoin() -> None:
    text = TOKEN.encode()
    assert text.startswith("gwjoin-")
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_later_version_may_add_fields() -> None:
    later = {"url": TOKEN.url, "secret": SECRET, "control_key": KEY.raw, "flavour": "mint"}
    assert JoinToken.parse(armoured(later)) == TOKEN


def test_the_secret_is_not_in_its_representation() -> None:
    assert SECRET not in repr(TOKEN)
    assert SECRET not in str(TOKEN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a join token"),
        ("gwkey-1", "preauthkeys create makes one for a node, gwctl relays create for a relay"),
        ("https://mesh.example.org", "not a join token"),
        ("gwjoin-", "damaged or cut off"),
        ("gwjoin-AAAA", "damaged or cut off"),
        ("gwjoin-é", "damaged or cut off"),
        ("gwjoin-!!!!", "damaged or cut off"),
        (TOKEN.encode()[:-9], "damaged or cut off"),
        (TOKEN.encode() + "\n" + TOKEN.encode(), "damaged or cut off"),
        ("gwjoin-" + "A" * 5000, "too long"),
        (armoured({"url": "ftp://x", "secret": SECRET, "control_key": KEY.raw}), "names no server"),
        (armoured({"url": "https://", "secret": SECRET, "control_key": KEY.raw}), "names no server"),
        (armoured({"url": "https://h:99999", "secret": SECRET, "control_key": KEY.raw}), "names no server"),
        (armoured({"url": "https://h\n", "secret": SECRET, "control_key": KEY.raw}), "names no server"),
        (armoured({"url": "https://h", "secret": "", "control_key": KEY.raw}), "no usable secret"),
        (armoured({"url": "https://h", "secret": SECRET, "control_key": KEY.raw, "pin": b"x"}), "malformed"),
        (armoured({"url": "https://h", "secret": SECRET, "control_key": b"short"}), "damaged or cut off"),
        (armoured([1, 2, 3]), "damaged or cut off"),
    ],
)
def test_a_bad_token_is_explained_in_one_line_without_its_secret(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        JoinToken.parse(text)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    if len(text) > 20:
        assert text[7:] not in str(caught.value)


def complaint(text: str) -> str:
    try:
        JoinToken.parse(text)
    except UsageError as error:
        return str(error)
    return ""


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: "gwjoin-" + urlsafe_b64encode(raw).decode()))
def test_any_text_is_a_token_or_a_usage_error(text: str) -> None:
    assert "\n" not in complaint(text)


@given(st.integers(0, len(TOKEN.encode()) - 1), st.characters(codec="ascii"))
def test_any_changed_letter_gives_a_token_or_a_usage_error(position: int, letter: str) -> None:
    text = TOKEN.encode()
    assert SECRET not in complaint(text[:position] + letter + text[position + 1 :])
