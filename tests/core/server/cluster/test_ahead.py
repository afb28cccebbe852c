"""Viewers who know more than the server that they come to."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ghostwire.model import Cursor, MapChange
from ghostwire.server.cluster.ahead import PATIENCE, Ahead
from ghostwire.testing import simulated


@simulated
async def test_a_server_that_cannot_read_what_is_stored_shows_nobody_an_older_map(servers):
    async with servers() as s:
        a, b = s.nodes[:2]
        await a.join(s.slots[0])
        await s.settle()
        s.slots[1].storage.cut()
        await b.join(s.slots[0])
        await asyncio.sleep(0.1)
        await a.join(s.slots[1])
        await asyncio.sleep(7)
        assert not a.client.stream.of(MapChange)
        s.slots[1].storage.heal()
        await s.settle()
        assert not a.client.stream.of(MapChange)[0].full
        assert len(a.read().nodes) == 2


class Waiting(SimpleNamespace):
    """A session whose viewer is ahead."""

    __hash__ = object.__hash__


@simulated
async def test_whoever_waits_is_served_though_a_look_failed_by_a_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks, served = iter((KeyError("a bug"), None)), list[Any]()

    async def catch_up() -> None:
        if error := next(looks):
            raise error

    ahead = Ahead(lambda: 1, served.append, catch_up)
    session: Any = Waiting(position=Cursor(5, b"mark"))
    ahead.add(session)
    await asyncio.sleep(2 * PATIENCE + 1)
    assert served == [session]
    assert "what is stored cannot be read" in caplog.text
