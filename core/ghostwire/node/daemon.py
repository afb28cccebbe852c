"""The node daemon: composes a node from plugins, configuration and folders, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ghostwire import Context, Metrics, NodeContext, Platform, Provider, __version__
from ghostwire.capabilities.platform import SOCKET_MARK
from ghostwire.config import Config
from ghostwire.errors import PluginError, ProtocolError, Refused, Unavailable
from ghostwire.folders import Folders, make_folder
from ghostwire.node.inventory import inventory_routes
from ghostwire.node.localapi import LocalApi
from ghostwire.node.node import Node
from ghostwire.node.parts import Parts
from ghostwire.node.ping import echo
from ghostwire.node.routes import routes
from ghostwire.node.routing.advertised import Offered
from ghostwire.node.status import State
from ghostwire.node.transports.watchdog import Watchdog
from ghostwire.plugins.effective import effective
from ghostwire.plugins.host import Host
from ghostwire.plugins.inventory import inventory
from ghostwire.plugins.offers import Offer
from ghostwire.system import loop
from ghostwire.system.clock import SystemClock
from ghostwire.system.lock import FileLock
from ghostwire.system.remembered import FILE, Remembered
from ghostwire.system.resolvers import resolvers
from ghostwire.system.sockets import SystemSockets
from ghostwire.system.users import administrators
from ghostwire.uplink import channel
from ghostwire.wire import messages

UDP_PLUGIN = "transport_wireguard"
"""The plugin whose ``port`` is the bare transport's."""
IN_USE = "a node is already running (pid {holder}); stop it, or pass --state for another"

NODE_HOOKS = ("ghostwire_transports", "ghostwire_tunnels", "ghostwire_platforms", "ghostwire_services")
"""Whose objects run in the node's event loop."""

log = logging.getLogger("ghostwire.node")


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line adds to the configuration; ``announce`` prints a line for the person who started it."""

    token: str | None = field(default=None, repr=False)
    hostname: str | None = None
    announce: Callable[[str], object] = print


async def run(host: Host, config: Config, folders: Folders, order: Order) -> None:
    """Run the node until SIGTERM or SIGINT, then take everything down.

    Ends at once by the error that keeps it from running, where waiting would not help.
    """
    stopped = loop.stop_signal()
    lock = FileLock(folders.node / "lock", IN_USE)
    async with AsyncExitStack() as stack:
        lock.take()
        stack.callback(lock.release)
        node = Node(compose(host, config, folders))
        stack.push_async_callback(node.close)
        stack.callback(_watch(node, host).close)
        table = {**routes(node), **inventory_routes(inventory(host), config.file, effective(config, host))}
        api = LocalApi(folders.node_socket, table, administrators(config, "node"), log)
        await api.start()
        stack.push_async_callback(api.close)
        await _until(stopped, _come_up(node, order))
        await stopped.wait()


def _watch(node: Node, host: Host) -> Watchdog:
    """Tell which plugin holds the event loop, where one does."""
    offers = [offer for hook in NODE_HOOKS for offer in host.offers(hook)]
    makers = {offer.plugin: getattr(offer.provider, "create", None) for offer in offers}
    packages = {str(getattr(make, "__module__", "")).partition(".")[0]: plugin for plugin, make in makers.items()}
    packages.pop("ghostwire", None)
    watchdog = Watchdog(packages, log, node.did)
    watchdog.start()
    return watchdog


async def _until(stopped: asyncio.Event, coming: Coroutine[Any, Any, None]) -> None:
    """Wait for the node to come up or for the end, whichever is first."""
    up, end = asyncio.ensure_future(coming), asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait((up, end), return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            up.result()
    finally:
        for task in (up, end):
            task.cancel()


async def _come_up(node: Node, order: Order) -> None:
    await node.start()
    if order.token is None and node.state in (State.NEEDS_LOGIN, State.STOPPED):
        order.announce(f"{node.state}: waiting for gwctl up")
        return
    try:
        await node.up(order.token, hostname=order.hostname, timeout=None)
    except (Refused, Unavailable, ProtocolError) as error:
        if order.token is not None and node.state is State.NEEDS_LOGIN:
            raise
        order.announce(f"{node.state}: {error}")
    else:
        own = node.status().own
        assert own is not None
        order.announce(f"up: {own.name} {' '.join(own.addresses)}")


def compose(host: Host, config: Config, folders: Folders) -> Parts:
    """A node's parts from what plugins offer. PluginError where something is missing."""
    maker = _Maker(host, folders.node)
    node = config.node
    tunnel = host.one("ghostwire_tunnels", node.tunnel)
    return Parts(
        state=folders.node,
        transports=tuple(maker.provider(offer) for offer in host.offers("ghostwire_transports")),
        owners={offer.name: offer.plugin for offer in host.offers("ghostwire_transports")},
        own=host.own,
        tunnel=maker.provider(tunnel),
        services=tuple(maker.provider(offer) for offer in host.offers("ghostwire_services")),
        platform=maker.platform(node.platform),
        sockets=maker.sockets,
        clock=maker.clock,
        entropy=os.urandom,
        connect=channel.connect,
        echo=echo,
        lookup=maker.sockets.resolve,
        fixed_port=config.plugin.get(UDP_PLUGIN, {}).get("port") != 0,
        configured=node.endpoints,
        port_mapping=node.port_mapping,
        offered=Offered(node.routes, node.exit_node, node.snat),
        accept_routes=node.accept_routes,
        resolvers=resolvers,
        host=messages.Host(node.hostname or socket.gethostname(), _system(), __version__),
        interface=node.interface,
        mtu=node.mtu,
        kernel_filter=node.filter == "kernel",
        metrics=maker.metrics,
        log=log,
    )


class _Maker:
    """Makes contexts for plugins: each with its own settings, logger and state folder."""

    def __init__(self, host: Host, state: Path) -> None:
        self._host, self._state = host, state
        self.clock, self.metrics = SystemClock(), Metrics()
        self.sockets = SystemSockets(SOCKET_MARK, Remembered(state / FILE))

    def provider(self, offer: Offer) -> Provider[Any]:
        """The offer, to be created with a context that lacks only what is the plugin's own."""

        def create(context: NodeContext) -> Any:
            return self._host.create(
                offer, lambda plugin, settings: msgspec.structs.replace(context, **self._own(plugin, settings))
            )

        isolated = isinstance(offer.provider, Provider) and offer.provider.isolated
        return Provider(offer.name, create, offer.order[0], isolated=isolated)

    def platform(self, name: str) -> Platform:
        """The platform of that name, or the first."""
        offers = self._host.offers("ghostwire_platforms")
        if not name and not offers:
            raise PluginError("net_linux", "no plugin offers a platform for this system; see: ghostwire plugins")
        offer = self._host.one("ghostwire_platforms", name) if name else offers[0]
        platform: Platform = self._host.create(offer, self._context)
        return platform

    def _context(self, plugin: str, settings: Any) -> Context:
        return Context(
            clock=self.clock,
            entropy=os.urandom,
            metrics=self.metrics,
            sockets=self.sockets,
            **self._own(plugin, settings),
        )

    def _own(self, plugin: str, settings: Any) -> Mapping[str, Any]:
        folder = make_folder(self._state / plugin, 0o700)
        return {"settings": settings, "log": log.getChild(plugin), "state": folder}


def _system() -> str:
    name = os.uname()
    return f"{name.sysname.lower()} {name.release}"


def run_forever(host: Host, config: Config, folders: Folders, order: Order) -> None:
    """`run` in an event loop of its own."""
    with loop.runner() as runner:
        runner.run(run(host, config, folders, order))


def clean_up(host: Host, config: Config, folders: Folders) -> Sequence[str]:
    """Remove what a node that was killed left on this machine: what was removed. StateError while one runs here."""
    lock = FileLock(folders.node / "lock", IN_USE)
    lock.take()
    try:
        with loop.runner() as runner:
            return runner.run(_clean_up(host, config, folders))
    finally:
        lock.release()


async def _clean_up(host: Host, config: Config, folders: Folders) -> Sequence[str]:
    return await _Maker(host, folders.node).platform(config.node.platform).cleanup()
