"""Where keys that are not connected to this process can be reached: through links to other relays.

What a link gives the relay, and the relay a link:

    relay.take_link(socket, events, fellow=..)       a `Link` on a raw non-blocking socket: the fast path
    relay.attach_link(transport, events, fellow=..)  the same on any asyncio transport, whose protocol it becomes
    events.frame(kind, payload)    each frame the other relay sent: ServerKey, ServerInfo, PeerPresent, PeerGone, ..
    events.lost()                  the stream is over, whoever ended it; its routes are gone already
    link.send(frame)               whole frames: ClientInfo, WatchConns, Pong, ..
    link.close()
    relay.add_route(key, link)     PeerPresent: packets for this key that is not connected here go to the link
    relay.remove_route(key, link)  PeerGone

Whoever is connected here is served here, whatever the routes say. Frames are forwarded once: what another relay
forwarded goes to a client of this process, or of a *fellow* (another worker process of the same relay), and never
from a fellow to anyone but a client. So siblings are told of the clients of all fellows, and fellows of this process's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ghostwire import Buffer


class Forwarder(Protocol):
    """Takes packets for keys connected to another relay; ``fellow`` says whether that is a process of this one."""

    fellow: bool

    def forward(self, source: bytes, packet: Buffer) -> None:
        """Pass on ``packet``, the destination's key (32) and data, as sent by ``source``; or drop it and count.

        ``packet`` is a view of memory that is used anew once the call returns: copy what is kept.
        """


class Routes:
    """Forwarders by key. A key may be at several relays for a while: fellows first, then whoever said so last."""

    def __init__(self) -> None:
        self._forwarders: dict[bytes, list[Forwarder]] = {}

    def add(self, key: bytes, forwarder: Forwarder) -> None:
        """``forwarder`` reaches ``key``."""
        held = self._forwarders.setdefault(key, [])
        if forwarder in held:
            held.remove(forwarder)
        held.insert(0, forwarder)
        held.sort(key=lambda other: not other.fellow)

    def remove(self, key: bytes, forwarder: Forwarder) -> None:
        """``forwarder`` no longer reaches ``key``; harmless where it never did."""
        held = self._forwarders.get(key, [])
        if forwarder in held:
            held.remove(forwarder)
            if not held:
                del self._forwarders[key]

    def of(self, forwarder: Forwarder) -> list[bytes]:
        """The keys that this forwarder reaches."""
        return [key for key, held in self._forwarders.items() if forwarder in held]

    def best(self, key: bytes) -> Forwarder | None:
        """Through whom to reach ``key`` now."""
        held = self._forwarders.get(key)
        return held[0] if held else None

    def by_fellow(self, key: bytes) -> Forwarder | None:
        """The fellow that reaches ``key``, if one does."""
        best = self.best(key)
        return best if best is not None and best.fellow else None

    def fellows(self) -> Iterator[bytes]:
        """The keys that are connected to fellows."""
        return (key for key, held in self._forwarders.items() if held[0].fellow)
