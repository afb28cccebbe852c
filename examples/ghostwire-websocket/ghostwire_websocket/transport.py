"""The transport `websocket`."""

from __future__ import annotations

from collections.abc import Sequence

from ghostwire import Buffer, Listening, Path, Receive, Transport, TransportContext
from ghostwire.errors import ConfigError
from ghostwire_websocket.connection import Connection
from ghostwire_websocket.counters import Counters
from ghostwire_websocket.dialler import Dialler
from ghostwire_websocket.door import Door
from ghostwire_websocket.endpoint import MAX_TEXT, Endpoint, Url
from ghostwire_websocket.identity import Identity
from ghostwire_websocket.path import WebSocketPath
from ghostwire_websocket.remote import Remote
from ghostwire_websocket.settings import Settings

REMOTES = 1024
"""Nodes that are remembered at a time; those without a connection make room."""


class WebSocketTransport(Transport):
    """Dials nodes at their URLs, and is dialled where the settings say so."""

    name = "websocket"

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._url = _public(context.settings)
        self.counters = Counters()
        self.counters.register(context.metrics)
        self._remotes: dict[Endpoint, Remote] = {}
        self._receive: Receive | None = None
        self._listening: Listening | None = None
        self._door: Door | None = None
        self._own: Endpoint | None = None
        context.metrics.gauge(
            "ghostwire_plugin_websocket_connected",
            "Nodes with an open connection.",
            lambda: sum(remote.connected for remote in self._remotes.values()),
        )

    async def start(self, receive: Receive) -> None:
        """Listen where the settings say so; StateError, PlatformError or PermissionDenied where that fails."""
        context = self._context
        key = Identity.load(context.state, context.entropy)
        self._own = Endpoint(self._url, key.pin)
        if context.settings.listen:
            await self._listen(key)
        self._dialler = Dialler(context, self._own, key)
        self._receive = receive

    def endpoints(self) -> Sequence[str]:
        """The URL with the pin, where this node can be dialled."""
        return () if self._own is None or self._own.url is None else (str(self._own),)

    def path(self, endpoint: str) -> WebSocketPath:
        """The path to ``wss://HOST[:PORT][/PATH]#HEX``, or to the dialler ``#HEX``; ValueError for other texts."""
        target = Endpoint.parse(endpoint)
        if target.url is not None and not self._context.settings.plain:
            if not target.url.tls:
                raise ValueError(f"not a wss:// endpoint: {endpoint[:90]!r}")
            if target.url.private:
                raise ValueError(f"leads to this machine itself: {endpoint[:90]!r}")
        return WebSocketPath(target, self._send)

    async def close(self) -> None:
        """End all connections."""
        self._receive = self._own = None
        if self._listening is not None:
            self._listening.close()
        if self._door is not None:
            self._door.close()
        for remote in self._remotes.values():
            remote.close()
        self._remotes.clear()
        self._listening = self._door = None

    async def _listen(self, key: Identity) -> None:
        """The endpoint is known once the port is; until then nobody can have been told of it."""
        host, port = self._context.settings.address
        self._listening = await self._context.sockets.listen(lambda: self._made_door().make(), host, port)
        if self._url is None:
            self._own = Endpoint(Url(tls=False, host=host, port=self._listening.port, path="/"), key.pin)
        assert self._own is not None
        self._door = Door(self._context, self._own, key, self.counters, self._admit)

    def _made_door(self) -> Door:
        assert self._door is not None
        return self._door

    def _admit(self, connection: Connection) -> None:
        peer = connection.session.peer
        remote = self._remote(peer) if peer is not None and peer != self._own else None
        if remote is None:
            connection.abort()
        else:
            remote.take(connection)

    def _send(self, target: Endpoint, datagrams: Sequence[Buffer]) -> bool:
        if self._receive is None:
            return False
        remote = self._remotes.get(target)
        if remote is None and target.url is not None:
            remote = self._remote(target)
        if remote is None:
            self.counters.dropped_away += len(datagrams)
            return False
        return remote.send(datagrams)

    def _remote(self, target: Endpoint) -> Remote | None:
        """The node there; None where too many are remembered."""
        found = self._remotes.get(target)
        if found is None:
            if len(self._remotes) >= REMOTES:
                self._remotes = {each: remote for each, remote in self._remotes.items() if not remote.idle}
            if len(self._remotes) >= REMOTES:
                return None
            path = WebSocketPath(target, self._send)
            found = Remote(path, self._dialler, self._context, self.counters, self._deliver)
            self._remotes[target] = found
        return found

    def _deliver(self, source: Path, datagrams: Sequence[Buffer]) -> None:
        if self._receive is not None:
            self._receive(source, datagrams)


def _public(settings: Settings) -> Url | None:
    """Where peers find this node; ConfigError where that is no URL that they can use."""
    if not settings.url:
        return None
    try:
        url = Url.parse(settings.url)
    except ValueError as error:
        raise ConfigError(str(error), key="plugin.websocket.url") from None
    if not (url.tls or settings.plain) or len(str(url)) > MAX_TEXT - 65:
        raise ConfigError(f"a wss:// URL of at most {MAX_TEXT - 65} characters expected", key="plugin.websocket.url")
    return url
