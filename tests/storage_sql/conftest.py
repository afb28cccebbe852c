"""A storage in a folder of its own, or in a PostgreSQL database of its own, made and opened anew at will."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ghostwire_storage_sql.storage import SqlStorage

sys.path.insert(0, str(Path(__file__).parents[1]))

import postgres


@pytest.fixture
def make_storage(tmp_path: Path) -> Callable[[], SqlStorage]:
    """A storage of the test's folder, not opened."""
    return lambda: SqlStorage(tmp_path, "", os.urandom, logging.getLogger("storage"))


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL that this process's tests share: each makes databases of its own, none stops it."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.running() as cluster:
        yield cluster


@pytest.fixture
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL of the test's own, to stop and to kill; durable."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.running(durable=True) as cluster:
        yield cluster


@pytest.fixture
def url(shared_cluster: postgres.Cluster) -> str:
    """A new database of the test's own."""
    return shared_cluster.database()


@pytest.fixture
def make_shared(url: str, tmp_path: Path) -> Callable[[], SqlStorage]:
    """A storage of the test's database, not opened; another one each time."""
    return lambda: SqlStorage(tmp_path, url, os.urandom, logging.getLogger("storage"))
