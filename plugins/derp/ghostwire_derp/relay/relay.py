"""The one relay of a process: what hands it streams, and whom it tells of its clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from ghostwire import Load, Metrics, Relaying
from ghostwire.driver import Driver
from ghostwire.engine import Clock, Entropy
from ghostwire.keys import NodeKey
from ghostwire_derp.relay.attached import AttachedStream
from ghostwire_derp.relay.limits import Limits
from ghostwire_derp.relay.links import Link, LinkEvents
from ghostwire_derp.relay.outlet import Outlet
from ghostwire_derp.relay.peers import Changed
from ghostwire_derp.relay.poller import Poller
from ghostwire_derp.relay.router import Router
from ghostwire_derp.relay.routes import Forwarder
from ghostwire_derp.relay.sockets import SocketStream
from ghostwire_derp.settings import Settings


class Relay:
    """Takes streams after their HTTP Upgrade, and keeps the router on time. Use it in the loop's thread alone."""

    def __init__(
        self,
        relaying: Relaying,
        settings: Settings,
        clock: Clock,
        entropy: Entropy,
        metrics: Metrics,
        limits: Limits | None = None,
    ) -> None:
        self.router = Router(relaying, settings, entropy, limits)
        self._relaying, self._clock = relaying, clock
        self._driver: Driver | None = None
        self._poller: Poller | None = None
        self._scheduled: asyncio.Handle | None = None
        self._closed = False
        self.router.outgoing.wake = self._soon
        self.router.counters.register(metrics)
        metrics.gauge("ghostwire_relay_clients", "Nodes connected now.", lambda: self.load().clients)
        relaying.measure(self.load)
        relaying.on_removed(self._removed)
        relaying.on_siblings(self._siblings_changed)

    # Clients

    def take_socket(self, plain: socket.socket, client_address: str, rest: bytes = b"", greeting: bytes = b"") -> None:
        """Own a client's connected socket, plain or TLS (`ssl.SSLSocket`).

        ``rest`` was read of it already; ``greeting`` is written before anything else.
        """
        if self._closed:
            return plain.close()
        stream = self._polled().stream(plain)
        client = self.router.accept(stream, client_address) if stream.greet(greeting) else None
        return stream.close() if client is None else self._begin_polled(stream, client, rest)

    def attach(self, transport: Any, client_address: str, rest: bytes = b"") -> asyncio.Protocol:
        """Own a client's transport of any kind, by asyncio's rules; gives its protocol, which is set."""
        stream = AttachedStream(self.router, self._clock, self.settle, transport)
        client = None if self._closed else self.router.accept(stream, client_address)
        return self._refused(transport) if client is None else self._begin_attached(stream, client, rest)

    # Other relays (see `routes`)

    def take_link(self, plain: socket.socket, events: LinkEvents, rest: bytes = b"", *, fellow: bool = False) -> Link:
        """Own a connected socket to another relay, after the HTTP Upgrade."""
        stream = self._polled().stream(plain)
        link = self.router.link(stream, events, fellow=fellow)
        self._begin_polled(stream, link, rest)
        return link

    def attach_link(self, transport: Any, events: LinkEvents, rest: bytes = b"", *, fellow: bool = False) -> Link:
        """The same of a transport, whose protocol is set."""
        stream = AttachedStream(self.router, self._clock, self.settle, transport)
        link = self.router.link(stream, events, fellow=fellow)
        self._begin_attached(stream, link, rest)
        return link

    def add_route(self, key: bytes, forwarder: Forwarder) -> None:
        """Packets for ``key``, unless it is connected here, go to ``forwarder``."""
        self.router.peers.add_route(key, forwarder)
        self._soon()

    def remove_route(self, key: bytes, forwarder: Forwarder) -> None:
        """No longer; harmless where they never did."""
        self.router.peers.remove_route(key, forwarder)
        self._soon()

    def on_presence(self, changed: Changed) -> None:
        """Call ``changed(key, present)`` when a key's first connection here logs in, and when its last one goes."""
        self.router.peers.on_local.append(changed)

    # The whole

    def load(self) -> Load:
        """What it carries."""
        return self.router.load

    def settle(self) -> None:
        """Write what is pending, now."""
        if self._driver is None:
            self._driver = Driver(self.router, self._clock, self.router.settle)
        self._driver.settle()

    def close(self) -> None:
        """Close every stream, and take no more; harmless when called twice."""
        self._closed = True
        self.router.close_all()
        if self._poller is not None:
            self._poller.close()
        if self._driver is not None:
            self._driver.close()

    def _removed(self, keys: Sequence[NodeKey]) -> None:
        self.router.begin(self._clock.now())
        self.router.remove(keys)
        self._soon()

    def _siblings_changed(self) -> None:
        self.router.begin(self._clock.now())
        self.router.rekey()
        self._soon()

    def _soon(self) -> None:
        """Write what a call from outside a pass left pending, once the caller is done."""
        if self._scheduled is None and self.router.outgoing.dirty:
            self._scheduled = asyncio.get_running_loop().call_soon(self._settle_scheduled)

    def _settle_scheduled(self) -> None:
        self._scheduled = None
        self.settle()

    def _polled(self) -> Poller:
        self.router.begin(self._clock.now())
        if self._poller is None:
            self._poller = Poller(self.router, self._clock, self._relaying.budget, self.settle)
        return self._poller

    def _begin_polled(self, stream: SocketStream, owner: Outlet, rest: bytes) -> None:
        stream.owner, stream.kept = owner, rest
        self._polled().again(stream)
        self.settle()

    def _begin_attached(self, stream: AttachedStream, owner: Outlet, rest: bytes) -> AttachedStream:
        stream.owner = owner
        stream.start(rest)
        return stream

    @staticmethod
    def _refused(transport: Any) -> asyncio.Protocol:
        transport.abort()
        return asyncio.Protocol()
