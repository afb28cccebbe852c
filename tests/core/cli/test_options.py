"""Options of the command line are checked as the settings they stand for."""

import pytest

from ghostwire.cli.options import given
from ghostwire.errors import UsageError


def test_options_that_were_given_are_settings() -> None:
    assert given("node", interface="gw1", operator=None) == {"interface": "gw1"}
    assert given("server", listen="[::]:80", url=None, tls=False) == {"listen": "[::]:80", "tls": False}


@pytest.mark.parametrize(
    ("table", "option", "value"),
    [("node", "interface", "a/b"), ("server", "listen", ""), ("server", "url", "https://user:pass@mesh")],
)
def test_an_option_that_the_file_would_refuse_is_refused_by_its_name(table: str, option: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}: expected"):
        given(table, **{option: value})
