"""Many enrolled nodes in one process: real control sessions, no tunnel behind them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Endpoint
from ghostwire.system.sockets import SystemSockets
from ghostwire.uplink.channel import Channel, connect
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import PROTOCOL, Credentials, Hello, Host, Report, Welcome

AT_ONCE = 8


@contextlib.asynccontextmanager
async def crowd(token: JoinToken, count: int) -> AsyncIterator[None]:
    """So many nodes, enrolled and connected, until the context is left."""
    limit = asyncio.Semaphore(AT_ONCE)
    channels = await asyncio.gather(*(_enrol(token, number, limit) for number in range(count)))
    listeners = [asyncio.create_task(_listen(channel)) for channel in channels]
    try:
        yield
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.wait(listeners)
        await asyncio.gather(*(channel.close() for channel in channels))


async def _enrol(token: JoinToken, number: int, limit: asyncio.Semaphore) -> Channel:
    machine, node, disco = (PrivateKey.generate() for _ in range(3))
    async with limit:
        channel = await connect(token.url, machine, token.control_key, SystemSockets(), os.urandom)
        channel.send(
            Hello(
                protocol=PROTOCOL,
                node_key=node.public(NodeKey),
                disco_key=disco.public(DiscoKey),
                proof=channel.prove(node),
                host=Host(hostname=f"crowd-{number}", os="linux"),
                credentials=Credentials(token.scheme, token.secret),
            )
        )
        answer = await channel.receive()
    if not isinstance(answer, Welcome):
        raise RuntimeError(f"node {number} was answered {answer}")
    where = Endpoint("udp", f"198.51.100.{number + 1}:41641")
    channel.send(Report(session=1, sequence=1, endpoints=(where,)))
    return channel


async def _listen(channel: Channel) -> None:
    """Take what comes, as every node does; the map is not kept."""
    while True:
        await channel.receive()
