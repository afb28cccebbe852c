"""What the tests of a whole mesh share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nodes tell every session; a failing test shows warnings and its last datagrams instead."""
    logger = logging.getLogger("ghostwire")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)
