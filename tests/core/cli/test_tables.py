"""How ages and sizes are written."""

from __future__ import annotations

import pytest

from ghostwire.cli.tables import age, size


@pytest.mark.parametrize(
    ("then", "text"),
    [
        (None, "never"),
        (0, "never"),
        (1000, "now"),
        (995, "5 s ago"),
        (1000 - 200, "3 min ago"),
        (1000 + 7200, "in 2 h"),
        (1000 + 86400 * 90, "in 90 d"),
    ],
)
def test_an_age_is_in_its_largest_unit(then: float | None, text: str) -> None:
    assert age(then, now=1000) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB")]
)
def test_a_size_is_in_its_largest_unit(count: int, text: str) -> None:
    assert size(count) == text
