"""Brings one interface to exactly the addresses, routes and MTU it should have, over netlink.

Runs in the configuring child. Only this interface is ever touched, and on it only global addresses and the routes
that carry our protocol number.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable
from functools import partial
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ghostwire_net_linux.configure import QUEUE, ROUTE_PROTOCOL, Answer, Request

_IFF_UP = 1
_IFA_F_NODAD = 0x02
_SCOPE_GLOBAL = 0
_GEN_MODE_NONE = 1
_NO_IPV6 = frozenset({errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def carry_out(request: Request) -> Answer:
    """Do what the request says; errors become the answer's text."""
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=request.interface)
        if not found:
            return Answer(error=f"interface {request.interface} does not exist")
        work = _Work(netlink, found[0], request)
        try:
            work.run()
        except NetlinkError as error:
            text = f"interface {request.interface}: {work.doing}: {error.args[-1]}"
            return Answer(tuple(work.changes), tuple(work.skipped), text, error.code == errno.EPERM)
        except _RouteTaken as taken:
            text = (
                f"interface {request.interface}: {taken} is routed to another one already; does another node run here?"
            )
            return Answer(tuple(work.changes), tuple(work.skipped), text)
        return Answer(tuple(work.changes), tuple(work.skipped))


class _RouteTaken(Exception):
    """The prefix has a route, and it is not ours."""


class _Work:
    def __init__(self, netlink: Any, index: int, request: Request) -> None:
        self._netlink, self._index, self._request = netlink, index, request
        self.changes: list[str] = []
        self.skipped: list[str] = []
        self.doing = "reading"

    def run(self) -> None:
        wanted = self._request if self._request.up else Request(self._request.interface, 0, (), ())
        self._routes_away(_prefixes(wanted.routes))
        self._addresses(_interfaces(wanted.addresses))
        self._link(wanted.mtu)
        self._routes_in(_prefixes(wanted.routes))

    def _do(self, what: str, call: Callable[[], object], *, optional: bool = False) -> None:
        self.doing = what
        try:
            call()
        except NetlinkError as error:
            if error.code in (errno.EEXIST, errno.ESRCH, errno.EADDRNOTAVAIL) and not optional:
                return
            if not optional or error.code not in _NO_IPV6:
                raise
            self.skipped.append(f"{what}: {error.args[-1]}")
            return
        self.changes.append(what)

    def _link(self, mtu: int) -> None:
        link = self._netlink.get_links(self._index)[0]
        up = bool(link["flags"] & _IFF_UP)
        if mtu and link.get("mtu") != mtu:
            self._do(f"set mtu {mtu}", lambda: self._netlink.link("set", index=self._index, mtu=mtu))
        if self._request.up and link.get("txqlen") != QUEUE:
            self._do(f"set queue {QUEUE}", lambda: self._netlink.link("set", index=self._index, txqlen=QUEUE))
        if self._request.up and not up:
            self._without_link_local()
            self._do("set up", lambda: self._netlink.link("set", index=self._index, state="up"))
        if not self._request.up and up:
            self._do("set down", lambda: self._netlink.link("set", index=self._index, state="down"))

    def _without_link_local(self) -> None:
        """No address of the kernel's own making: it would send multicast into the mesh."""
        mode = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _GEN_MODE_NONE)]})]}
        self._do(
            "disable link-local",
            lambda: self._netlink.link("set", index=self._index, IFLA_AF_SPEC=mode),
            optional=True,
        )

    def _addresses(self, wanted: set[Any]) -> None:
        """Add before removing: the kernel drops an interface's routes with its last address."""
        held = self._held_addresses()
        for address in sorted(wanted - held, key=str):
            add = partial(self._address, "add", address)
            self._do(f"add address {address}", add, optional=address.version == 6)
        for address in sorted(held - wanted, key=str):
            self._do(f"remove address {address}", partial(self._address, "del", address))

    def _held_addresses(self) -> set[Any]:
        return {
            ipaddress.ip_interface(f"{message.get('local') or message.get('address')}/{message['prefixlen']}")
            for message in self._netlink.get_addr(index=self._index)
            if message["scope"] == _SCOPE_GLOBAL
        }

    def _address(self, command: str, address: Any) -> None:
        extra = {"flags": _IFA_F_NODAD} if address.version == 6 and command == "add" else {}
        self._netlink.addr(
            command, index=self._index, address=str(address.ip), prefixlen=address.network.prefixlen, **extra
        )

    def _routes_away(self, wanted: set[Any]) -> None:
        for prefix in sorted(self._held_routes(proto=ROUTE_PROTOCOL) - wanted, key=str):
            self._do(f"remove route {prefix}", partial(self._route, "del", prefix))

    def _routes_in(self, wanted: set[Any]) -> None:
        for prefix in sorted(wanted - self._held_routes(proto=ROUTE_PROTOCOL), key=str):
            self._do(
                f"add route {prefix}",
                partial(self._add_route, prefix),
                optional=prefix.version == 6,
            )

    def _held_routes(self, **match: int) -> set[Any]:
        held = set()
        for family, default in ((2, "0.0.0.0"), (10, "::")):
            for message in self._netlink.get_routes(family=family, oif=self._index, **match):
                held.add(ipaddress.ip_network(f"{message.get('dst') or default}/{message['dst_len']}"))
        return held

    def _add_route(self, prefix: Any) -> None:
        try:
            self._route("add", prefix)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            if prefix not in self._held_routes():
                raise _RouteTaken(prefix) from None

    def _route(self, command: str, prefix: Any) -> None:
        self._netlink.route(command, dst=str(prefix), oif=self._index, proto=ROUTE_PROTOCOL, scope=_scope(prefix))


def _scope(prefix: Any) -> int:
    return 253 if prefix.version == 4 else 0


def _interfaces(texts: tuple[str, ...]) -> set[Any]:
    return {ipaddress.ip_interface(text) for text in texts}


def _prefixes(texts: tuple[str, ...]) -> set[Any]:
    return {ipaddress.ip_network(text) for text in texts}
