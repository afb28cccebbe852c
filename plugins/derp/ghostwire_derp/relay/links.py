"""A stream to another relay, opened by us: packets for its clients go out, what it says is handed to the mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ghostwire import Buffer
from ghostwire_derp.frames import FORWARD_PACKET, HEADER_BYTES, KEY_BYTES, MAX_FRAME, header
from ghostwire_derp.relay.outlet import Outgoing, Outlet, Stream


class LinkEvents(Protocol):
    """What whoever opened the link provides."""

    def frame(self, kind: int, payload: bytes) -> None:
        """A frame of the other relay."""

    def lost(self) -> None:
        """The stream is over; called once, whoever ended it."""


class Link(Outlet):
    """A `Forwarder` whose packets leave with the pass that brought them, from where they were read."""

    __slots__ = ("_events", "_unlink", "fellow")
    for_relay = True

    def __init__(
        self,
        outgoing: Outgoing,
        stream: Stream,
        events: LinkEvents,
        unlink: Callable[[Link], None],
        *,
        fellow: bool,
    ) -> None:
        super().__init__(outgoing)
        self.stream, self.fellow = stream, fellow
        self._events, self._unlink = events, unlink
        self.parse = self._parse

    def forward(self, source: bytes, packet: Buffer) -> None:
        """Send a ForwardPacket; ``packet`` is the destination's key and data."""
        if not self.closed:
            self.put(header.pack(FORWARD_PACKET, KEY_BYTES + len(packet)) + source, packet)

    def send(self, frame: bytes) -> None:
        """Send a whole frame; nothing happens once the link is closed."""
        if not self.closed:
            self.put(frame)
            self.outgoing.wake()

    def close(self) -> None:
        """End the stream; harmless when called twice."""
        if not self.closed:
            self._unlink(self)
            self._events.lost()

    def lost(self) -> None:
        """The stream is over."""
        self.close()

    def give_up(self) -> None:
        """The other relay does not read."""
        self.close()

    def _parse(self, _link: Link, start: int, end: int) -> int:
        arena = self.outgoing.arena
        at = start
        while at + HEADER_BYTES <= end and not self.closed:
            kind, length = header.unpack_from(arena.data, at)
            after = at + HEADER_BYTES + length
            if length > MAX_LINK_FRAME:
                self.close()
            if after > end:
                break
            self._events.frame(kind, bytes(arena.view[at + HEADER_BYTES : after]))
            at = after
        return at


MAX_LINK_FRAME = 128 * 1024
"""What another relay says to us is short: it sends no packets here."""
assert MAX_LINK_FRAME < MAX_FRAME
