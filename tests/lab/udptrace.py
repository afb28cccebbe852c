"""Writes down each UDP datagram of disco and WireGuard that crosses a member's link: what, which way, how long."""

from __future__ import annotations

import select
import socket
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from natlab import Lab
from netns import in_netns

from ghostwire.wire.disco import MAGIC

_ETH_P_ALL, _OUTGOING, _UDP = 0x0003, 4, 17
_WIREGUARD = {b"\x01\0\0\0": "initiation", b"\x02\0\0\0": "response", b"\x03\0\0\0": "cookie", b"\x04\0\0\0": "data"}


@dataclass(frozen=True)
class Seen:
    """``kind`` is ``disco`` or what WireGuard message it is; ``other`` the address at the far end; ``at`` monotonic."""

    at: float
    leaving: bool
    kind: str
    other: str
    datagram: bytes


class Trace:
    """Watches IPv4 on a member's ``eth0`` while the context is open."""

    def __init__(self, lab: Lab, member: str) -> None:
        with in_netns(lab.ns(member)):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            self._socket.bind(("eth0", _ETH_P_ALL))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._thread.join()
        self._socket.close()

    def of(self, kind: str, *, leaving: bool, since: float = 0.0) -> list[Seen]:
        """What was seen of this kind and direction since then."""
        return [each for each in list(self.seen) if (each.kind, each.leaving) == (kind, leaving) and each.at >= since]

    def _watch(self) -> None:
        while not self._closing.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                packet, (_, _, way, *_) = self._socket.recvfrom(1 << 16)
                self._note(packet, leaving=way == _OUTGOING)

    def _note(self, packet: bytes, *, leaving: bool) -> None:
        if packet[0] >> 4 != 4 or packet[9] != _UDP:
            return
        datagram = packet[(packet[0] & 15) * 4 + 8 :]
        kind = "disco" if datagram.startswith(MAGIC) else _WIREGUARD.get(datagram[:4])
        if kind:
            other = str(ip_address(packet[16:20] if leaving else packet[12:16]))
            self.seen.append(Seen(time.monotonic(), leaving, kind, other, datagram))
