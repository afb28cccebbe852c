"""The Linux platform: TUN devices, their addresses and routes, and this machine's links."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from ghostwire import Context, Device, NetworkConfig, Platform
from ghostwire.errors import PermissionDenied, PlatformError
from ghostwire_net_linux import netlink
from ghostwire_net_linux.configure import Answer, Request
from ghostwire_net_linux.device import LinuxDevice, open_tun
from ghostwire_net_linux.links import LinkWatch, reachable_addresses

CHILD_TIMEOUT = 20.0
"""Seconds that configuring an interface may take."""


class LinuxPlatform(Platform):
    """Linux, through /dev/net/tun and netlink; needs CAP_NET_ADMIN."""

    name = "linux"

    def __init__(self, context: Context) -> None:
        self._settings, self._log = context.settings, context.log
        self._devices: dict[str, LinuxDevice] = {}
        self._configured: NetworkConfig | None = None
        self._begun: NetworkConfig | None = None
        context.metrics.counter(
            "ghostwire_tun_dropped_total", "Packets that the kernel's TUN device did not take.", self._dropped
        )

    async def open_device(self, name: str, mtu: int) -> Device:
        """A new TUN interface, down and without addresses."""
        device = LinuxDevice(name, mtu, open_tun(name, self._settings.tun))
        self._devices[name], self._configured, self._begun = device, None, None
        return device

    async def configure(self, network: NetworkConfig) -> None:
        """Bring the interface to this; what the machine cannot do (IPv6 switched off) is logged and left."""
        if network == self._configured:
            return
        request = Request(network.interface, network.mtu, network.addresses, network.routes)
        self._begun, self._configured = network, None
        answer = await run_child(request)
        for text in answer.skipped:
            self._log.warning("interface %s: skipped: %s", network.interface, text)
        self._configured = network

    async def restore(self) -> None:
        """Take back addresses and routes; an interface that is gone has taken them along."""
        network, self._configured = self._begun, None
        if network is not None and network.interface in _interface_names():
            await run_child(Request(network.interface, network.mtu, (), (), up=False))
        self._begun = None

    def local_addresses(self) -> Sequence[str]:
        """Global addresses of interfaces that are up, but our own devices'."""
        return reachable_addresses(self._devices)

    def gateway(self) -> str | None:
        """The router of the preferred default route; those through our own devices do not count."""
        own = self._own_indexes()
        return next((route.gateway for route in netlink.default_routes() if route.index not in own), None)

    def watch_links(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after links, addresses or default routes other than our own devices' have changed and
        settled."""
        return LinkWatch(changed, self._own_indexes, self._settings.settle).stop

    def _own_indexes(self) -> set[int]:
        return {index for index, name in socket.if_nameindex() if name in self._devices}

    def _dropped(self) -> float:
        return sum(device.dropped for device in self._devices.values())


def _interface_names() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


async def run_child(request: Request) -> Answer:
    """Configure in a child process, which shares our network namespace; raises what it could not do."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "ghostwire_net_linux.configure",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(msgspec.json.encode(request)), CHILD_TIMEOUT)
    except BaseException as error:
        child.kill()
        await child.wait()
        if not isinstance(error, TimeoutError):
            raise
        raise PlatformError(f"interface {request.interface}: configuring took over {CHILD_TIMEOUT:.0f} s") from None
    return _checked(request, out, err)


def _checked(request: Request, out: bytes, err: bytes) -> Answer:
    try:
        answer = msgspec.json.decode(out, type=Answer)
    except msgspec.DecodeError:
        last = err.decode(errors="replace").strip().rpartition("\n")[2] or "no answer"
        raise PlatformError(f"interface {request.interface}: the configuring child failed: {last[:200]}") from None
    if answer.permission:
        raise PermissionDenied(f"{answer.error}: run as root or with CAP_NET_ADMIN")
    if answer.error:
        raise PlatformError(answer.error)
    return answer
