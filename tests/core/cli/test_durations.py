"""Lengths of time on the command line."""

import pytest

from ghostwire.cli.durations import seconds
from ghostwire.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("2w", 1209600)])
def test_times_are_read(text: str, value: int) -> None:
    assert seconds("--ttl", text) == value


@pytest.mark.parametrize("text", ["", "0", "1y", "-1h", "1h30m", "9" * 30])
def test_other_times_are_refused_by_the_options_name(text: str) -> None:
    with pytest.raises(UsageError, match="--ttl"):
        seconds("--ttl", text)


@pytest.mark.parametrize("text", ["0s", "00d", "1234567890s"])
def test_times_that_are_none_or_too_long_are_said_to_be_that(text: str) -> None:
    with pytest.raises(UsageError, match="at least 1 s, and at most 9 digits"):
        seconds("--ttl", text)
