"""Viewers who know more than the server that they come to."""

import asyncio

from ghostwire.model import MapChange
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
