"""Which router each prefix goes through: the lowest route id that works, as the map, its routers' health and this
node's own rules have it.

An engine: after each event `drain` tells the peers whose prefixes changed, and which routers are to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ghostwire.model import MapChange, NetworkMap
from ghostwire.node.routing.health import Health, Hold, Level, Signs
from ghostwire.node.routing.offers import Offer, Offers
from ghostwire.node.routing.rules import Rules
from ghostwire.wire.prefixes import Prefix, is_default


class Outage:
    """A route whose router says that it cannot now, or said so once; ``ready`` is when it counts as well again, ``due``
    the same until that has come."""

    def __init__(self) -> None:
        self.ready: int | None = None
        self.due: int | None = None
        self._hold = Hold()

    def began(self, now: int) -> None:
        """The router says so."""
        self.ready = self.due = None
        self._hold.failed(now)

    def ended(self, now: int) -> None:
        """The router no longer says so."""
        self.ready = self.due = self._hold.until(now)

    def level(self, now: int) -> Level:
        """How fit the route is."""
        if self.ready is None:
            return Level.DOWN
        return Level.RECOVERING if now < self.ready else Level.WORKS


class Router:
    """Follows the map, this node's rules and preferences; ``signs`` tells what is to be seen of a peer now.

    What a change costs does not grow with the mesh: only the prefixes that it is about are chosen anew.
    """

    def __init__(self, network: NetworkMap, signs: Callable[[int], Signs]) -> None:
        self._network, self._signs = network, signs
        self._own = 0
        self._rules = Rules()
        self._accept = True
        self._exit: int | None = None
        self.offers = Offers()
        self._usable: dict[Prefix, tuple[Offer, ...]] = {}
        self._via: dict[Prefix, Offer] = {}
        self._health: dict[int, Health] = {}
        self._outages: dict[int, Outage] = {}
        self._refused: dict[Prefix, str] = {}
        self._texts: tuple[str, ...] | None = None
        self._changed: set[int] = set()
        self._probes: list[tuple[int, int]] = []

    # What happens

    def follow(self, change: MapChange, own: int, now: int) -> None:
        """The map changed so."""
        self._own = own
        touched = {offer.prefix for pair in self.offers.follow(change) for offer in self._noted(*pair, now) if offer}
        nodes = [*(node.id for node in change.nodes), *change.removed_nodes]
        if change.full:
            nodes += self.offers.by_router
        for node in nodes:
            touched.update(offer.prefix for offer in self.offers.by_router.get(node, {}).values())
        self._choose(touched, now)

    def obey(self, rules: Rules, now: int) -> None:
        """These are the rules from now on."""
        if rules != self._rules:
            self._rules = rules
            self._choose(tuple(self.offers.by_prefix), now)

    def prefer(self, exit_node: int | None, *, accept: bool, now: int) -> None:
        """Default routes go through this peer (None: through none), others through any if they are accepted."""
        if (exit_node, accept) != (self._exit, self._accept):
            former, self._exit, self._accept = self._exit, exit_node, accept
            self._choose(tuple(self.offers.by_prefix), now)
            self._watch({each for each in (former, exit_node) if each is not None}, now)

    def awake(self, peer: int, now: int) -> None:
        """Data of this peer moves again."""
        if health := self._health.get(peer):
            health.awake(now)

    # What there is

    def allowed(self, peer: int) -> tuple[Prefix, ...]:
        """The prefixes that go through this peer."""
        offers = self.offers.by_router.get(peer, {}).values()
        return tuple(offer.prefix for offer in offers if self._via.get(offer.prefix) == offer)

    def accepts(self, peer: int) -> tuple[Prefix, ...]:
        """Those that go through another router and that this one may answer for as well."""
        offers = self.offers.by_router.get(peer, {}).values()
        return tuple(each.prefix for each in offers if self._via.get(each.prefix) != each and self._stands_by(each))

    def texts(self) -> tuple[str, ...]:
        """All prefixes that go through some router, in order, but default routes."""
        if self._texts is None:
            self._texts = tuple(sorted(str(prefix) for prefix in self._via if not is_default(prefix)))
        return self._texts

    @property
    def refusals(self) -> Mapping[Prefix, str]:
        """The prefixes that others offer and this node does not use, and why."""
        return self._refused

    def chosen(self, prefix: Prefix) -> Offer | None:
        """The offer that is used."""
        return self._via.get(prefix)

    def level(self, offer: Offer, now: int) -> Level:
        """How fit an offer is."""
        health, outage = self._health.get(offer.router), self._outages.get(offer.id)
        path = health.level if health is not None else Level.WORKS
        return max(path, outage.level(now) if outage is not None else Level.WORKS)

    def dead_since(self, peer: int) -> int | None:
        """Since when this router does not answer, where it was asked and does not."""
        health = self._health.get(peer)
        return health.since if health is not None and health.level is Level.DEAD else None

    # Time

    def deadline(self) -> int | None:
        """When `advance` is to be called next."""
        return min((due for due in self._moments() if due is not None), default=None)

    def advance(self, now: int) -> None:
        """Look after the routers that are due."""
        for peer, health in list(self._health.items()):
            if health.due is not None and health.due <= now:
                self._look(peer, health, now)
        for id_, outage in self._outages.items():
            if outage.due is not None and outage.due <= now:
                outage.due = None
                self._choose((self.offers.all[id_].prefix,), now)

    def drain(self) -> tuple[set[int], list[tuple[int, int]]]:
        """The peers whose prefixes are others since the last call, and the routers to ask: peer, and how often it was
        asked before in the same matter."""
        drained = self._changed, self._probes
        self._changed, self._probes = set(), []
        return drained

    # Choosing

    def _choose(self, prefixes: Iterable[Prefix], now: int) -> None:
        routers: set[int] = set()
        for prefix in prefixes:
            routers |= self._choose_one(prefix, now)
        self._watch(routers, now)

    def _choose_one(self, prefix: Prefix, now: int) -> set[int]:
        """Choose anew; the routers that have to do with it."""
        before, usable = self._usable.get(prefix, ()), self._candidates(prefix)
        former = self._via.get(prefix)
        best = min(usable, key=lambda each: (self.level(each, now), each.id), default=None)
        if (before, former) != (usable, best):
            self._changed.update(offer.router for offer in (*before, *usable))
        if (former is None) != (best is None):
            self._texts = None
        if best is None:
            self._usable.pop(prefix, None)
            self._via.pop(prefix, None)
        else:
            self._usable[prefix], self._via[prefix] = usable, best
        return {offer.router for offer in (*before, *usable)}

    def _candidates(self, prefix: Prefix) -> tuple[Offer, ...]:
        """The offers that may be used, those of routers that do not work included."""
        self._refused.pop(prefix, None)
        held = self.offers.by_prefix.get(prefix, {})
        offers = [held[id_] for id_ in sorted(held) if held[id_].router in self._network.nodes]
        others = tuple(offer for offer in offers if offer.router != self._own)
        if is_default(prefix):
            return tuple(offer for offer in others if offer.router == self._exit)
        if others and (why := self._rules.refusal(prefix)):
            self._refused[prefix] = why
        return () if prefix in self._refused or not self._accept else others

    def _stands_by(self, offer: Offer) -> bool:
        return offer in self._usable.get(offer.prefix, ())

    def _noted(self, before: Offer | None, now_: Offer | None, now: int) -> tuple[Offer | None, Offer | None]:
        """Keep account of what routers say of themselves."""
        id_ = (now_ or before).id  # type: ignore[union-attr]
        outage = self._outages.get(id_)
        if now_ is None:
            self._outages.pop(id_, None)
        elif now_.down and (outage is None or outage.ready is not None):
            self._outages.setdefault(id_, Outage()).began(now)
        elif not now_.down and outage is not None and outage.ready is None:
            outage.ended(now)
        return before, now_

    # Watching

    def _watch(self, routers: Iterable[int], now: int) -> None:
        """Begin to look after those on which something hangs, and leave the others that are well."""
        for router in routers:
            health, needed = self._health.get(router), self._matters(router)
            if health is None and needed:
                self._health[router] = Health(now)
            elif health is not None and not needed and self._is_done_with(router, health):
                del self._health[router]

    def _matters(self, router: int) -> bool:
        """Whether another router could take over from this one; an exit node's state is worth knowing in any case."""
        if router == self._exit:
            return True
        offers = self.offers.by_router.get(router, {}).values()
        return any(self._via.get(offer.prefix) == offer and len(self._usable[offer.prefix]) > 1 for offer in offers)

    def _is_done_with(self, router: int, health: Health) -> bool:
        return health.level is Level.WORKS or router not in self.offers.by_router

    def _look(self, peer: int, health: Health, now: int) -> None:
        before = health.level
        attempt = health.advance(self._signs(peer), now)
        if attempt is not None:
            self._probes.append((peer, attempt))
        if health.level is not before:
            self._choose([offer.prefix for offer in self.offers.by_router.get(peer, {}).values()], now)
            self._watch((peer,), now)

    def _moments(self) -> Iterable[int | None]:
        for health in self._health.values():
            yield health.due
        for outage in self._outages.values():
            yield outage.due
