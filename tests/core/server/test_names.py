"""What users and nodes may be called."""

import pytest

from ghostwire.server.names import email_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada.Lovelace+mesh@Example.COM", "ada.lovelace+mesh@example.com"),
        ("o'neill@x-y.example", "o'neill@x-y.example"),
        ("root@localhost", "root@localhost"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
    ],
)
def test_an_address_is_kept_in_lower_case(text: str, address: str) -> None:
    assert email_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a b@example.com",
        "a@b@example.com",
        "*@example.com",
        ".ada@example.com",
        "ada.@example.com",
        "a..b@example.com",
        "ada@example..com",
        "ada@-example.com",
        "ada@example.com\n",
        "ädä@example.com",
        f"{'a' * 65}@example.com",
        f"a@{'b.' * 126}com",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an e-mail address"):
        email_address(text)
