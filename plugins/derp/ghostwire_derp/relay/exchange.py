"""The hot path: packets go on from where they were read.

A SendPacket and the RecvPacket it becomes are equally long, so that type and key are rewritten in place, and frames
for one destination that lie side by side leave as one slice. No payload is ever copied for a reader that keeps up.
"""

from __future__ import annotations

from collections.abc import Callable

from ghostwire_derp.frames import (
    FORWARD_PACKET,
    HEADER_BYTES,
    KEY_BYTES,
    MAX_DATA,
    RECV_PACKET,
    SEND_PACKET,
    forward_header,
    packet_header,
)
from ghostwire_derp.relay.client import Client, Role
from ghostwire_derp.relay.limits import MAX_PAYLOAD
from ghostwire_derp.relay.outlet import Outgoing
from ghostwire_derp.relay.peers import Peers

LARGEST_SEND = KEY_BYTES + MAX_DATA

Handle = Callable[[Client, int, memoryview], None]
"""Takes any other frame: its kind and payload. It may close the client."""
Missed = Callable[[Client, bytes, memoryview], None]
"""Told of a packet (destination and data) for a key that is connected nowhere."""


class Exchange:
    """Parses what clients and relays send from the arena, and hands each destination its slices."""

    def __init__(self, peers: Peers, outgoing: Outgoing, handle: Handle, missed: Missed) -> None:
        self._peers, self._outgoing = peers, outgoing
        self._arena, self._counters = outgoing.arena, outgoing.counters
        self._handle, self._missed = handle, missed
        self._most_asides = outgoing.limits.asides

    def packets(self, client: Client, start: int, end: int) -> int:
        """Parse a client's frames; the end of the last whole one.

        ``begin`` is where the run of frames for ``target`` begins; None where there is none. ``misses`` are packets
        for who is not here.
        """
        view, data, active, dirty = self._arena.view, self._arena.data, self._peers.active, self._outgoing.dirty
        source, heard_by = client.key, client.heard_by
        if active[source] is not client:
            self._peers.activate(client)
        unpack, put = packet_header.unpack_from, packet_header.pack_into
        target, last, begin, count, misses, asides, at = None, b"", start, 0, 0, 0, start
        while at + HEADER_BYTES <= end:
            kind, length, destination = unpack(data, at)
            after: int = at + HEADER_BYTES + length
            if after > end:
                if length > MAX_PAYLOAD:
                    client.close(client, "violation")
                break
            if kind == SEND_PACKET and KEY_BYTES <= length <= LARGEST_SEND:
                if destination != last:
                    if target is not None:
                        if not target.pending:
                            dirty.append(target)
                        target.pending.append(view[begin:at])
                    begin, last, target = at, destination, active.get(destination)
                    if destination not in heard_by and target is not None:
                        self._peers.note(heard_by, target.key)
                if target is not None:
                    put(data, at, RECV_PACKET, length, source)
                    count += 1
                else:
                    misses += 1
                    self._elsewhere(client, destination, view[at + HEADER_BYTES : after])
            else:
                if target is not None:
                    target.put(view[begin:at])
                    target, last = None, b""
                asides += 1
                self._aside(client, kind, view[at + HEADER_BYTES : after], asides)
                if client.closed:
                    return after
            at = after
        if target is not None:
            target.put(view[begin:at])
        self._counters.packets += count
        self._counters.frames += count + misses + asides
        return at

    def _aside(self, client: Client, kind: int, payload: memoryview, number: int) -> None:
        """A frame that is no packet: small ones would be much work for few bytes, and nobody needs many."""
        if number > self._most_asides:
            client.close(client, "violation")
        else:
            self._handle(client, kind, payload)

    def _elsewhere(self, client: Client, destination: bytes, packet: memoryview) -> None:
        """Nobody here has that key: another relay may."""
        route = self._peers.routes.best(destination)
        if route is None:
            self._counters.dropped_unknown_destination += 1
            self._missed(client, destination, packet)
        else:
            self._counters.forwarded += 1
            route.forward(client.key, packet)

    def forwards(self, client: Client, start: int, end: int) -> int:
        """Parse the frames of another relay; the end of the last whole one.

        A RecvPacket has one key where the ForwardPacket has two: it is written over the end of the latter's head.
        """
        view, data, active, dirty = self._arena.view, self._arena.data, self._peers.active, self._outgoing.dirty
        unpack, put = forward_header.unpack_from, packet_header.pack_into
        count, at, heard_by, last = 0, start, set[bytes](), b""
        while at + HEADER_BYTES <= end:
            kind, length, source, destination = unpack(data, at)
            after: int = at + HEADER_BYTES + length
            if after > end:
                if length > MAX_PAYLOAD:
                    client.close(client, "violation")
                break
            if kind == FORWARD_PACKET and 2 * KEY_BYTES <= length <= MAX_PAYLOAD:
                target = active.get(destination)
                if target is not None:
                    if source != last:
                        last, heard_by = source, self._peers.heard_from(source)
                    if destination not in heard_by:
                        self._peers.note(heard_by, target.key)
                    put(data, at + KEY_BYTES, RECV_PACKET, length - KEY_BYTES, source)
                    if not target.pending:
                        dirty.append(target)
                    target.pending.append(view[at + KEY_BYTES : after])
                    count += 1
                else:
                    self._onward(client, source, destination, view[at + HEADER_BYTES + KEY_BYTES : after])
            else:
                self._handle(client, kind, view[at + HEADER_BYTES : after])
                if client.closed:
                    return after
            at = after
        self._counters.packets += count
        return at

    def _onward(self, client: Client, source: bytes, destination: bytes, packet: memoryview) -> None:
        """What a sibling forwarded may be for a fellow's client; nothing else is forwarded twice."""
        route = self._peers.routes.by_fellow(destination) if client.role is Role.SIBLING else None
        if route is None:
            self._counters.dropped_unknown_forwarded += 1
        else:
            self._counters.forwarded += 1
            route.forward(source, packet)
