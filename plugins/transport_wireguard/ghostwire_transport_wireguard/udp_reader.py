"""Reads one UDP socket in bursts: what the kernel joined (UDP_GRO) arrives in one system call."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

from ghostwire import BURST, Receive
from ghostwire_transport_wireguard.udp_counters import UdpCounters
from ghostwire_transport_wireguard.udp_options import JOINED_BYTES, LARGEST_DATAGRAM, UDP_GRO, allows

_CONTROL_SPACE = socket.CMSG_SPACE(4)
_TRUNCATED = int(socket.MSG_TRUNC)  # a plain number: the enum's operators would cost more than the read


class UdpReader:
    """Reads one socket in bursts into one buffer and hands on what came from one source together."""

    def __init__(self, source: socket.socket, known: Any, receive: Receive, counters: UdpCounters) -> None:
        self._socket, self._known, self._receive, self._counters = source, known, receive, counters
        self._buffer = memoryview(bytearray(3 * (JOINED_BYTES + 1)))
        allows(source, UDP_GRO, 1)

    def drain(self) -> None:
        """Read up to `BURST` times or until nothing waits."""
        used, count = 0, 0
        last: Any = None
        batch: list[memoryview] = []
        while count < BURST:
            if len(self._buffer) - used <= JOINED_BYTES:
                self._deliver(last, batch)
                used, batch = 0, []
            try:
                size, control, flags, address = self._socket.recvmsg_into([self._buffer[used:]], _CONTROL_SPACE)
            except BlockingIOError:
                break
            except OSError:
                self._counters.errors += 1
                count += 1
                continue
            if address != last:
                self._deliver(last, batch)
                last, batch = address, []
            count += self._cut(used, size, control, flags, batch)
            used += size
        self._deliver(last, batch)

    def _cut(self, start: int, size: int, control: Sequence[Any], flags: int, batch: list[memoryview]) -> int:
        """Add what one read brought (one datagram, or several that the kernel joined); how many, at least 1."""
        segment: int = struct.unpack_from("=i", control[0][2])[0] if control else size
        if not 0 < segment <= LARGEST_DATAGRAM or flags & _TRUNCATED:
            self._counters.refused += 1
            return 1
        self._counters.received_bytes += size
        whole = self._buffer[start : start + size]
        pieces = [whole[at : at + segment] for at in range(0, size, segment)]
        batch += pieces
        return len(pieces)

    def _deliver(self, source: Any, batch: list[memoryview]) -> None:
        if not batch:
            return
        self._counters.received += len(batch)
        path = self._known(source)
        for start in range(0, len(batch), BURST):
            self._receive(path, batch[start : start + BURST])
