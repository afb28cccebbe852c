"""A node: brings what runs in line with what is wanted and known, and answers for it.

    state         membership   wanted   dataplane
    -----------   ----------   ------   ---------
    needs-login   none         -        none
    stopped       held         down     none
    expired       held, old    up       none
    starting      held         up       none yet: no map so far, or the system refuses something
    running       held         up       up, with the cached map or the server's

One task, the worker, starts, configures and closes the dataplane; everything else only changes what is wanted or
known and wakes it.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, Unavailable, UsageError
from ghostwire.model import MapChange, MapNode
from ghostwire.node.dataplane import Dataplane
from ghostwire.node.director import Endpoints
from ghostwire.node.identity import Identity
from ghostwire.node.knowledge import Knowledge
from ghostwire.node.links import Links
from ghostwire.node.making import Surroundings
from ghostwire.node.member import Member
from ghostwire.node.netcheck.report import NetcheckReport
from ghostwire.node.parts import Parts
from ghostwire.node.paths.report import PathsReport
from ghostwire.node.presence import Whereabouts
from ghostwire.node.reporter import PingResult, Reporter
from ghostwire.node.routing.advertised import Advertised
from ghostwire.node.routing.orders import RouteOrders
from ghostwire.node.status import State, Status
from ghostwire.node.waiters import Waiters
from ghostwire.uplink.backoff import Backoff
from ghostwire.wire.jointoken import RELAY, JoinToken
from ghostwire.wire.messages import HomeRelay


class Node:
    """One node of a mesh, composed of its parts. `start` comes first, `close` last.

    Making it reads the state folder: StateError or PermissionDenied say what is wrong there.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts, self._log = parts, parts.log
        self._identity = Identity(parts.state, parts.entropy)
        self._knowledge = Knowledge(parts.state, self._identity, parts.log)
        self._member = Member(parts, self._identity, self._knowledge, self, self._whereabouts)
        kept = self._identity.preferences
        self._advertised = Advertised(parts.offered, kept, parts.platform, self._offers_changed)
        self._plane: Dataplane | None = None
        self._links: Links | None = None
        self._waiting = Waiters[None]()
        self._wake, self._lock = asyncio.Event(), asyncio.Lock()
        self._retry = Backoff(parts.entropy)
        self._retrying: asyncio.TimerHandle | None = None
        self._worker: asyncio.Task[None] | None = None
        self._trouble = self._told = ""
        self._metrics = parts.metrics.scope()
        self._register()
        self.routes = RouteOrders(parts, self._knowledge, kept, self._advertised, lambda: self._plane, self._reroute)
        """What may be ordered of routes."""

    @property
    def state(self) -> State:
        """Where this node is in its life."""
        membership = self._identity.membership
        if membership is None:
            return State.STARTING if self._member.joining else State.NEEDS_LOGIN
        if self._expired():
            return State.EXPIRED
        if not membership.up:
            return State.STOPPED
        return State.STARTING if self._plane is None else State.RUNNING

    async def start(self) -> None:
        """Load what is known, and resume where the node was up: with the cached map at once, the server or not."""
        self._knowledge.load()
        self._worker = asyncio.get_running_loop().create_task(self._work())
        membership = self._identity.membership
        if membership is not None and membership.up:
            self._member.open()
            self._wake.set()

    async def up(self, token: str | None = None, *, hostname: str | None = None, timeout: float | None = 60.0) -> None:
        """Join by the text of a join token, or resume; returns once the node runs.

        UsageError: the token is none. Refused: the server says no, or nothing was joined yet. PlatformError,
        PermissionDenied, PluginError: this machine does. Unavailable: not within ``timeout`` seconds.
        """
        order = _parse(token) if token else None
        if order is not None:
            await self._try_device()
        self._member.open(order, hostname)
        self._want(up=True)
        self._trouble = ""
        if self._ready():
            return
        self._wake.set()
        try:
            await self._waiting.wait(timeout)
        except TimeoutError:
            self._member.give_up()
            self._wake.set()
            reason = self._member.last_error or self._trouble or "no answer from the server"
            raise Unavailable(f"not up after {timeout:.0f} s: {reason}") from None

    async def down(self, *, logout: bool = False, force: bool = False) -> None:
        """Take the interface away and stay down until the next `up`; with ``logout`` leave the mesh for good.

        Unavailable where the server does not confirm a logout: the node is down then, and still a member. With
        ``force`` it forgets the mesh all the same.
        """
        try:
            async with self._lock:
                self._member.give_up()
                self._want(up=False)
                await self._bring_in_line()
                if logout:
                    await self._log_out(force)
                await self._member.close()
        finally:
            self._waiting.fail(Unavailable("the node was taken down"))

    async def close(self) -> None:
        """End everything; what is wanted stays as it is for the next start. Harmless when called twice."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            await asyncio.wait([worker])
        if self._retrying is not None:
            self._retrying.cancel()
        await self._stop_plane()
        await self._member.close()
        self._knowledge.flush()
        self._parts.metrics.drop(self._metrics)

    def status(self) -> Status:
        """Everything there is to show."""
        status = Reporter(self._parts, self._knowledge, self._plane).status(self.state, self._member, self._trouble)
        return msgspec.structs.replace(status, routing=self.routes.report())

    async def netcheck(self) -> NetcheckReport:
        """A full look at the network between this node and the relays; Unavailable where the node is not up."""
        if self._plane is None:
            raise Unavailable("the node is not up; run: gwctl up")
        return await self._plane.netcheck.look()

    async def ping(self, target: str, timeout: float = 5.0) -> PingResult:
        """One echo to a node's name or mesh address; NotFound, or Unavailable without an answer in time."""
        return await Reporter(self._parts, self._knowledge, self._plane).ping(target, timeout)

    def paths(self, target: str) -> PathsReport:
        """Which ways lead to the peer of this name or mesh address, and why one is used; NotFound, Unavailable."""
        return Reporter(self._parts, self._knowledge, self._plane).paths(target)

    def did(self, plugin: str, what: str) -> None:
        """A plugin did something that it should not."""
        if self._plane is not None:
            self._plane.did(plugin, what)

    # What the member tells

    def session_began(self) -> None:
        """A session with the server began."""
        self._log.info("connected to %s", self._member.url)
        self._told = ""
        self._member.report(always=True)
        if self._plane is not None:
            self._plane.reconnected()
        self._wake.set()

    def map_changed(self, change: MapChange) -> None:
        """The network map changed so."""
        self._update_plane(change)
        self._wake.set()

    def peer_endpoints(self, peer: int, endpoints: Endpoints) -> None:
        """The server says where a peer can be reached now."""
        if self._plane is not None:
            self._plane.peer_endpoints(peer, endpoints)
        else:
            self._knowledge.endpoints[peer] = endpoints

    def home_relay(self, message: HomeRelay) -> None:
        """The server assigned a relay."""
        if self._plane is not None:
            self._plane.assign(message.region, message.relay)

    def trouble(self, error: GhostwireError, *, final: bool) -> None:
        """The server is not reached or said no."""
        told = final and self._waiting.fail(error)
        if not told and str(error) != self._told:
            self._log.log(logging.WARNING if final else logging.INFO, "server: %s", error)
        self._told = str(error)
        self._wake.set()

    # The worker

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            async with self._lock:
                await self._bring_in_line()

    async def _bring_in_line(self) -> None:
        """Make what runs what is wanted; a failure is told, and tried again later."""
        try:
            await self._reconcile()
        except GhostwireError as error:
            self._failed(error)
        except Exception as error:
            self._log.exception("internal error")
            self._failed(GhostwireError(f"internal error: {type(error).__name__}; see the node's log"))
        if self._identity.membership is None and not self._member.joining:
            await self._member.close()

    def _failed(self, error: GhostwireError) -> None:
        told, known = self._waiting.fail(error), self._trouble
        self._trouble = str(error)
        if not told and self._trouble != known:
            self._log.error("%s", error)
        if self._retrying is not None:
            self._retrying.cancel()
        self._retrying = asyncio.get_running_loop().call_later(self._retry.next(), self._wake.set)

    async def _reconcile(self) -> None:
        own = self._knowledge.own
        if own is None or not self._wanted():
            await self._stop_plane()
        elif self._plane is None:
            await self._start_plane(own)
        else:
            await self._plane.configure(own)
        if self._ready():
            self._trouble = ""
            self._waiting.succeed(None)

    async def _try_device(self) -> None:
        """Hear before a token is spent whether this machine lets a node run."""
        async with self._lock:
            if self._plane is None:
                (await self._parts.platform.open_device(self._parts.interface, self._parts.mtu)).close()

    async def _start_plane(self, own: MapNode) -> None:
        parts, known = self._parts, self._knowledge
        around = Surroundings(
            private_key=self._identity.node_key,
            disco_key=self._identity.disco_key,
            own_keys=self._identity.public_keys,
            network=known.network,
            endpoints=known.endpoints,
            declare=self._member.declare,
            moved=known.moved,
            connected=lambda: self._member.connected,
            found=self._member.report,
            slept=self._slept,
            server=lambda: self._member.url,
            preferences=self._identity.preferences,
            advertised=self._advertised,
            reconfigure=self._wake.set,
        )
        self._plane = await Dataplane.start(parts, around, own)
        self._links = Links(parts.platform, self._links_changed)
        self._advertised.start()
        self._retry.reset()
        self._update_plane()
        self._member.report(always=True)
        if self._plane.admits_all:
            self._log.warning("no access rules in this mesh: every node reaches every port of this one")

    async def _stop_plane(self) -> None:
        plane, self._plane = self._plane, None
        if self._links is not None:
            self._links.close()
            self._links = None
        self._advertised.stop()
        try:
            if plane is not None:
                await plane.close()
        except GhostwireError as error:
            self._log.error("taking the node down: %s", error)

    async def _reroute(self) -> None:
        """Bring routes in line with what the person wants: the system's first, so that nothing leaves by another way
        meanwhile."""
        async with self._lock:
            own = self._knowledge.own
            if self._plane is not None and own is not None:
                await self._plane.configure(own)
                self._plane.reroute()
                await self._plane.configure(own)

    def _offers_changed(self) -> None:
        if self._plane is not None:
            self._plane.reroute()
        self._member.report()
        self._wake.set()

    def _update_plane(self, change: MapChange | None = None) -> None:
        own = self._knowledge.own
        if self._plane is not None and own is not None:
            self._plane.update(own, change)

    def _wanted(self) -> bool:
        membership = self._identity.membership
        return membership is not None and membership.up and self._knowledge.complete and not self._expired()

    def _ready(self) -> bool:
        return self.state is State.RUNNING and not self._member.joining

    def _want(self, *, up: bool) -> None:
        membership = self._identity.membership
        if membership is not None:
            self._identity.remember(msgspec.structs.replace(membership, up=up))

    def _expired(self) -> bool:
        """Whether the server refuses the node key as too old; while it is away, whether it would."""
        membership, welcome = self._identity.membership, self._knowledge.welcome
        if membership is not None and membership.expired:
            return True
        if self._member.connected or welcome is None or welcome.expires is None:
            return False
        return self._parts.clock.wall() >= welcome.expires * SECOND

    async def _log_out(self, force: bool) -> None:
        try:
            if self._identity.membership is not None:
                await self._member.log_out()
        except GhostwireError as error:
            if not force:
                raise Unavailable(
                    f"not logged out, only down: the server did not confirm it ({error}); try again later, or forget "
                    "the mesh here with gwctl down --logout --force and remove this node there: gwctl nodes delete"
                ) from None
            self._log.warning("logged out without the server's word: remove this node there: gwctl nodes delete")
        await self._member.close()
        self._member.forget()

    def _links_changed(self) -> None:
        self._log.info("this machine's addresses changed")
        self._look_again()

    def _slept(self) -> None:
        self._log.info("this machine slept")
        self._look_again()

    def _look_again(self) -> None:
        if self._plane is not None:
            self._plane.links_changed()
        self._member.hurry()

    def _whereabouts(self) -> Whereabouts:
        plane, own = self._plane, self._knowledge.own
        routes = tuple(map(str, self._advertised.prefixes))
        if plane is None:
            return Whereabouts(home=own.home if own is not None else None, routes=routes, down=routes)
        relay, down = plane.relays.relay, tuple(map(str, self._advertised.down))
        place = plane.endpoints(), plane.relays.home, relay.id if relay is not None else None
        return Whereabouts(*place, routes, down)

    def _register(self) -> None:
        gauge = self._metrics.gauge
        gauge("ghostwire_node_connected", "Whether the server is connected.", lambda: self._member.connected)
        gauge("ghostwire_node_running", "Whether the node is up.", lambda: self._plane is not None)
        gauge("ghostwire_node_known_nodes", "Nodes in the network map.", lambda: len(self._knowledge.network.nodes))
        counter, upkeep = self._metrics.counter, self._member.upkeep
        counter("ghostwire_node_map_comparisons_total", "Maps compared whole.", lambda: upkeep.status.comparisons)
        counter(
            "ghostwire_node_map_divergences_total", "Of these, those that differed.", lambda: upkeep.status.divergences
        )


def _parse(text: str) -> JoinToken:
    token = JoinToken.parse(text)
    if token.scheme == RELAY:
        raise UsageError("this join token is for a relay; on the server, gwctl preauthkeys create makes one for a node")
    return token
