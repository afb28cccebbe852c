"""Hears a router tell of itself: after a start, and when its outside address changes, it says so on UDP port 5350."""

from __future__ import annotations

from collections.abc import Callable

from ghostwire.errors import GhostwireError
from ghostwire.node.portmap import nat_pmp, pcp
from ghostwire.node.portmap.asking import CONTROL_PORT, Address
from ghostwire.node.portmap.udp import Port, Ports

CLIENT_PORT = 5350
"""Where NAT-PMP (RFC 6886 §3.2.1) and PCP (RFC 6887 §14.1.3) send announcements, to the group of all hosts."""


class Announcements:
    """Gives epoch and outside address (empty: not told) of one gateway's announcements to ``heard``."""

    def __init__(self, ports: Ports, heard: Callable[[int, str], None]) -> None:
        self._ports, self._heard = ports, heard
        self._gateway = ""
        self._port: Port | None = None

    def listen(self, gateway: str) -> None:
        """Listen to this gateway alone; another program may have the port, then it is gone without."""
        self._gateway = gateway
        if self._port is None:
            try:
                self._port = self._ports.open(CLIENT_PORT, self._received)
            except GhostwireError:
                return

    def close(self) -> None:
        """Listen no more; harmless when called twice."""
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _received(self, source: Address, data: bytes) -> None:
        if source != (self._gateway, CONTROL_PORT):
            return
        told = nat_pmp.announced(data) or pcp.announced(data)
        if told is not None:
            self._heard(*told)
