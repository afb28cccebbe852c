"""The little of rtnetlink that a running node needs: dump addresses and default routes, and hear of changes.

Everything else is the configuring child's, which has a whole netlink library. Layouts: linux/netlink.h,
linux/rtnetlink.h, linux/if_addr.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

Parsed = TypeVar("Parsed")

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, prefix lengths to and from, tos, table, protocol, scope, type, flags
_NEXT_HOP = struct.Struct("=HBBI")  # length, flags, hops, interface index
_ATTRIBUTE = struct.Struct("=HH")  # length, type

_ERROR, _DONE = 2, 3
_GET_ADDRESS, _NEW_ADDRESS = 22, 20
_GET_ROUTE, _NEW_ROUTE, _DELETED_ROUTE = 26, 24, 25
_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH = 4, 5, 6, 9
_MAIN_TABLE, _UNICAST = 254, 1
_DEAD_FLAGS = 0x01 | 0x10
"""RTNH_F_DEAD, RTNH_F_LINKDOWN."""
_SOL_NETLINK, _STRICT_CHECK = 270, 12
"""With NETLINK_GET_STRICT_CHK the kernel dumps what matches the request's header alone."""
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR."""
_SKIPPED_FLAGS = 0x08 | 0x20 | 0x40
"""IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE."""
_RECEIVE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address and the index of its interface; ``flags`` are IFA_F_*, ``scope`` is RT_SCOPE_* (0: global)."""

    index: int
    address: str
    flags: int
    scope: int

    @property
    def usable(self) -> bool:
        """Whether other machines could send to it."""
        return self.scope == 0 and not self.flags & _SKIPPED_FLAGS


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A way out of this machine: the index of its interface, the router's IPv4 address, and its metric."""

    index: int
    gateway: str
    metric: int


def addresses() -> list[InterfaceAddress]:
    """Every address of this network namespace, in the kernel's order."""
    return list(_dump(_GET_ADDRESS, _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0), _NEW_ADDRESS, _address))


def default_routes() -> list[DefaultRoute]:
    """IPv4 routes of the main table that lead everywhere by a router and are up, the preferred one first."""
    header = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _MAIN_TABLE, 0, 0, 0, 0)
    return sorted(_dump(_GET_ROUTE, header, _NEW_ROUTE, _default_route), key=lambda route: route.metric)


def _dump(request: int, body: bytes, wanted: int, parse: Callable[[memoryview], Iterator[Parsed]]) -> Iterator[Parsed]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as dump:
        dump.settimeout(2)
        with suppress(OSError):  # older kernels dump everything
            dump.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        dump.bind((0, 0))
        dump.send(_HEADER.pack(_HEADER.size + len(body), request, _REQUEST_DUMP, 1, 0) + body)
        while True:
            for kind, payload in messages(dump.recv(_RECEIVE_BYTES)):
                if kind in (_DONE, _ERROR):
                    return
                if kind == wanted:
                    yield from parse(payload)


def open_monitor() -> socket.socket:
    """A non-blocking socket that gets a message whenever a link, an address or an IPv4 route changes."""
    monitor = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        monitor.bind((0, _GROUPS))
    except BaseException:
        monitor.close()
        raise
    return monitor


def changed_interfaces(monitor: socket.socket) -> set[int] | None:
    """Drain the monitor: indexes of the interfaces that changed, or that a default route leads or led out of; None
    where the kernel lost some messages."""
    changed: set[int] = set()
    while True:
        try:
            data, (sender, _) = monitor.recvfrom(_RECEIVE_BYTES)
        except BlockingIOError:
            return changed
        except OSError:
            return None
        if sender == 0:
            changed.update(index for kind, payload in messages(data) for index in _interfaces(kind, payload))


def _interfaces(kind: int, payload: memoryview) -> Iterator[int]:
    """The index, which ifinfomsg and ifaddrmsg keep in the same place; of routes only the default ones count."""
    if kind in (_NEW_ROUTE, _DELETED_ROUTE):
        if len(payload) >= _ROUTE.size:
            yield from (route.index for route in _default_route(payload))
    elif len(payload) >= _IFADDR.size:
        yield struct.unpack_from("=I", payload, 4)[0]


def messages(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Type and payload of each netlink message in a datagram; stops at the first that makes no sense."""
    view, start = memoryview(data), 0
    while start + _HEADER.size <= len(view):
        length, kind, *_ = _HEADER.unpack_from(view, start)
        if not _HEADER.size <= length <= len(view) - start:
            return
        yield kind, view[start + _HEADER.size : start + length]
        start += _align(length)


def _attributes(data: memoryview) -> dict[int, memoryview]:
    found, start = {}, 0
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[start + _ATTRIBUTE.size : start + length]
        start += _align(length)
    return found


def _address(payload: memoryview) -> Iterator[InterfaceAddress]:
    family, _, flags, scope, index = _IFADDR.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    found = _attributes(payload[_IFADDR.size :])
    raw = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS))
    if raw is not None:
        if _IFA_FLAGS in found:
            flags = struct.unpack("=I", found[_IFA_FLAGS])[0]
        yield InterfaceAddress(index, str(ipaddress.ip_address(bytes(raw))), flags, scope)


def _default_route(payload: memoryview) -> Iterator[DefaultRoute]:
    family, length, _, _, table, _, _, kind, flags = _ROUTE.unpack_from(payload)
    if (family, length, table, kind) != (socket.AF_INET, 0, _MAIN_TABLE, _UNICAST):
        return
    found = _attributes(payload[_ROUTE.size :])
    metric = _number(found[_RTA_PRIORITY]) if _RTA_PRIORITY in found else 0
    hops = _next_hops(found[_RTA_MULTIPATH]) if _RTA_MULTIPATH in found else [(flags, found)]
    for state, hop in hops:
        if _RTA_GATEWAY in hop and _RTA_OIF in hop and not state & _DEAD_FLAGS:
            yield DefaultRoute(_number(hop[_RTA_OIF]), str(ipaddress.IPv4Address(bytes(hop[_RTA_GATEWAY]))), metric)


def _next_hops(data: memoryview) -> Iterator[tuple[int, dict[int, memoryview]]]:
    """Flags and attributes of each router of a route that has several; the interface among the attributes."""
    start = 0
    while start + _NEXT_HOP.size <= len(data):
        length, flags, _, _ = _NEXT_HOP.unpack_from(data, start)
        if length < _NEXT_HOP.size:
            return
        found = _attributes(data[start + _NEXT_HOP.size : start + length])
        yield flags, {**found, _RTA_OIF: data[start + 4 : start + 8]}
        start += _align(length)


def _number(data: memoryview) -> int:
    number: int = struct.unpack("=I", data)[0]
    return number


def _align(length: int) -> int:
    return (length + 3) & ~3
