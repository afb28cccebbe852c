"""A few nodes that reconnect for ever: nobody whose view did not change is told anything."""

import asyncio

from ghostwire.model import MapChange
from ghostwire.testing import simulated
from ghostwire.wire.messages import Refused, Report

RESTLESS, OTHERS = 6, 60
SECONDS, PAUSE = 10.0, 0.02


@simulated
async def test_nodes_that_reconnect_in_a_tight_loop_cost_nobody_else_a_frame(serve):
    async with serve() as rig:
        await rig.add_relay("a", region=12)
        clients = await rig.clients(RESTLESS + OTHERS)
        for client in clients:
            client.stream.say(Report(session=1, sequence=1, home=12))
        await rig.settle()
        restless, others = clients[:RESTLESS], clients[RESTLESS:]
        before = [len(client.stream.of(MapChange)) for client in others]
        refused = 0
        for turn in range(int(SECONDS / PAUSE)):
            for client in restless:
                client.leave()
                stream = client.connect(None)
                await asyncio.sleep(0)
                refused += bool(stream.of(Refused))
                if not stream.closed:
                    stream.say(Report(session=1, sequence=2 + turn, home=12))
            await asyncio.sleep(PAUSE)
        await rig.settle()
        assert refused, "no machine begins sessions without end"
        assert [len(client.stream.of(MapChange)) for client in others] == before
        assert all(not client.stream.closed for client in others)
