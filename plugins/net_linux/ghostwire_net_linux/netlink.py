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
from itertools import chain
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
_NEW_RULE, _DELETED_RULE = 32, 33
_REQUEST, _REQUEST_DUMP = 0x1, 0x301
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_MARK = 1, 4, 5, 6, 9, 16
_MAIN_TABLE, _UNICAST = 254, 1
_DEAD_FLAGS = 0x01 | 0x10
"""RTNH_F_DEAD, RTNH_F_LINKDOWN."""
_SOL_NETLINK, _STRICT_CHECK = 270, 12
"""With NETLINK_GET_STRICT_CHK the kernel dumps what matches the request's header alone."""
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR."""
_RULE_GROUPS = (8, 19)
"""RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE."""
_ADD_MEMBERSHIP = 1
_NETLINK_NETFILTER, _NFTABLES_GROUP, _NFGENMSG = 12, 7, 4
_NEW_TABLE, _DELETED_TABLE, _NFTA_TABLE_NAME = 10 << 8, 10 << 8 | 2, 1
"""Layouts: linux/netfilter/nfnetlink.h, nf_tables.h."""
RULE_LOST = -1
"""Stands among the indexes of `changed_interfaces` for a rule that is no more."""
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
    length: int = 0
    """Of the prefix of its network."""

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


def way_to(address: str, mark: int) -> int:
    """The index of the interface by which packets with this mark go to that address; 0 where there is no way."""
    target = ipaddress.ip_address(address)
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, target.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += _attribute(_RTA_DST, target.packed) + _attribute(_RTA_MARK, struct.pack("=I", mark))
    found = chain.from_iterable(_ask(_GET_ROUTE, _REQUEST, body, _NEW_ROUTE, _way))
    return next(found, 0)


def _way(payload: memoryview) -> Iterator[int]:
    kind = _ROUTE.unpack_from(payload)[7]
    found = _attributes(payload[_ROUTE.size :])
    if kind == _UNICAST and _RTA_OIF in found:
        yield _number(found[_RTA_OIF])


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data


def _dump(request: int, body: bytes, wanted: int, parse: Callable[[memoryview], Iterator[Parsed]]) -> Iterator[Parsed]:
    return chain.from_iterable(_ask(request, _REQUEST_DUMP, body, wanted, parse))


def _ask(
    request: int, flags: int, body: bytes, wanted: int, parse: Callable[[memoryview], Iterator[Parsed]]
) -> Iterator[Iterator[Parsed]]:
    """What each message of the answer holds."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as dump:
        dump.settimeout(2)
        with suppress(OSError):  # older kernels dump everything
            dump.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        dump.bind((0, 0))
        dump.send(_HEADER.pack(_HEADER.size + len(body), request, flags, 1, 0) + body)
        while True:
            for kind, payload in messages(dump.recv(_RECEIVE_BYTES)):
                if kind in (_DONE, _ERROR):
                    return
                if kind == wanted:
                    yield parse(payload)
                if flags == _REQUEST:
                    return


def open_table_monitor() -> socket.socket:
    """A non-blocking socket that gets a message whenever nftables change."""
    monitor = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    try:
        monitor.bind((0, 0))
        monitor.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP)
    except BaseException:
        monitor.close()
        raise
    return monitor


def changed_tables(monitor: socket.socket) -> dict[str, bool] | None:
    """Drain the monitor: names of tables that came (True) or went, by what happened last; None where the kernel lost
    some messages."""
    changed: dict[str, bool] = {}
    for data in _drained(monitor):
        if data is None:
            return None
        for kind, payload in messages(data):
            if kind in (_NEW_TABLE, _DELETED_TABLE):
                name = bytes(_attributes(payload[_NFGENMSG:]).get(_NFTA_TABLE_NAME, b""))
                changed[name.rstrip(b"\0").decode(errors="replace")] = kind == _NEW_TABLE
    return changed


def _drained(monitor: socket.socket) -> Iterator[bytes | None]:
    """What waits there from the kernel; None where some was lost."""
    while True:
        try:
            data, (sender, _) = monitor.recvfrom(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            yield None
            return
        if sender == 0:
            yield data


def open_monitor(*, rules: bool = False) -> socket.socket:
    """A non-blocking socket that gets a message whenever a link, an address or an IPv4 route changes; with ``rules``
    also when a rule does."""
    monitor = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        monitor.bind((0, _GROUPS))
        for group in _RULE_GROUPS if rules else ():
            monitor.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except BaseException:
        monitor.close()
        raise
    return monitor


def changed_interfaces(monitor: socket.socket) -> set[int] | None:
    """Drain the monitor: indexes of the interfaces that changed, or that a default route leads or led out of, and
    `RULE_LOST`; None where the kernel lost some messages."""
    changed: set[int] = set()
    for data in _drained(monitor):
        if data is None:
            return None
        changed.update(index for kind, payload in messages(data) for index in _interfaces(kind, payload))
    return changed


def _interfaces(kind: int, payload: memoryview) -> Iterator[int]:
    """The index, which ifinfomsg and ifaddrmsg keep in the same place; of routes only the default ones count."""
    if kind in (_NEW_ROUTE, _DELETED_ROUTE):
        if len(payload) >= _ROUTE.size:
            yield from (route.index for route in _default_route(payload))
    elif kind == _DELETED_RULE:
        yield RULE_LOST
    elif kind == _NEW_RULE:
        return
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
    family, length, flags, scope, index = _IFADDR.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    found = _attributes(payload[_IFADDR.size :])
    raw = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS))
    if raw is not None:
        if _IFA_FLAGS in found:
            flags = struct.unpack("=I", found[_IFA_FLAGS])[0]
        yield InterfaceAddress(index, str(ipaddress.ip_address(bytes(raw))), flags, scope, length)


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
