"""The short way for packets of known flows: a few bytes of the header say all that must be known of them.

IPv4 .(6) flags and fragment offset(2) .(1) protocol(1) .(2) addresses(8) ports(4), where the header has no options
IPv6 version(1) .(5) next header(1) .(1) addresses(32) ports(4)
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ghostwire import Buffer
from ghostwire.node.flows import Flow

CAPACITY: Final = 16_384
_NO_OPTIONS: Final = 0x45
_HEAD4: Final = struct.Struct("!6xHxBxx12s").unpack_from
_HEAD6: Final = struct.Struct("!B5xBx36s").unpack_from

Head = tuple[int, int, bytes]


def heads(packets: Sequence[Buffer]) -> list[Head | None]:
    """Each packet's head; None where it is too short to have one."""
    try:
        return [_HEAD4(each) if each[0] == _NO_OPTIONS else _HEAD6(each) for each in packets]
    except (IndexError, struct.error):
        return [_head(each) for each in packets]


def _head(packet: Buffer) -> Head | None:
    try:
        return _HEAD4(packet) if packet[0] == _NO_OPTIONS else _HEAD6(packet)
    except (IndexError, struct.error):
        return None


class Shortcuts:
    """The flows behind heads, by peer; when there are too many, all are forgotten and found anew."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity, self._count = capacity, 0
        self._known: dict[int, dict[Head, Flow]] = {}

    def __len__(self) -> int:
        return self._count

    def unknown(self, peer: int, heads: Iterable[Head | None], now: int) -> Collection[Head | None]:
        """Which of these heads lead to no living flow; the flows of the others were seen now."""
        known = self._known.get(peer)
        if known is None:
            return set(heads)
        strange: set[Head | None] = set()
        for head in set(heads):
            flow = known.get(head)  # type: ignore[arg-type]
            if flow is None or not flow.touch(now):
                strange.add(head)
        return strange

    def add(self, peer: int, head: Head, flow: Flow) -> None:
        """Packets of that peer with this head belong to the flow, whatever else is in them."""
        if self._count >= self._capacity:
            self.forget()
        known = self._known.setdefault(peer, {})
        self._count += head not in known
        known[head] = flow

    def forget(self, peers: Iterable[int] | None = None) -> None:
        """Forget those of these peers, or all."""
        for peer in tuple(self._known) if peers is None else peers:
            self._count -= len(self._known.pop(peer, ()))
