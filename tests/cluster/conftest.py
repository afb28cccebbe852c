"""Three real servers on a PostgreSQL of the test's own, and everybody of their mesh."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from tests.cluster.world import World, world  # noqa: E402

import postgres  # noqa: E402


@pytest.fixture
def cluster() -> Iterator[postgres.Cluster]:
    """A durable PostgreSQL to stop and to kill."""
    if why := postgres.missing():
        pytest.skip(why)
    with postgres.running(durable=True) as cluster:
        yield cluster


@pytest.fixture
async def mesh(cluster: postgres.Cluster, tmp_path: Path) -> AsyncIterator[World]:
    """A small mesh, at rest: begin."""
    async with world(tmp_path, cluster, seed=1, core=4) as made:
        yield made
