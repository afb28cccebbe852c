"""The Linux platform: TUN devices, their addresses, routes and firewall, and this machine's links."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence

import msgspec

from ghostwire import Context, Device, FirewallRule, NetworkConfig, Platform
from ghostwire.errors import GhostwireError, PlatformError
from ghostwire_net_linux import links, netlink
from ghostwire_net_linux.command import nft, nft_path, run_child
from ghostwire_net_linux.configure import Answer, Request
from ghostwire_net_linux.device import LinuxDevice, open_tun
from ghostwire_net_linux.keeper import Keeper
from ghostwire_net_linux.nft import PREFIX, Wanted, table_name, transaction

NO_NFT = "nft is missing; install nftables"


class LinuxPlatform(Platform):
    """Linux, through /dev/net/tun, netlink and nft; needs CAP_NET_ADMIN."""

    name = "linux"

    def __init__(self, context: Context) -> None:
        self._settings, self._log = context.settings, context.log
        self._saved = context.state / "sysctls.json"
        self._devices: dict[str, LinuxDevice] = {}
        self._begun: NetworkConfig | None = None
        self._tables: dict[str, Wanted] = {}
        self._placed: set[str] = set()
        self._said: dict[str, list[str]] = {}
        self._keeper: Keeper | None = None
        self._lock = asyncio.Lock()
        context.metrics.counter(
            "ghostwire_tun_dropped_total", "Packets that the kernel's TUN device did not take.", self._dropped
        )

    async def open_device(self, name: str, mtu: int) -> Device:
        """A new TUN interface, down and without addresses."""
        device = LinuxDevice(name, mtu, open_tun(name, self._settings.tun))
        self._devices[name] = device
        return device

    async def configure(self, network: NetworkConfig) -> None:
        """Bring the machine to this; what it cannot do (IPv6 switched off, say) is logged and left."""
        async with self._lock:
            self._begun = network
            rules = self._wanted(network.interface).rules
            await self._table(Wanted(network.interface, rules, network.forwarding, network.isolated))
            await self._apply(network)
            if self._keeper is None:
                self._keeper = self._keep()

    async def restore(self) -> None:
        """Take back everything; an interface that is gone has taken its addresses along."""
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        async with self._lock:
            for interface in [*self._tables]:
                await self._table(Wanted(interface))
                del self._tables[interface]
            if self._begun is not None:
                await run_child(Request(self._begun.interface, saved=str(self._saved), up=False))
            self._begun = None

    async def firewall(self, interface: str, rules: Sequence[FirewallRule]) -> None:
        """One transaction of nft, of which the whole table of the interface is part."""
        if nft_path() is None:
            raise PlatformError(f"{NO_NFT}, or set [node] filter to userspace")
        async with self._lock:
            await self._place(msgspec.structs.replace(self._wanted(interface), rules=tuple(rules)))

    async def cleanup(self) -> Sequence[str]:
        """Remove rules, routes, tables and settings of interfaces that are no more."""
        async with self._lock:
            return [*(await run_child(Request(saved=str(self._saved)))).changes, *await self._dead_tables()]

    def reaches(self, prefix: str) -> bool:
        """Whether a link with a carrier leads there, as a marked socket's packets go."""
        return links.reaches(prefix, self._devices)

    def local_addresses(self) -> Sequence[str]:
        """Global addresses of interfaces that are up, but our own devices'."""
        return links.reachable_addresses(self._devices)

    def networks(self) -> Sequence[str]:
        """Those of the addresses of interfaces that are up, but our own devices'."""
        return links.connected(self._devices)

    def gateway(self) -> str | None:
        """The router of the preferred default route; those through our own devices do not count."""
        own = self._own_indexes()
        return next((route.gateway for route in netlink.default_routes() if route.index not in own), None)

    def watch_links(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after links, addresses or default routes other than our own devices' have changed and
        settled."""
        return links.LinkWatch(changed, self._own_indexes, self._settings.settle).stop

    async def _apply(self, network: NetworkConfig) -> Answer:
        """Routes and addresses, which also mends what others changed."""
        request = Request(
            interface=network.interface,
            mtu=network.mtu,
            addresses=network.addresses,
            routes=network.routes,
            lan=network.lan,
            connected=links.connected(self._devices),
            forward=network.forwarding.prefixes if network.forwarding else (),
            saved=str(self._saved),
        )
        answer = await run_child(request)
        self._warn("skipped", (f"interface {network.interface}: skipped: {text}" for text in answer.skipped))
        return answer

    def _keep(self) -> Keeper:
        return Keeper(
            self._repair,
            lambda: links.connected(self._devices),
            self._is_ours,
            self._own_indexes,
            self._settings.settle,
            self._log,
        )

    def _is_ours(self, table: str) -> bool:
        """Whether a table of this name should be there."""
        return any(table == table_name(name) and not wanted.empty for name, wanted in self._tables.items())

    async def _repair(self) -> None:
        async with self._lock:
            for wanted in self._tables.values():
                await self._table(wanted)
            if self._begun is not None:
                for text in (await self._apply(self._begun)).changes:
                    self._log.info("interface %s: this machine's networks changed: %s", self._begun.interface, text)

    def _wanted(self, interface: str) -> Wanted:
        return self._tables.get(interface, Wanted(interface))

    async def _table(self, wanted: Wanted) -> None:
        """Put the interface's table in place; where nft fails, routes work all the same, and a line says what does
        not."""
        lines = []
        try:
            await self._place(wanted)
        except GhostwireError as error:
            self._tables[wanted.interface] = wanted
            stays = f"nftables table inet {table_name(wanted.interface)} stays"
            if lost := _lost(wanted) or (stays if wanted.interface in self._placed else ""):
                lines = [f"interface {wanted.interface}: {lost}: {error}"]
        self._warn("table", lines)

    async def _place(self, wanted: Wanted) -> None:
        if not wanted.empty or self._tables.get(wanted.interface) != wanted:
            await nft(("-f", "-"), transaction(wanted))
        self._tables[wanted.interface] = wanted
        if wanted.empty:
            self._placed.discard(wanted.interface)
        else:
            self._placed.add(wanted.interface)

    def _warn(self, what: str, lines: Iterable[str]) -> None:
        """Say each line once, until it is no longer so."""
        before, self._said[what] = self._said.get(what, []), [*lines]
        for line in self._said[what]:
            if line not in before:
                self._log.warning("%s", line)

    async def _dead_tables(self) -> list[str]:
        if nft_path() is None:
            return []
        alive = {table_name(name) for _, name in socket.if_nameindex()}
        listed = msgspec.json.decode(await nft(("list", "tables")))["nftables"]
        tables = [each["table"] for each in listed if each.get("table", {}).get("family") == "inet"]
        dead = [each["name"] for each in tables if each["name"].startswith(PREFIX) and each["name"] not in alive]
        if dead:
            await nft(("-f", "-"), [{"delete": {"table": {"family": "inet", "name": name}}} for name in dead])
        return [f"remove nftables table inet {name}" for name in dead]

    def _own_indexes(self) -> set[int]:
        return {index for index, name in socket.if_nameindex() if name in self._devices}

    def _dropped(self) -> float:
        return sum(device.dropped for device in self._devices.values())


def _lost(wanted: Wanted) -> str:
    """What does not work without the table."""
    losses = []
    if wanted.rules is not None:
        losses.append("the system's firewall may lack the latest rules, or be gone")
    if wanted.forwarding is not None and wanted.forwarding.masquerade:
        losses.append("forwarded packets keep their mesh addresses")
    elif wanted.forwarding is not None:
        losses.append("what is forwarded is not limited to the offered prefixes")
    if wanted.isolated:
        losses.append("isolated plugins' datagrams are not kept from this machine and its mesh")
    return " and ".join(losses)
