"""What a person orders of routes at his node, and what he is told of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from ghostwire.errors import GhostwireError, Unavailable
from ghostwire.model import MapNode
from ghostwire.node.routing import exits
from ghostwire.node.routing.advertised import Advertised
from ghostwire.node.routing.preferences import ExitChoice, KeptPreferences, Preferences
from ghostwire.node.routing.report import AdvertisedStatus, Chosen, ExitNode, ExitStatus, Routing

if TYPE_CHECKING:
    from ghostwire.node.dataplane import Dataplane
    from ghostwire.node.knowledge import Knowledge
    from ghostwire.node.parts import Parts

DOWN = "is not reached, for this node is not up; run: gwctl up"


class RouteOrders:
    """``plane`` gives what runs now, ``carry_out`` brings it in line with changed preferences."""

    def __init__(
        self,
        parts: Parts,
        knowledge: Knowledge,
        kept: KeptPreferences,
        advertised: Advertised,
        plane: Callable[[], Dataplane | None],
        carry_out: Callable[[], Awaitable[None]],
    ) -> None:
        self._parts, self._knowledge, self._kept, self._advertised = parts, knowledge, kept, advertised
        self._plane, self._carry_out = plane, carry_out

    def report(self) -> Routing:
        """Routes, what this node offers, and its exit node."""
        plane, said = self._plane(), self._kept.value.accept_routes
        return Routing(
            accepts=self._parts.accept_routes if said is None else said,
            routes=tuple(plane.route_statuses()) if plane is not None else (),
            advertised=tuple(self._offers()),
            exit_node=self._exit(),
        )

    # Routes

    async def advertise(self, prefix: str) -> Routing:
        """Offer a prefix; ``exit`` stands for both default routes. UsageError where it cannot be."""
        self._advertised.add(_meant(prefix))
        await self._carry_out()
        return self.report()

    async def withdraw(self, prefix: str) -> Routing:
        """Offer it no longer; NotFound, UsageError."""
        self._advertised.remove(_meant(prefix))
        await self._carry_out()
        return self.report()

    async def accept(self, accept: bool) -> Routing:
        """Use other nodes' routes, or none."""
        await self._change(msgspec.structs.replace(self._kept.value, accept_routes=accept))
        return self.report()

    # Exit nodes

    def exits(self) -> list[ExitNode]:
        """Those that may be chosen; Unavailable where the node is not up."""
        return exits.describe(self._nodes(), self._running())

    async def suggest(self) -> ExitNode:
        """The best of them; UsageError where there is none."""
        return await exits.best(self.exits(), self._parts.echo)

    async def use(self, target: str, *, lan: bool | None) -> Chosen:
        """Send all that goes to the internet through this node; NotFound where it offers no such thing. ``lan`` None:
        as before."""
        welcome, before = self._knowledge.welcome, self._kept.value.exit_node
        node = exits.find(self._nodes(), target, welcome.domain if welcome is not None else "")
        direct = lan if lan is not None else before is not None and before.lan
        choice = ExitChoice(stable_id=node.stable_id, name=node.name, lan=direct)
        await self._change(msgspec.structs.replace(self._kept.value, exit_node=choice))
        return Chosen(exit_node=self._exit(), notes=self._notes(lan=direct))

    async def off(self) -> Chosen:
        """Use no exit node."""
        await self._change(msgspec.structs.replace(self._kept.value, exit_node=None))
        return Chosen(exit_node=None)

    async def _change(self, preferences: Preferences) -> None:
        """Take other preferences, and the former ones again where the system refuses these."""
        before = self._kept.value
        self._kept.remember(preferences)
        try:
            await self._carry_out()
        except GhostwireError:
            self._kept.remember(before)
            await self._carry_out()
            raise

    def _exit(self) -> ExitStatus | None:
        plane, choice = self._plane(), self._kept.value.exit_node
        if plane is not None or choice is None:
            return plane.exit_status() if plane is not None else None
        return ExitStatus(name=choice.name, stable_id=choice.stable_id, lan=choice.lan, trouble=f"{choice.name} {DOWN}")

    def _notes(self, *, lan: bool) -> tuple[str, ...]:
        """Names are asked for where the system says, which an exit node may not reach."""
        hidden = [text for text in self._parts.resolvers() if _is_private(text)]
        if not hidden:
            return ()
        asked = f"this machine asks {', '.join(hidden)} for names"
        if lan:
            return (f"{asked}, directly: whoever runs it sees which names are looked up",)
        return (
            f"{asked}, a private address that the exit node may not reach: if no name is found, choose a public "
            "resolver, or let the local network be reached directly: gwctl exit-node use NAME --lan",
        )

    def _offers(self) -> list[AdvertisedStatus]:
        own, advertised = self._knowledge.own, self._advertised
        routes = self._knowledge.network.routes.values()
        approved = {route.prefix for route in routes if own is not None and route.router == own.id}
        found = []
        for prefix in advertised.prefixes:
            state = "approved" if str(prefix) in approved else "waiting"
            state = "down" if prefix in advertised.down else state
            found.append(AdvertisedStatus(prefix=str(prefix), state=state, configured=prefix in advertised.configured))
        return found

    def _nodes(self) -> list[MapNode]:
        own = self._knowledge.own
        return exits.exits(self._knowledge.network, own.id if own is not None else 0)

    def _running(self) -> Dataplane:
        plane = self._plane()
        if plane is None:
            raise Unavailable("the node is not up; run: gwctl up")
        return plane


def _meant(prefix: str) -> str:
    return "0.0.0.0/0" if prefix == "exit" else prefix


def _is_private(text: str) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_private and not address.is_loopback
