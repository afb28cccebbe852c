"""The server program: its plane, front door and plugins' parts, started in order and closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from ghostwire import __version__
from ghostwire.capabilities.contexts import ServerContext, Sockets
from ghostwire.capabilities.control import ApiAnswer, ApiCall
from ghostwire.capabilities.http import Routes, StreamUpgrade
from ghostwire.capabilities.policy import PolicyEngine
from ghostwire.capabilities.service import Service
from ghostwire.capabilities.storage import Storage
from ghostwire.capabilities.telemetry import Metrics, Telemetry
from ghostwire.config import Config, split_listen
from ghostwire.engine import SECOND, Clock, Entropy
from ghostwire.errors import AuthenticationFailed, GhostwireError, PluginError
from ghostwire.folders import Folders, make_folder
from ghostwire.frontdoor import certificate
from ghostwire.frontdoor.app import application
from ghostwire.frontdoor.door import FrontDoor
from ghostwire.keys import ControlKey, PrivateKey, load_or_create_private_key
from ghostwire.model import ApiKey
from ghostwire.server.api.api_keys import ApiKeyRoutes
from ghostwire.server.api.backup import BackupRoutes
from ghostwire.server.api.policy import PolicyRoutes
from ghostwire.server.api.relays import RelayRoutes
from ghostwire.server.api.route_routes import RouteRoutes
from ghostwire.server.api.routes import CoreRoutes
from ghostwire.server.api_keys import ApiKeys
from ghostwire.server.channel import ControlUpgrade
from ghostwire.server.cluster.control_key import claim
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.plane import ControlPlane
from ghostwire.server.receipts import KeptAnswers
from ghostwire.server.relays.administration import RelayAdministration
from ghostwire.server.relays.derp_map_source import DerpMapSource
from ghostwire.server.relays.embedded import Embedded, Place
from ghostwire.server.routes.administration import RouteAdministration
from ghostwire.server.within import dispatch
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire.system.users import administrators
from ghostwire.wire.challenge import UNBOUND, Challenge
from ghostwire.wire.jointoken import PRE_AUTH, RELAY, JoinToken
from ghostwire.wire.serverurl import ServerUrl

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ghostwire.plugins.host import Host

CONTROL_KEY, RELAY_KEY = "control.key", "relay.key"
"""Files in the state folder, outside the database."""
RELAYED = "derp"
"""The upgrade by which nodes use a relay."""
AGAIN = 5.0
"""Seconds until a port that could not be had is tried again."""
_ANYWHERE = ("0.0.0.0", "::", "")

LOSS = (
    "%s is empty, yet %s was here before: a new mesh begins, no node is known; if the old one's database is lost, "
    "stop this server and run: gwctl server restore FILE --force"
)
log = logging.getLogger("ghostwire.server")


class Server:
    """One server of one state folder. `start` once, then it serves until `close`.

    Clock, entropy and sockets are the operating system's unless given. With ``listen`` False no port is opened:
    ``door.protocol_factory()`` then serves connections of another kind.
    """

    def __init__(
        self,
        host: Host,
        config: Config,
        folders: Folders,
        *,
        clock: Clock | None = None,
        entropy: Entropy = os.urandom,
        sockets: Sockets | None = None,
        listen: bool = True,
    ) -> None:
        self._host, self.config, self._folders = host, config, folders
        self._clock, self._entropy, self._sockets = clock or SystemClock(), entropy, sockets or SystemSockets()
        self._listen = listen
        self._closing = contextlib.AsyncExitStack()
        self._pin: bytes | None = None
        self._fingerprint = ""
        self._binding = UNBOUND
        self._relays = False
        self._turning: asyncio.Future[None] | None = None
        self.metrics = Metrics()
        self.plane: ControlPlane
        self.control_key: ControlKey
        self._private: PrivateKey
        self.door: FrontDoor
        self._mesh: LiveMesh
        self._app: Starlette
        self._keys: ApiKeys

    async def start(self) -> None:
        """Bring everything up; a GhostwireError says what can't be had, and nothing is left behind."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Take everything down; harmless when called twice."""
        await self._closing.aclose()

    @property
    def url(self) -> str:
        """Where nodes find the server, as join tokens say."""
        configured = self.config.server
        if configured.url:
            return configured.url.rstrip("/")
        port = split_listen(configured.listen)[1] or self.door.port
        return f"{'https' if configured.tls else 'http'}://{self._name}:{port}"

    @property
    def _name(self) -> str:
        """The host's part of a URL, where none is configured: what it listens on, or the machine's name."""
        name = split_listen(self.config.server.listen)[0]
        return socket.gethostname() if name in _ANYWHERE else f"[{name}]" if ":" in name else name

    def join_token(self, secret: str, scheme: str = PRE_AUTH) -> str:
        """A join token of a pre-auth secret, or of another that this scheme reads."""
        return JoinToken(self.url, secret, self.control_key, self._pin, scheme).encode()

    async def _start(self) -> None:
        await self._start_plane()
        self._warn_of_loss()
        private = await self._own_key()  # the storage's lock is ours by now
        self._private = private
        self.control_key = private.public(ControlKey)
        self.embedded.open(load_or_create_private_key(self._folders.server / RELAY_KEY), self.plane.relays)
        self._closing.push_async_callback(self.embedded.close)
        await self._start_door(ControlUpgrade(private, self._entropy, self.plane.accept))
        await self._start_plugins()
        await self.embedded.publish(self._place())
        self.plane.introduce(name=socket.gethostname(), version=__version__)
        await self._follow_derp_map()

    def _warn_of_loss(self) -> None:
        """An empty database is a new mesh's, or what is left of an old one; the key beside it tells."""
        path = self._folders.server / CONTROL_KEY
        if self.plane.first and path.exists():
            log.warning(LOSS, self._storage.place or "the database", path)

    async def _own_key(self) -> PrivateKey:
        """The control key, which all servers of a database have in common."""
        path = self._folders.server / CONTROL_KEY
        return await claim(self._mesh, path) if self.plane.cluster.shared else load_or_create_private_key(path)

    def _policy_engine(self) -> PolicyEngine | None:
        """The one that reads policies; PluginError names those that are selected beside it."""
        offers = self._host.offers("ghostwire_policies")
        if len(offers) > 1:
            named = " and ".join(f"{offer.name!r} of {offer.plugin}" for offer in offers)
            raise PluginError("", f"one policy engine can be at work, {named} are selected; leave all others out")
        return self._host.create(offers[0], self._context) if offers else None

    def _epoch(self) -> str:
        """What else than its text decides what a policy means: the release, and the settings of what reads it."""
        readers = [offer.plugin for offer in self._host.offers("ghostwire_policies")]
        return repr((__version__, [(plugin, self.config.plugin.get(plugin)) for plugin in readers]))

    def storage(self) -> Storage:
        """The configured storage, not opened: for the server, or for what is done to it while none runs."""
        self._mesh = LiveMesh(self._clock)
        self.embedded = Embedded(self._mesh, log)
        offer = self._host.one("ghostwire_storages", self.config.server.storage)
        storage: Storage = self._host.create(offer, self._context)
        return storage

    async def _start_plane(self) -> None:
        self._storage = self.storage()
        authenticators = self._host.create_all("ghostwire_authenticators", self._context)
        self.plane = ControlPlane(
            self._mesh,
            self._storage,
            authenticators,
            self.config.server,
            clock=self._clock,
            entropy=self._entropy,
            log=log,
            engine=self._policy_engine(),
            epoch=self._epoch(),
        )
        await self.plane.start()
        self._closing.push_async_callback(self.plane.close)
        self.plane.register(self.metrics)

    async def _start_door(self, upgrade: ControlUpgrade) -> None:
        self._closing.callback(upgrade.close)
        self._closing.callback(self.plane.hang_up)
        upgrade.register(self.metrics)
        upgrades: list[StreamUpgrade] = self._host.create_all("ghostwire_upgrades", self._context)
        self._relays = any(offered.token == RELAYED for offered in upgrades)
        keys = self._keys = ApiKeys(self._mesh, self._clock, self._entropy)
        tls = self._tls()
        parts = [*self._routes(), ApiKeyRoutes(keys), *self._host.create_all("ghostwire_routes", self._context)]
        receipts = KeptAnswers(self._mesh, self._entropy)
        self._app, http2 = application(parts, keys.admit, receipts, __version__), any(part.http2 for part in parts)
        self._app.state.catch_up = self._mesh.catch_up if self._storage.exchange is not None else None
        self.door = FrontDoor(cast("Any", self._app), [upgrade, *upgrades], tls=tls, clock=self._clock, http2=http2)
        self._closing.push_async_callback(self.door.close)
        if self._listen:
            await self.door.start(*split_listen(self.config.server.listen))
            await self.door.start_unix(self._folders.server_socket, administrators(self.config, "server"))
            self.plane.on_following(self._open_or_shut)
            self._closing.callback(self._turn_no_more)

    def _open_or_shut(self, following: bool) -> None:
        """Where this server can serve nobody, whatever stands before the servers is to see that at its port."""
        self._turning = asyncio.ensure_future(self._turn_door(self._turning))

    def _turn_no_more(self) -> None:
        if self._turning is not None:
            self._turning.cancel()

    async def _turn_door(self, before: asyncio.Future[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        await self.door.shut()
        host, port = split_listen(self.config.server.listen)
        while self.plane.following:
            try:
                return await self.door.start(host, port or self.door.port)
            except GhostwireError as error:
                log.error("nodes cannot come back to this server yet: %s", error)
            await asyncio.sleep(AGAIN)
        return None

    def _routes(self) -> Iterator[Routes]:
        plane, mesh, relays = self.plane, self._mesh, self.plane.relays
        presence, unnamed = plane.sessions.presence, plane.policies.unnamed
        yield CoreRoutes(
            mesh, plane.administration, presence, relays.homes, self._describe, unnamed, lambda: plane.following
        )
        administration = RelayAdministration(mesh, relays, self._entropy)
        yield RelayRoutes(administration, relays, partial(self.join_token, scheme=RELAY), mesh.now)
        decisions = RouteAdministration(mesh, plane.routes, plane.administration.node)
        yield RouteRoutes(mesh, decisions, plane.routes, plane.sessions.online)
        yield BackupRoutes(self._storage.backup, self._folders.server, self.config.server.domain, mesh.now)
        if plane.policies.engine is not None:
            yield PolicyRoutes(mesh, plane.policies)

    async def _follow_derp_map(self) -> None:
        source = DerpMapSource(self._mesh, self.config.server.derp_map, log)
        await source.start()
        self._closing.push_async_callback(source.close)

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
        try:
            await service.start()
        except GhostwireError as error:
            log.error("%s is not served: %s", service.name, error)
        else:
            self._closing.push_async_callback(service.close)

    def _context(self, plugin: str, settings: Any) -> ServerContext:
        return ServerContext(
            settings=settings,
            clock=self._clock,
            entropy=self._entropy,
            metrics=self.metrics,
            log=logging.getLogger(f"ghostwire.plugin.{plugin}"),
            sockets=self._sockets,
            state=make_folder(self._folders.server / plugin, 0o700),
            mesh=self._mesh,
            join_token=self.join_token,
            relaying=self.embedded,
            attach=lambda stream: self.plane.accept(stream),
            administer=self._administer,
            admit=self._admit,
            challenge=self._challenge,
        )

    async def _administer(self, call: ApiCall, key: str, client: str) -> ApiAnswer:
        return await dispatch(self._app, call, key, client)

    def _admit(self, key: str, client: str) -> ApiKey:
        if not key:
            raise AuthenticationFailed("give an API key: authorization: Bearer gwapi-...")
        return self._keys.admit(key, client)

    def _challenge(self, client: bytes) -> Challenge:
        return Challenge(self._private, PrivateKey.generate(self._entropy), client, self._binding)

    def _tls(self) -> ssl.SSLContext | None:
        """The TLS context, whose key join tokens pin and whose certificate nodes, where its issuer does not vouch for
        it; None where TLS is off."""
        if not self.config.server.tls:
            return None
        pair = self._certificate()
        self._pin, self._fingerprint = certificate.spki_pin(pair[0]), certificate.fingerprint(pair[0])
        self._binding = certificate.digest(pair[0])
        return certificate.server_context(*pair)

    def _certificate(self) -> tuple[Path, Path]:
        configured = self.config.server
        if given := certificate.given_pair(configured.certificate, configured.certificate_key):
            return given
        announced = urlsplit(configured.url).hostname or self._name.strip("[]")
        names, now = {announced, socket.gethostname(), "localhost", "127.0.0.1"}, self._clock.wall() // SECOND
        pair = certificate.ensure_certificate(self._folders.server, names, now)
        if certificate.fingerprint(pair[0]) and not certificate.covers(pair[0], announced):
            pair[0].unlink()  # the server has another name now; its key, which join tokens pin, stays
            pair = certificate.ensure_certificate(self._folders.server, names, now)
        return pair

    def _place(self) -> Place | None:
        """Where nodes find the relay that runs here: where they find the server. None where none runs."""
        if not self._relays:
            return None
        place = self.config.server.relay_url or ("" if self.plane.cluster.shared else self.url)
        if not place:
            log.warning("nodes use no relay in this server: several may share its url; set relay_url in [server]")
            return None
        try:
            url = ServerUrl.parse(place)
        except ValueError:
            log.error(
                "no node can use the relay here: set url in [server], as %s is no URL that they could read", self.url
            )
            return None
        pinned = self._fingerprint if url.tls else ""
        given = self.config.server.certificate if self.config.server.tls else ""
        if url.tls and given and not pinned and not certificate.covers(Path(given), url.host):
            log.warning("the certificate is not for %s: nodes will not accept the relay here", url.host)
        return Place(url.host, url.port, url.tls, pinned, self.config.server.region)

    def _describe(self) -> dict[str, Any]:
        known = {"version": __version__, "url": self.url, "control_key": self.control_key}
        return {**known, **self.plane.describe()}
