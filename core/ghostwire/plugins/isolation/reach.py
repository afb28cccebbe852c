"""Where the sockets that a stranger's plugin asks for may lead, and which ports they may have."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from ghostwire.errors import PermissionDenied

FIRST_FREE: Final = 1024
"""Below are the ports of the machine's services."""
OURS: Final = frozenset({41641, 41642})
"""The usual ports of our own transports, which nobody shall take before them."""
METADATA: Final = frozenset(map(ip_address, ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")))
"""Where clouds tell a machine its secrets, besides link-local addresses."""
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"\d{1,5}")


class Reach:
    """Of one plugin. ``table`` is its settings: a port that the operator wrote there he meant.

    ``own`` gives this machine's addresses, ``mesh`` the mesh's; ``doors`` the ports on which the plugin listens.
    """

    def __init__(
        self,
        table: Any,
        own: Callable[[], Collection[str]],
        mesh: Callable[[], Collection[str]],
        doors: Callable[[], Collection[int]],
    ) -> None:
        self._named = frozenset(_numbers(table))
        self._own, self._mesh, self._doors = own, mesh, doors

    def refusal(self, address: str, port: int) -> str:
        """Why no stream may lead there; empty where it may. ``address`` may be a name, against which nothing speaks."""
        try:
            found = ip_address(address)
        except ValueError:
            return ""
        plain = _plain(found)
        if str(plain) in self._mesh():
            return "is in the mesh, where a plugin in a process of its own has no business"
        if plain.is_link_local or plain.is_multicast or plain in METADATA:
            return "is closed to a plugin in a process of its own"
        here = plain.is_loopback or plain.is_unspecified or str(plain) in self._own()
        if here and port not in self._named and port not in self._doors():
            return (
                "is this machine, which is closed to a plugin in a process of its own unless its settings name the port"
            )
        return ""

    def meshed(self, address: Any) -> bool:
        """Whether this (host, port, ...) of a socket is in the mesh."""
        try:
            return isinstance(address, tuple) and str(_plain(ip_address(address[0]))) in self._mesh()
        except ValueError:
            return False

    def check_opening(self, host: str, port: int) -> None:
        """PermissionDenied where it may not bind this address and port."""
        if (0 < port < FIRST_FREE or port in OURS) and port not in self._named:
            raise PermissionDenied(
                f"port {port} is not for a plugin in a process of its own, unless its settings name it"
            )
        if host in self._mesh():
            raise PermissionDenied(f"{host}: is the node's address in the mesh, which is no plugin's")


def _plain(address: Any) -> Any:
    """An IPv4 address that is written as an IPv6 one."""
    if not isinstance(address, IPv6Address):
        return address
    if address in _TRANSLATED:
        return ip_address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or IPv6Address(int(address))


def _numbers(value: Any) -> Iterator[int]:
    """Every number in a table, those in texts too."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int):
        yield int(value)
    elif isinstance(value, str):
        yield from map(int, _NUMBER.findall(value))
