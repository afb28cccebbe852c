"""The relay's engine: streams in, clients logged in, their frames passed on. It does no I/O and reads no clock.

A driver sets the time with `begin`, reads into the arena, calls the owner's ``parse``, and ends the pass with
`settle`, which writes to the streams (see `outlet.Stream`) what they take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ghostwire import Load, Relaying
from ghostwire.engine import SECOND, Entropy
from ghostwire.keys import NodeKey
from ghostwire_derp.frames import KEEP_ALIVE, frame
from ghostwire_derp.relay.client import Client, Role
from ghostwire_derp.relay.conversation import Conversation
from ghostwire_derp.relay.entrance import Entrance
from ghostwire_derp.relay.exchange import Exchange
from ghostwire_derp.relay.limits import LEAST_BURST, Limits
from ghostwire_derp.relay.links import Link, LinkEvents
from ghostwire_derp.relay.outlet import Outgoing, Outlet, Stream
from ghostwire_derp.relay.peers import Peers
from ghostwire_derp.relay.schedule import KeepAlives, Pauses
from ghostwire_derp.settings import Settings

SWEEP = SECOND
"""How often deadlines are looked at, those of all streams together."""


class Router:
    """All streams of this process. ``now`` is nanoseconds of the monotonic clock throughout."""

    def __init__(self, relaying: Relaying, settings: Settings, entropy: Entropy, limits: Limits | None = None) -> None:
        rate = settings.client_rate
        self._relaying = relaying
        self.outgoing = Outgoing(limits or Limits())
        self.arena, self.counters, self.limits = self.outgoing.arena, self.outgoing.counters, self.outgoing.limits
        self.peers = Peers(self.limits.heard_by, self.limits.all_heard_by)
        self._conversation = Conversation(self.peers, self.outgoing)
        handle, missed = self._conversation.handle, self._conversation.missed
        self._exchange = Exchange(self.peers, self.outgoing, handle, missed)
        allowed = (rate, max(settings.client_burst, LEAST_BURST) if rate else 0)
        self._entrance = Entrance(relaying, entropy, self.outgoing, allowed, self._entered, self.close)
        self._keep_alives = KeepAlives(self.limits.keep_alive, self.limits.jitter, entropy)
        self._pauses = Pauses()
        self._clients: dict[Client, None] = {}
        self._links: dict[Link, None] = {}
        self._mesh_key = b""
        self._sweep_at: int | None = None

    # Streams

    def accept(self, stream: Stream, address: str) -> Client | None:
        """Take a client's stream; None where there is no place for it."""
        client = self._entrance.accept(stream, address)
        if client is not None:
            self._clients[client] = None
        return client

    def link(self, stream: Stream, events: LinkEvents, *, fellow: bool) -> Link:
        """Take a stream to another relay, which we opened."""
        link = Link(self.outgoing, stream, events, self._unlink, fellow=fellow)
        self._links[link] = None
        return link

    def close(self, client: Client, reason: str) -> None:
        """Close a client's stream, counted under ``closed_<reason>``; harmless when called twice."""
        if client.closed:
            return
        if reason:
            self.counters.add(f"closed_{reason}")
        self.outgoing.forget(client)
        del self._clients[client]
        self._entrance.leave(client)
        self._keep_alives.remove(client)
        self._conversation.forget(client)
        if client.key and client.role is Role.NODE:
            self.peers.leave(client)
        client.stream.close()

    def remove(self, keys: Sequence[NodeKey]) -> None:
        """These keys are admitted no longer."""
        for key in keys:
            for client in self.peers.connections(key.raw):
                self.close(client, "removed")

    def rekey(self) -> None:
        """Close siblings that logged in by a mesh key that counts no longer: one of them may have left the mesh."""
        if self._mesh_key != self._relaying.siblings.mesh_key:
            for client in [client for client in self._clients if client.role is Role.SIBLING]:
                self.close(client, "removed")

    def close_all(self) -> None:
        """Close every stream."""
        for outlet in [*self._clients, *self._links]:
            outlet.lost()

    def __iter__(self) -> Iterator[Client]:
        """All clients, those not logged in too."""
        return iter(self._clients)

    @property
    def load(self) -> Load:
        """Nodes connected, and bytes passed on."""
        return Load(len(self.peers.active), self.counters.sent_bytes)

    # Passes

    def begin(self, now: int) -> None:
        """A pass begins."""
        self.outgoing.now = now

    def received(self, outlet: Outlet, size: int) -> None:
        """Count what was read of a stream, and pause one that is above its rate."""
        self.counters.received_bytes += size
        if isinstance(outlet, Client) and outlet.rate is not None:
            wait = outlet.rate.spend(size, self.outgoing.now)
            if wait and not outlet.closed:
                outlet.stream.pause()
                self._pauses.add(outlet, self.outgoing.now + wait)

    def settle(self) -> None:
        """The pass is over: log in who waits, and write what is pending."""
        self._entrance.work(self.outgoing.now)
        self.outgoing.flush()

    # Time

    def deadline(self) -> int | None:
        """When `advance` must be called next."""
        if self._sweep_at is None and (self._clients or self._links):
            self._sweep_at = self.outgoing.now + SWEEP
        due = [at for at in (self._sweep_at, self._pauses.next, self._entrance.deadline()) if at is not None]
        return min(due, default=None)

    def advance(self, now: int) -> None:
        """Do what is due."""
        self.begin(now)
        for client in self._pauses.due(now):
            client.stream.resume()
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep_at = None
            self._sweep(now)

    def _sweep(self, now: int) -> None:
        self._entrance.expire(now)
        for outlet in list(self.outgoing.blocked):
            outlet.resume()
        for outlet in self.outgoing.stuck():
            outlet.give_up()
        for client in self._keep_alives.due(now):
            client.put(_KEEP_ALIVE)
            self._keep_alives.add(client, now)

    # What happens to streams

    def _entered(self, client: Client) -> None:
        self._keep_alives.add(client, self.outgoing.now)
        if client.role is Role.NODE:
            client.parse = self._exchange.packets
            self.peers.enter(client)
            for extra in self.peers.connections(client.key)[: -self.limits.per_key]:
                self.close(extra, "duplicate")
        else:
            client.parse = self._exchange.forwards
            self._mesh_key = self._relaying.siblings.mesh_key

    def _unlink(self, link: Link) -> None:
        self.outgoing.forget(link)
        del self._links[link]
        for key in self.peers.routes.of(link):
            self.peers.remove_route(key, link)
        link.stream.close()


_KEEP_ALIVE = frame(KEEP_ALIVE)
