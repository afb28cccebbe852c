"""Keeps the routes of a running node: feeds the engine that chooses, carries out what it decides, answers for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ghostwire.driver import Driver
from ghostwire.engine import SECOND
from ghostwire.model import MapChange, MapNode
from ghostwire.node.routing.guarded import Guarded
from ghostwire.node.routing.health import Level
from ghostwire.node.routing.offers import Offer
from ghostwire.node.routing.report import ExitStatus, RouteStatus
from ghostwire.node.routing.router import Router
from ghostwire.node.routing.rules import Rules
from ghostwire.wire.prefixes import DEFAULTS, Prefix, is_default

if TYPE_CHECKING:
    from ghostwire import Tunnel
    from ghostwire.node.making import Surroundings
    from ghostwire.node.parts import Parts
    from ghostwire.node.routing.prober import Prober

WHAT_NOW = "packets to the internet go nowhere; gwctl exit-node use NAME chooses another, gwctl exit-node off none"
_STATES = {
    Level.WORKS: "standby",
    Level.RECOVERING: "recovering",
    Level.DEAD: "not answering",
    Level.DOWN: "down",
}
_WHY = {
    Level.RECOVERING: "it works again, and has to for a while until packets go back to it",
    Level.DEAD: "its tunnel answers nothing",
    Level.DOWN: "it says that it has no way there now",
}


class RouteManager:
    """Works from `direct` to `close`. ``rerouted`` is called with the peers whose prefixes are others now, except where
    `follow` and `reroute` give them back; ``reconfigure`` when the system's routes may have to be others."""

    def __init__(
        self,
        parts: Parts,
        around: Surroundings,
        rerouted: Callable[[set[int]], object],
        reconfigure: Callable[[], object],
    ) -> None:
        self._parts, self._around, self._rerouted, self._reconfigure = parts, around, rerouted, reconfigure
        self.router = Router(around.network, lambda peer: self._prober.signs(peer))
        self._guarded = Guarded(parts.lookup, parts.resolvers, self._guarded_changed)
        self._mesh: tuple[Prefix, ...] = ()
        self._own: MapNode | None = None
        self._on = self._look_around()
        self._exit: int | None = None
        self._told: dict[Prefix, str] = {}
        self._prober: Prober
        self._driver = Driver(self.router, parts.clock, self._carry_out)

    def direct(self, prober: Prober, tunnel: Tunnel) -> None:
        """Look at routers and ask them by these."""
        prober.attach(tunnel)
        self._prober = prober

    async def close(self) -> None:
        """Stop; harmless when called twice."""
        self._driver.close()
        await self._guarded.close()

    # What happens

    def follow(self, change: MapChange, own: MapNode, mesh: tuple[Prefix, ...]) -> set[int]:
        """The map changed so; the peers whose prefixes are others."""
        network = self._around.network
        if change.full or change.relays or change.removed_relays:
            self._guarded.follow(self._around.server(), network.relays.values())
        if change.routes:
            self._guarded.start()
        self._find_exit(change)
        if mesh != self._mesh or self._own is None:
            self._mesh, self._own = mesh, own
            self._obey()
        self._prefer()
        self.router.follow(change, own.id, self._parts.clock.now())
        self._prober.forget(change.removed_nodes)
        return self._settled()

    def reroute(self) -> set[int]:
        """Preferences, or what this node offers itself, are others; the peers whose prefixes are."""
        self._find_exit(None)
        self._obey()
        self._prefer()
        return self._settled()

    def awake(self, peer: int) -> None:
        """Data of this peer moves again."""
        self.router.awake(peer, self._parts.clock.now())
        self._driver.settle()

    def links_changed(self) -> None:
        """This machine's links changed."""
        self._on = self._look_around()
        self._guarded.look_again()
        self._obey()
        self._settle()

    # What the system should have

    def prefixes(self) -> tuple[str, ...]:
        """The prefixes beyond the mesh that lead into the device. With an exit node chosen that is all there is, be it
        there or not: what it cannot carry goes nowhere."""
        chosen = self._around.preferences.value.exit_node is not None
        return (*self.router.texts(), *(map(str, DEFAULTS) if chosen else ()))

    def approved(self) -> frozenset[Prefix]:
        """What this node offers and the mesh lets it."""
        own = self.router.offers.by_router.get(self._own.id, {}) if self._own is not None else {}
        return frozenset(offer.prefix for offer in own.values())

    # What there is

    def statuses(self) -> list[RouteStatus]:
        """Every route that other nodes offer."""
        own = self._own.id if self._own is not None else 0
        offers = [offer for offer in self.router.offers.all.values() if offer.router != own]
        return [self._status(offer) for offer in sorted(offers, key=_order)]

    def exit_status(self) -> ExitStatus | None:
        """The exit node chosen, if any."""
        choice = self._around.preferences.value.exit_node
        if choice is None:
            return None
        node = self._around.network.nodes.get(self._exit or 0)
        trouble = self._exit_trouble(node)
        name = node.name if node is not None else choice.name
        told = f"{name} {trouble}: {WHAT_NOW}" if trouble else ""
        return ExitStatus(name=name, stable_id=choice.stable_id, lan=choice.lan, trouble=told)

    def _exit_trouble(self, node: MapNode | None) -> str:
        if node is None:
            return "is not in the mesh any more, or not for this node"
        offers = [offer for prefix in DEFAULTS if (offer := self.router.chosen(prefix)) is not None]
        if not offers:
            return "offers no internet any more"
        since = self.router.dead_since(node.id)
        if since is not None:
            return f"has not answered for {(self._parts.clock.now() - since) // SECOND} s"
        return "says that it cannot reach the internet now" if all(offer.down for offer in offers) else ""

    def _status(self, offer: Offer) -> RouteStatus:
        node = self._around.network.nodes.get(offer.router)
        state, why = self._state(offer, known=node is not None)
        name = node.name if node is not None else f"node {offer.router}"
        return RouteStatus(id=offer.id, prefix=str(offer.prefix), router=name, state=state, why=why)

    def _state(self, offer: Offer, *, known: bool) -> tuple[str, str]:
        refusal = self.router.refusals.get(offer.prefix)
        if not known:
            return "refused", "this node does not know its router"
        if refusal:
            return "refused", refusal
        if is_default(offer.prefix) and offer.router != self._exit:
            return ("offered", "") if not offer.down else ("down", _WHY[Level.DOWN])
        if not is_default(offer.prefix) and not self._accepts():
            return "not accepted", "this node uses no routes of others; gwctl route accept on changes that"
        level = self.router.level(offer, self._parts.clock.now())
        if self.router.chosen(offer.prefix) != offer:
            return _STATES[level], _WHY.get(level, "")
        return ("in use", "") if level < Level.DEAD else (_STATES[level], f"{_WHY[level]}, and no other does better")

    # Carrying out

    def _guarded_changed(self) -> None:
        self._obey()
        self._settle()

    def _obey(self) -> None:
        if self._own is None:
            return
        offered = frozenset(prefix for prefix in self._around.advertised.prefixes if not is_default(prefix))
        rules = Rules(self._mesh, self._guarded.addresses, self._on, offered)
        self.router.obey(rules, self._parts.clock.now())

    def _look_around(self) -> tuple[Prefix, ...]:
        """The networks that this machine is on, and its addresses."""
        platform = self._parts.platform
        return tuple(ip_network(text) for text in (*platform.networks(), *platform.local_addresses()))

    def _prefer(self) -> None:
        self.router.prefer(self._exit, accept=self._accepts(), now=self._parts.clock.now())

    def _accepts(self) -> bool:
        said = self._around.preferences.value.accept_routes
        return self._parts.accept_routes if said is None else said

    def _find_exit(self, change: MapChange | None) -> None:
        """Find the chosen exit node among what changed (None: among all)."""
        choice = self._around.preferences.value.exit_node
        nodes = self._around.network.nodes
        if choice is None or self._exit not in nodes:
            self._exit = None
        if choice is None:
            return
        looked_at: Sequence[MapNode] = change.nodes if change is not None else tuple(nodes.values())
        found = next((node.id for node in looked_at if node.stable_id == choice.stable_id), None)
        self._exit = found if found is not None or change is None else self._exit

    def _settled(self) -> set[int]:
        """The peers whose prefixes changed, to be told to the tunnel by whoever asked."""
        self._tell()
        changed, probes = self.router.drain()
        self._probe(probes)
        self._driver.settle()
        return changed

    def _settle(self) -> None:
        changed = self._settled()
        if changed:
            self._rerouted(changed)
            self._reconfigure()

    def _carry_out(self) -> None:
        changed, probes = self.router.drain()
        if changed:
            self._rerouted(changed)
        self._probe(probes)

    def _probe(self, probes: Sequence[tuple[int, int]]) -> None:
        for peer, attempt in probes:
            if peer in self._around.network.nodes:
                self._prober.ask(peer, attempt)

    def _tell(self) -> None:
        """Log refused routes once."""
        refused = dict(self.router.refusals)
        for prefix in refused.keys() - self._told.keys():
            self._parts.log.warning("the route %s is not used: %s", prefix, refused[prefix])
        self._told = refused


def _order(offer: Offer) -> tuple[int, int, int, int]:
    prefix = offer.prefix
    return prefix.version, int(prefix.network_address), prefix.prefixlen, offer.id
