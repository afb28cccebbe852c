"""Which addresses this machine has, and when its links change."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
from collections.abc import Callable, Container
from ipaddress import ip_interface, ip_network

from ghostwire.capabilities.platform import SOCKET_MARK
from ghostwire_net_linux import netlink

_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING = 0x1, 0x8, 0x40


def reachable_addresses(skipped: Container[str]) -> list[str]:
    """Global addresses of interfaces that are up, without loopback and the interfaces named in ``skipped``."""
    names = {index: name for index, name in socket.if_nameindex() if name not in skipped and _carries(name)}
    return [each.address for each in netlink.addresses() if each.usable and each.index in names]


def connected(skipped: Container[str]) -> tuple[str, ...]:
    """The networks that this machine is directly on, by other interfaces than those named in ``skipped``."""
    names = {index for index, name in socket.if_nameindex() if name not in skipped and _carries(name)}
    found = (ip_interface(f"{each.address}/{each.length}") for each in _usable() if each.index in names)
    return tuple(sorted({str(each.network) for each in found}))


def reaches(prefix: str, skipped: Container[str]) -> bool:
    """Whether an interface with a carrier, not one of those in ``skipped``, leads to hosts of that prefix: because we
    are on their network, or by a route."""
    target = ip_network(prefix)
    names = {index: name for index, name in socket.if_nameindex() if name not in skipped and _carries(name)}
    here = {each.index for each in _usable() if target.prefixlen and ip_interface(each.address).ip in target}
    some = target[target.num_addresses // 2 if target.prefixlen == 0 else min(1, target.num_addresses - 1)]
    return any(_has_carrier(names.get(index)) for index in (*here, netlink.way_to(str(some), SOCKET_MARK)))


def _usable() -> list[netlink.InterfaceAddress]:
    return [each for each in netlink.addresses() if each.usable]


def _has_carrier(name: str | None) -> bool:
    return name is not None and bool(_flags(name) & _IFF_RUNNING)


def _carries(name: str) -> bool:
    """Whether the interface is up and leads out of the machine."""
    flags = _flags(name)
    return bool(flags & _IFF_UP) and not flags & _IFF_LOOPBACK


def _flags(name: str) -> int:
    """IFF_*; 0 where there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        except OSError:
            return 0
    flags: int = struct.unpack_from("=H", answer, 16)[0]
    return flags


class LinkWatch:
    """Calls ``changed`` once links, addresses and default routes (but those of interfaces in ``ignored()``) have been
    quiet for ``settle`` s; with ``rules`` also once a rule is gone."""

    def __init__(
        self,
        changed: Callable[[], None],
        ignored: Callable[[], Container[int]],
        settle: float,
        *,
        rules: bool = False,
    ) -> None:
        self._changed, self._ignored, self._settle = changed, ignored, settle
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.rule_lost = False
        """Whether one is gone since this was last set."""
        self._monitor: socket.socket | None = netlink.open_monitor(rules=rules)
        self._loop.add_reader(self._monitor.fileno(), self._read, self._monitor)

    def _read(self, monitor: socket.socket) -> None:
        changed = netlink.changed_interfaces(monitor)
        ignored = self._ignored()
        if changed is not None and all(index in ignored for index in changed):
            return
        self.rule_lost = self.rule_lost or changed is None or netlink.RULE_LOST in changed
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
