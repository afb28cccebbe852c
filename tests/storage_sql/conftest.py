"""A storage in a folder of its own, made and opened anew at will."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostwire_storage_sql.storage import SqlStorage


@pytest.fixture
def make_storage(tmp_path: Path) -> Callable[[], SqlStorage]:
    """A storage of the test's folder, not opened."""
    return lambda: SqlStorage(tmp_path, "", os.urandom, logging.getLogger("storage"))
