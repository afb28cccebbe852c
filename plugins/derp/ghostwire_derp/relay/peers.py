"""Who is connected under which key, which of several connections is in use, and who is to be told when a key goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ghostwire_derp.frames import DISCONNECTED, PEER_GONE, frame
from ghostwire_derp.relay.client import Client
from ghostwire_derp.relay.routes import Forwarder, Routes

Changed = Callable[[bytes, bool], None]
"""Told that a key is present, or no longer."""


class Peers:
    """``active`` maps each key to the connection in use: of several, the one that sent last."""

    def __init__(self, limit: int, share: int) -> None:
        self._limit, self._share = limit, share
        self.active: dict[bytes, Client] = {}
        self.routes = Routes()
        self.on_local: list[Changed] = []
        """Called when a key connects to this process, and when its last connection goes."""
        self.on_fellow: list[Changed] = []
        """Called when a key that is not here is reached through a fellow, and when it is no longer."""
        self._several: dict[bytes, dict[Client, None]] = {}
        self._heard_by: dict[bytes, set[bytes]] = {}

    def enter(self, client: Client) -> None:
        """The client has logged in; it is in use from now on."""
        other = self.active.get(client.key)
        client.heard_by = self.heard_by(client.key)
        self.active[client.key] = client
        if other is None:
            self._tell(self.on_local, client.key, True)
        else:
            self._several.setdefault(client.key, {other: None})[client] = None

    def activate(self, client: Client) -> None:
        """The client sent something: of several it is the one in use."""
        several = self._several[client.key]
        del several[client]
        several[client] = None
        self.active[client.key] = client

    def leave(self, client: Client) -> None:
        """The client is gone."""
        several = self._several.get(client.key)
        if several is None:
            del self.active[client.key]
            self._tell(self.on_local, client.key, False)
            return self._gone(client.key)
        del several[client]
        self.active[client.key] = next(reversed(several))
        if len(several) == 1:
            del self._several[client.key]
        return None

    def connections(self, key: bytes) -> list[Client]:
        """All connections of a key."""
        return list(self._several.get(key, ())) or [self.active[key]] if key in self.active else []

    def __iter__(self) -> Iterator[Client]:
        """All connections, of several those not in use too."""
        for key in list(self.active):
            yield from self.connections(key)

    # Who heard whom

    def heard_by(self, key: bytes) -> set[bytes]:
        """The keys that got packets of this one, which need not be connected here."""
        return self._heard_by.setdefault(key, set())

    def heard_from(self, key: bytes) -> set[bytes]:
        """The same of a key at another relay; not kept where its going would never be known."""
        known = key in self.active or self.routes.best(key) is not None
        return self.heard_by(key) if known else set()

    def note(self, heard_by: set[bytes], destination: bytes) -> None:
        """Somebody's packets go to ``destination``; beyond the limit, or his share, an arbitrary other is forgotten."""
        if heard_by and len(heard_by) >= min(self._limit, self._share // (len(self._heard_by) or 1)):
            heard_by.pop()
        heard_by.add(destination)

    def _gone(self, key: bytes) -> None:
        """Nobody reaches ``key`` any more: tell those who heard from it."""
        if key in self.active or self.routes.best(key) is not None:
            return
        notice = frame(PEER_GONE, key + bytes([DISCONNECTED]))
        for other in self._heard_by.pop(key, ()):
            if (client := self.active.get(other)) is not None:
                client.put(notice)

    # Other relays

    def add_route(self, key: bytes, forwarder: Forwarder) -> None:
        """``forwarder`` reaches ``key``."""
        was = self.routes.by_fellow(key)
        self.routes.add(key, forwarder)
        self._compare(key, was)

    def remove_route(self, key: bytes, forwarder: Forwarder) -> None:
        """``forwarder`` no longer reaches ``key``."""
        was = self.routes.by_fellow(key)
        self.routes.remove(key, forwarder)
        self._compare(key, was)
        self._gone(key)

    def _compare(self, key: bytes, was: Forwarder | None) -> None:
        now = self.routes.by_fellow(key)
        if (was is None) != (now is None):
            self._tell(self.on_fellow, key, now is not None)

    @staticmethod
    def _tell(told: list[Changed], key: bytes, present: bool) -> None:
        for changed in list(told):
            changed(key, present)
