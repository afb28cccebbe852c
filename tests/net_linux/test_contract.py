"""The Linux platform keeps the promises of every platform, in a namespace of its own."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ghostwire import NetworkConfig, Platform
from ghostwire.testing.contracts import PlatformContract, System

from .conftest import make_platform

pytestmark = pytest.mark.lab


def ip(*arguments: str) -> Any:
    return json.loads(subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout)


class Kernel(System):
    """Linux, seen with iproute2 and ordinary sockets."""

    def observe(self) -> NetworkConfig | None:
        link = next((each for each in ip("link") if each["ifname"] == "gwtest0"), None)
        if link is None:
            return None
        (shown,) = ip("address", "show", "dev", "gwtest0")
        held = [each for each in shown["addr_info"] if each["scope"] != "link"]
        addresses = tuple(f"{each['local']}/{each['prefixlen']}" for each in held)
        routes = [route["dst"] for version in ("-4", "-6") for route in ip(version, "route", "show", "dev", "gwtest0")]
        ours = tuple(route for route in routes if not self._automatic(route, addresses))
        return NetworkConfig("gwtest0", link["mtu"], addresses, ours)

    def _automatic(self, route: str, addresses: tuple[str, ...]) -> bool:
        """What the kernel adds by itself for each address and multicast."""
        return route.startswith(("fe80:", "ff00:")) or f"{route}/128" in addresses or f"{route}/32" in addresses

    def listen(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(("100.64.0.2", 9))

    def send(self, address: str, port: int, data: bytes) -> None:
        self.socket.sendto(data, (address, port))

    async def receive(self) -> tuple[str, bytes]:
        data, source = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return source[0], data


class TestLinuxPlatform(PlatformContract):
    @pytest.fixture(autouse=True)
    def namespace(self, in_namespace: Callable[..., None]) -> None:
        self.in_namespace = in_namespace

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.in_namespace(main)

    async def make(self) -> tuple[Platform, System]:
        return make_platform(), Kernel()
