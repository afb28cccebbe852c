"""Which addresses this machine has, and when its links change."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import Callable, Container

from ghostwire_net_linux import netlink

_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8


def reachable_addresses(skipped: Container[str]) -> list[str]:
    """Global addresses of interfaces that are up, without loopback and the interfaces named in ``skipped``."""
    names = {index: name for index, name in socket.if_nameindex() if name not in skipped and _carries(name)}
    return [each.address for each in netlink.addresses() if each.usable and each.index in names]


def _carries(name: str) -> bool:
    """Whether the interface is up and leads out of the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        except OSError:
            return False
    flags: int = struct.unpack_from("=H", answer, 16)[0]
    return bool(flags & _IFF_UP) and not flags & _IFF_LOOPBACK


class LinkWatch:
    """Calls ``changed`` once links, addresses and default routes (but those of interfaces in ``ignored()``) have been
    quiet for ``settle`` s."""

    def __init__(self, changed: Callable[[], None], ignored: Callable[[], Container[int]], settle: float) -> None:
        self._changed, self._ignored, self._settle = changed, ignored, settle
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._monitor: socket.socket | None = netlink.open_monitor()
        self._loop.add_reader(self._monitor.fileno(), self._read, self._monitor)

    def _read(self, monitor: socket.socket) -> None:
        changed = netlink.changed_interfaces(monitor)
        ignored = self._ignored()
        if changed is not None and all(index in ignored for index in changed):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._settle, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._changed()

    def stop(self) -> None:
        """Never call ``changed`` again; harmless when called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._monitor is not None:
            self._loop.remove_reader(self._monitor.fileno())
            self._monitor.close()
            self._monitor = None
