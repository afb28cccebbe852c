"""Keeps links: from this process to every sibling of the relay, and to every fellow worker process.

Each side of a pair dials the other, as stock derpers do, and each worker dials on its own account. A sibling's link
ends at whichever of this relay's workers gets the connection, so a packet takes at most these steps, each kind of link
at most once and in this order:

    client -> its worker -> (sibling link) -> a worker of the other relay -> (fellow link) -> the client's worker

It can't loop: what came over a sibling's link goes to a client or a fellow, what came from a fellow to a client alone
(`ghostwire_derp.relay.routes` keeps to that). For it to arrive, a worker tells siblings of all fellows' clients, and
fellows of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ghostwire import RelayContext, ServerContext, Service
from ghostwire.errors import GhostwireError
from ghostwire.frontdoor.handover import take_socket
from ghostwire.keys import PrivateKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire_derp.mesh.dial import dial
from ghostwire_derp.mesh.fellows import FellowPort, connect_fellow
from ghostwire_derp.mesh.peering import Peering
from ghostwire_derp.mesh.session import Itself, MeshSession
from ghostwire_derp.relay.shared import relay_of

if TYPE_CHECKING:
    from ghostwire_derp.relay.relay import Relay

RETRY, FELLOW_RETRY = 5.0, 0.1
"""Seconds between two attempts; up to as much again is added by chance, so that relays do not dial in step."""

Open = Callable[[], Awaitable[Peering]]


class MeshService(Service):
    """The links of one process."""

    name = "mesh"

    def __init__(self, context: ServerContext | RelayContext) -> None:
        self._context, self._relaying, self._log = context, context.relaying, context.log
        self._own_key = context.relaying.private_key.public(RelayKey)
        self._siblings: dict[tuple[MapRelay, bytes], asyncio.Task[None]] = {}
        self._fellows: list[asyncio.Task[None]] = []
        self._port: FellowPort | None = None
        self._links = self._failures = 0
        self._running = False
        self._relay: Relay = relay_of(context)

    async def start(self) -> None:
        """Link to whom there is, and follow who comes and goes."""
        self._running = True
        metrics = self._context.metrics
        metrics.gauge("ghostwire_relay_mesh_links", "Open links to other relays and workers.", lambda: self._links)
        metrics.counter("ghostwire_relay_mesh_failures_total", "Links that failed or ended.", lambda: self._failures)
        self._start_fellows()
        self._relaying.on_siblings(self._follow)
        self._follow()

    async def close(self) -> None:
        """End all links; harmless when called twice."""
        self._running = False
        if self._port is not None:
            self._port.close()
        tasks = [*self._siblings.values(), *self._fellows]
        self._siblings, self._fellows = {}, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self) -> None:
        """Keep a link to each sibling there is now, and to no other."""
        if not self._running:
            return
        siblings = self._relaying.siblings
        wanted = {(relay, siblings.mesh_key) for relay in map(_place, siblings.relays) if self._is_other(relay)}
        if not siblings.mesh_key:
            wanted = set()
        for gone in self._siblings.keys() - wanted:
            self._siblings.pop(gone).cancel()
        for relay, mesh_key in sorted(wanted - self._siblings.keys(), key=lambda pair: pair[0].id):
            opening = partial(self._link_sibling, relay, mesh_key)
            self._siblings[relay, mesh_key] = self._keep(f"relay {relay.name}", opening, RETRY)

    def _is_other(self, relay: MapRelay) -> bool:
        return relay.key != self._own_key

    def _start_fellows(self) -> None:
        fellows = self._relaying.fellows
        if not fellows.own:
            return
        self._port = FellowPort(fellows.own, self._relay)
        identity = PrivateKey.generate(self._context.entropy)
        for path in fellows.others:
            opening = partial(self._link_fellow, path, identity, fellows.mesh_key)
            self._fellows.append(self._keep(f"worker at {path}", opening, FELLOW_RETRY))

    def _keep(self, name: str, opening: Open, retry: float) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._linked(name, opening, retry))

    async def _linked(self, name: str, opening: Open, retry: float) -> None:
        """Keep one link; whoever turns out to be this relay itself is left alone from then on."""
        said = ""
        while True:
            reason = await self._once(name, opening)
            if isinstance(reason, Itself):
                return self._log.info("mesh: %s is this relay itself", name)
            self._failures += 1
            if str(reason) != said:
                said = str(reason)
                level = logging.WARNING if retry >= RETRY else logging.DEBUG  # a worker's parent says what befell it
                self._log.log(level, "mesh: no link to %s: %s; trying again every %g s or so", name, said, retry)
            chance = int.from_bytes(self._context.entropy(2)) / 65536
            await asyncio.sleep(retry * (1 + chance))

    async def _once(self, name: str, opening: Open) -> GhostwireError:
        """One link from its opening to its end; why it ended."""
        try:
            peering = await opening()
        except GhostwireError as error:
            return error
        try:
            await asyncio.wait((peering.opened, peering.over), return_when=asyncio.FIRST_COMPLETED)
            if peering.opened.done():
                self._log.info("mesh: linked to %s", name)
            return await self._while_open(peering)
        finally:
            peering.close()

    async def _while_open(self, peering: Peering) -> GhostwireError:
        counted = peering.opened.done()
        self._links += counted
        try:
            return await asyncio.shield(peering.over)
        finally:
            self._links -= counted

    async def _link_sibling(self, relay: MapRelay, mesh_key: bytes) -> Peering:
        transport, rest = await dial(relay, self._context.sockets)
        peering = self._peering(f"relay {relay.name}", self._relaying.private_key, mesh_key, relay.key)
        plain = take_socket(transport)
        if plain is not None:
            peering.begin(self._relay.take_link(plain, peering, rest))
        else:
            peering.begin(self._relay.attach_link(transport, peering, rest))
        return peering

    async def _link_fellow(self, path: str, identity: PrivateKey, mesh_key: bytes) -> Peering:
        stream = await connect_fellow(path)
        peering = self._peering(f"worker at {path}", identity, mesh_key, self._own_key)
        peering.begin(self._relay.take_link(stream, peering, fellow=True))
        return peering

    def _peering(self, name: str, identity: PrivateKey, mesh_key: bytes, peer: RelayKey | None) -> Peering:
        clock = self._context.clock
        session = MeshSession(name, identity, mesh_key, peer, self._context.entropy, clock.now())
        return Peering(session, self._relay, clock)


def _place(relay: MapRelay) -> MapRelay:
    """The same whether it drains or not: its clients are still there."""
    return msgspec.structs.replace(relay, draining=False)
