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
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ghostwire import RelayContext, ServerContext, Service
from ghostwire.frontdoor.handover import take_socket
from ghostwire.keys import PrivateKey, RelayKey
from ghostwire.model import MapRelay
from ghostwire_derp.mesh.dial import dial
from ghostwire_derp.mesh.fellows import FellowPort, connect_fellow
from ghostwire_derp.mesh.keeper import Keeper, Open, Tally
from ghostwire_derp.mesh.peering import Peering
from ghostwire_derp.mesh.session import MeshSession
from ghostwire_derp.relay.shared import relay_of

if TYPE_CHECKING:
    from ghostwire_derp.relay.relay import Relay

RETRY, FELLOW_RETRY = 5.0, 0.1
"""Seconds until a link to a sibling, or to a fellow, is tried again."""


class MeshService(Service):
    """The links of one process."""

    name = "mesh"

    def __init__(self, context: ServerContext | RelayContext) -> None:
        self._context, self._relaying = context, context.relaying
        self._own_key = context.relaying.private_key.public(RelayKey)
        self._siblings: dict[tuple[MapRelay, bytes], Keeper] = {}
        self._fellows: list[Keeper] = []
        self._port: FellowPort | None = None
        self._tally = Tally()
        self._running = False
        self._relay: Relay = relay_of(context)

    async def start(self) -> None:
        """Link to whom there is, and follow who comes and goes."""
        self._running = True
        self._tally.register(self._context.metrics)
        self._start_fellows()
        self._relaying.on_siblings(self._follow)
        self._follow()

    async def close(self) -> None:
        """End all links; harmless when called twice."""
        self._running = False
        if self._port is not None:
            self._port.close()
        tasks = [keeper.task for keeper in (*self._siblings.values(), *self._fellows)]
        self._siblings, self._fellows = {}, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self) -> None:
        """Keep a link to each sibling there is now, and to no other."""
        if not self._running:
            return
        wanted = self._wanted()
        for gone in self._siblings.keys() - wanted.keys():
            self._siblings.pop(gone).task.cancel()
        for relay, mesh_key in wanted:
            if (relay, mesh_key) not in self._siblings:
                opening = partial(self._link_sibling, relay, mesh_key)
                kept = self._keeper(f"relay {relay.name}", opening, RETRY, logging.WARNING)
                self._siblings[relay, mesh_key] = kept

    def _wanted(self) -> dict[tuple[MapRelay, bytes], None]:
        """Siblings and mesh key, in order; whether one drains is left out, since its clients are still there."""
        siblings = self._relaying.siblings
        relays = [msgspec.structs.replace(relay, draining=False) for relay in siblings.relays if siblings.mesh_key]
        return {(relay, siblings.mesh_key): None for relay in relays if relay.key != self._own_key}

    def _start_fellows(self) -> None:
        fellows = self._relaying.fellows
        if not fellows.own:
            return
        self._port = FellowPort(fellows.own, self._relay)
        identity = PrivateKey.generate(self._context.entropy)
        for path in fellows.others:  # what befalls a worker is its parent's to say
            opening = partial(self._link_fellow, path, identity, fellows.mesh_key)
            self._fellows.append(self._keeper(f"worker at {path}", opening, FELLOW_RETRY, logging.DEBUG))

    def _keeper(self, name: str, opening: Open, retry: float, level: int) -> Keeper:
        return Keeper(name, opening, retry, level, self._tally, self._context.entropy, self._context.log)

    async def _link_sibling(self, relay: MapRelay, mesh_key: bytes) -> Peering:
        transport, rest = await dial(relay, self._context.sockets)
        peering = self._peering(self._relaying.private_key, mesh_key, relay.key)
        plain = take_socket(transport)
        if plain is not None:
            peering.begin(self._relay.take_link(plain, peering, rest))
        else:
            peering.begin(self._relay.attach_link(transport, peering, rest))
        return peering

    async def _link_fellow(self, path: str, identity: PrivateKey, mesh_key: bytes) -> Peering:
        stream = await connect_fellow(path)
        peering = self._peering(identity, mesh_key, self._own_key)
        peering.begin(self._relay.take_link(stream, peering, fellow=True))
        return peering

    def _peering(self, identity: PrivateKey, mesh_key: bytes, peer: RelayKey | None) -> Peering:
        clock = self._context.clock
        session = MeshSession(identity, mesh_key, peer, self._context.entropy, clock.now())
        return Peering(session, self._relay, clock)
