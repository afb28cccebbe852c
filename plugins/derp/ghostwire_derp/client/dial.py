"""Finds the first relay that lets the node in: the next is tried beside one that takes long."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from ghostwire.errors import Unavailable
from ghostwire.hints import one_line
from ghostwire.system.tls import check_relay, relay_tls, untrusted
from ghostwire_derp.client.connection import Connection, Owner
from ghostwire_derp.client.engine import DerpClient
from ghostwire_derp.client.relays import addresses

if TYPE_CHECKING:
    from ghostwire import Identity, Sockets
    from ghostwire.engine import Clock
    from ghostwire.model import MapRelay
    from ghostwire_derp.client.counters import Counters

CONNECT_TIMEOUT = 10.0
"""Seconds for all relays of a region together."""
STAGGER = 1.5
"""Seconds that a relay has to itself before the next is tried too."""

Attempt = Callable[[], Coroutine[Any, Any, Connection]]


class Dialer:
    """Makes connections in the node's name."""

    def __init__(self, sockets: Sockets, identity: Identity, clock: Clock, counters: Counters) -> None:
        self._sockets, self._identity, self._clock, self._counters = sockets, identity, clock, counters

    async def dial(self, relays: Sequence[MapRelay], owner: Owner, preferred: bool) -> Connection:
        """An open connection to the first of these that lets the node in; else the first one's GhostwireError."""
        places = [(relay, address) for relay in relays for address in addresses(relay)]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await _first([self._attempt(relay, address, owner, preferred) for relay, address in places])
        except TimeoutError:
            raise Unavailable(f"relay {relays[0].name}: no answer within {CONNECT_TIMEOUT:.0f} s") from None

    def _attempt(self, relay: MapRelay, address: str, owner: Owner, preferred: bool) -> Attempt:
        def connection() -> Connection:
            engine = DerpClient(relay, self._identity)
            engine.prefer(preferred)
            return Connection(relay, engine, owner, self._clock, self._counters)

        async def attempt() -> Connection:
            try:
                tls = relay_tls(relay)
                transport, made = await self._sockets.connect(
                    connection, address, relay.port, tls=tls, server_name=relay.host
                )
            except ssl.SSLError as error:
                raise untrusted(relay, error) from None
            except (OSError, ValueError) as error:  # ValueError: TLS takes no such server name
                raise Unavailable(f"relay {relay.name} ({address}): {one_line(error)}") from None
            try:
                check_relay(transport, relay)
                await made.open()
            except BaseException:
                made.close()
                raise
            return made

        return attempt


async def _first(attempts: Sequence[Attempt]) -> Connection:
    """The first connection there is; what comes of the other attempts is closed."""
    left, running = list(reversed(attempts)), set[asyncio.Task[Connection]]()
    errors: list[BaseException] = []
    try:
        while left or running:
            if left:
                running.add(asyncio.create_task(left.pop()()))
            done, _ = await asyncio.wait(
                running, timeout=STAGGER if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                errors.append(error)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_discard)
    raise errors[0] if errors else Unavailable("no relay of the region has an address")


def _discard(task: asyncio.Task[Connection]) -> None:
    """Close what came too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
