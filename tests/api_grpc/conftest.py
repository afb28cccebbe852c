"""Servers and clients of the gRPC API."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from grpcclient import Machine, Stub
from grpcserver import Running, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest_asyncio.fixture
async def machine(running: Running) -> AsyncIterator[Callable[[str], Machine]]:
    """``machine(name)`` makes one, with keys of its own; closed at the end."""
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(running.server, running.token.control_key, name))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest_asyncio.fixture
async def admin(running: Running) -> AsyncIterator[Stub]:
    """The administration, by an API key."""
    async with running.server.channel() as channel:
        yield Stub(channel, "Admin", running.admin_key)
