"""Any Linux platform, judged in a network namespace and seen with iproute2 and ordinary sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any

from ghostwire.capabilities.platform import NetworkConfig, Platform
from ghostwire.testing.conformance.installed import OfInstalled
from ghostwire.testing.contracts.platform import PlatformContract, System
from ghostwire.testing.namespace import in_namespace


class Kernel(System):
    """Linux, seen with iproute2 and ordinary sockets."""

    def observe(self) -> NetworkConfig | None:
        """What `ip` shows of the interface, in all tables, without what the kernel adds by itself."""
        link = next((each for each in _ip("link") if each["ifname"] == "gwtest0"), None)
        if link is None:
            return None
        (described,) = _ip("address", "show", "dev", "gwtest0")
        held = [each for each in described["addr_info"] if each["scope"] != "link"]
        addresses = tuple(f"{each['local']}/{each['prefixlen']}" for each in held)
        shown = [(each, _ip(each, "route", "show", "table", "all", "dev", "gwtest0")) for each in ("-4", "-6")]
        routes = [_prefix(route["dst"], version) for version, found in shown for route in found if _leads(route)]
        ours = tuple(route for route in routes if not _automatic(route, addresses))
        return NetworkConfig("gwtest0", link["mtu"], addresses, ours)

    def listen(self) -> None:
        """Open UDP port 9."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(("100.64.0.2", 9))

    def send(self, address: str, port: int, data: bytes) -> None:
        """Send from it."""
        self.socket.sendto(data, (address, port))

    async def receive(self) -> tuple[str, bytes]:
        """The next payload, and its source."""
        data, source = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return source[0], data


class InstalledLinuxPlatform(OfInstalled, PlatformContract):
    """A platform in a namespace of its own; skipped where this machine allows none."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """In a forked process."""
        in_namespace(main)

    async def make(self) -> tuple[Platform, System]:
        """The platform, and Linux."""
        return await super().make(), Kernel()


def _ip(*arguments: str) -> Any:
    return json.loads(subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout)


def _leads(route: dict[str, Any]) -> bool:
    return route.get("table") != "local" and route.get("type", "unicast") == "unicast"


def _prefix(shown: str, version: str) -> str:
    if shown == "default":
        return "0.0.0.0/0" if version == "-4" else "::/0"
    return shown


def _automatic(route: str, addresses: tuple[str, ...]) -> bool:
    """What the kernel adds by itself for each address and multicast."""
    return route.startswith(("fe80:", "ff00:")) or f"{route}/128" in addresses or f"{route}/32" in addresses
