"""Brings one interface to exactly the addresses and MTU it should have, over netlink; runs in the child.

Only this interface is touched, and of its addresses the global ones.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ghostwire_net_linux.configure import QUEUE
from ghostwire_net_linux.journal import Journal

_IFF_UP = 1
_IFA_F_NODAD = 0x02
_SCOPE_GLOBAL = 0
_GEN_MODE_NONE = 1


class Interface:
    """The interface with this index."""

    def __init__(self, netlink: Any, journal: Journal, index: int) -> None:
        self._netlink, self._journal, self._index = netlink, journal, index

    def up(self, mtu: int) -> None:
        """Up, with this MTU and our queue."""
        link = self._link()
        if link.get("mtu") != mtu:
            self._journal.do(f"set mtu {mtu}", self._set(mtu=mtu))
        if link.get("txqlen") != QUEUE:
            self._journal.do(f"set queue {QUEUE}", self._set(txqlen=QUEUE))
        if not link["flags"] & _IFF_UP:
            self._without_link_local()
            self._journal.do("set up", self._set(state="up"))

    def down(self) -> None:
        """Down."""
        if self._link()["flags"] & _IFF_UP:
            self._journal.do("set down", self._set(state="down"))

    def addresses(self, texts: Iterable[str]) -> None:
        """Exactly these. Add before removing: the kernel drops an interface's routes with its last address."""
        wanted, held = {ipaddress.ip_interface(text) for text in texts}, self._held()
        for address in sorted(wanted - held, key=str):
            add = partial(self._address, "add", address)
            self._journal.do(f"add address {address}", add, optional=address.version == 6)
        for address in sorted(held - wanted, key=str):
            self._journal.do(f"remove address {address}", partial(self._address, "del", address))

    def _link(self) -> Any:
        return self._netlink.get_links(self._index)[0]

    def _set(self, **what: Any) -> Callable[[], object]:
        return partial(self._netlink.link, "set", index=self._index, **what)

    def _without_link_local(self) -> None:
        """No address of the kernel's own making: it would send multicast into the mesh."""
        mode = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _GEN_MODE_NONE)]})]}
        self._journal.do("disable link-local", self._set(IFLA_AF_SPEC=mode), optional=True)

    def _held(self) -> set[Any]:
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
