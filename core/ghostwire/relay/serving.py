"""What one process of a relay serves: the front door and the plugins' parts, closed in reverse order of start."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from ghostwire.capabilities.contexts import RelayContext, Sockets
from ghostwire.capabilities.relaying import Relaying
from ghostwire.capabilities.service import Service
from ghostwire.capabilities.telemetry import Metrics, Telemetry
from ghostwire.config import RelayConfig, split_listen
from ghostwire.engine import Clock, Entropy
from ghostwire.errors import GhostwireError, PluginError
from ghostwire.folders import Folders, make_folder
from ghostwire.frontdoor.app import application
from ghostwire.frontdoor.door import FrontDoor
from ghostwire.relay.tls import RelayTls

if TYPE_CHECKING:
    from ghostwire.plugins.host import Host

log = logging.getLogger("ghostwire.relay")


class Serving:
    """The serving half of a relay: it knows no server, only ``relaying``. Without ``listen`` no port is opened."""

    def __init__(
        self,
        host: Host,
        config: RelayConfig,
        folders: Folders,
        relaying: Relaying,
        tls: RelayTls | None,
        *,
        clock: Clock,
        entropy: Entropy,
        sockets: Sockets,
        listen: bool = True,
        shared: bool = False,
    ) -> None:
        self._host, self._config, self._folders, self._relaying, self._tls = host, config, folders, relaying, tls
        self._clock, self._entropy, self._sockets = clock, entropy, sockets
        self._listen, self._shared = listen, shared
        self._closing = contextlib.AsyncExitStack()
        self.metrics = Metrics()
        self.door: FrontDoor

    async def start(self) -> None:
        """Serve; a GhostwireError says what can't be had, and nothing is left behind."""
        try:
            await self._start_door()
            await self._start_plugins()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Serve no longer; harmless when called twice."""
        await self._closing.aclose()

    @property
    def port(self) -> int:
        """The TCP port that it serves on."""
        return self.door.port

    def certificate_changed(self) -> None:
        """The running door has the new one already: it shares the context that was told."""

    async def _start_door(self) -> None:
        upgrades = self._host.create_all("ghostwire_upgrades", self._context)
        if not upgrades:
            raise PluginError("", "no selected plugin relays anything; see `ghostwire plugins`")
        app: Any = application(self._host.create_all("ghostwire_routes", self._context))
        self.door = FrontDoor(app, upgrades, tls=self._tls.context if self._tls else None, clock=self._clock)
        self._closing.push_async_callback(self.door.close)
        if self._listen:
            await self.door.start(*split_listen(self._config.listen), shared=self._shared)

    async def _start_plugins(self) -> None:
        services: list[Service] = self._host.create_all("ghostwire_services", self._context)
        for service in services:
            await self._start_service(service)
        exporters: list[Telemetry] = self._host.create_all("ghostwire_telemetry", self._context)
        for exporter in exporters:
            await exporter.start(self.metrics)
            self._closing.push_async_callback(exporter.close)

    async def _start_service(self, service: Service) -> None:
        """One that cannot start, its port being in use, costs only itself."""
        self._closing.push_async_callback(service.close)
        try:
            await service.start()
        except GhostwireError as error:
            log.error("%s is not served: %s", service.name, error)

    def _context(self, plugin: str, settings: Any) -> RelayContext:
        return RelayContext(
            settings=settings,
            clock=self._clock,
            entropy=self._entropy,
            metrics=self.metrics,
            log=logging.getLogger(f"ghostwire.plugin.{plugin}"),
            sockets=self._sockets,
            state=make_folder(self._folders.relay / plugin, 0o700),
            relaying=self._relaying,
        )
