"""A policy that is to come into force: where it puts every node and route is found out beside the one that holds, step
by step, and again for what changes meanwhile, until the two can change places at once."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.model import Route
from ghostwire.server.policy.labels import Labels, bits
from ghostwire.server.policy.rulebook import Rulebook
from ghostwire.server.policy.sight import Passage, Sight, Standing
from ghostwire.server.views.roster import Roster
from ghostwire.server.views.scene import Scene

LAST = 16
"""Nodes and routes that may be left for the moment when policies change places."""


class Adoption:
    """``sight`` is the one to come. ``moved`` are nodes that it puts elsewhere than they stand, ``rerouted`` routes,
    each with where that is; ``anew`` are labels that moving nodes carry, ``changed`` those whose rules are others."""

    def __init__(self, policy: CompiledPolicy, labels: Labels, scene: Scene, roster: Roster) -> None:
        self.policy, self.labels, self._scene, self._roster = policy, labels, scene, roster
        self.sight = Sight(Rulebook((), labels))
        self.moved: dict[int, Standing] = {}
        self.rerouted: dict[int, Passage] = {}
        self.anew = self.changed = 0
        self._nodes: dict[int, None] = {}
        self._routes: dict[int, None] = {}

    def node_changed(self, id_: int) -> None:
        """This node is to be looked at again."""
        self._nodes[id_] = None

    def route_changed(self, id_: int) -> None:
        """This route is to be looked at again."""
        self._routes[id_] = None

    def steps(self) -> Iterator[None]:
        """Find it all out, but for the last few."""
        book, old = self.sight.book, self._scene.sight
        for rule in self.policy.rules:
            book.add(rule)
            yield
        for bit in bits(book.used | old.book.used):
            self.changed |= book.differs(old.book, bit) << bit
            yield
        self._nodes |= dict.fromkeys(self._scene.nodes.ids())
        self._routes |= dict.fromkeys(old.passages)
        while len(self._nodes) + len(self._routes) > LAST:
            self._look()
            yield

    def finish(self) -> None:
        """Look at the last few."""
        while self._nodes or self._routes:
            self._look()

    def _look(self) -> None:
        """Routes last, for they go by where their routers stand."""
        if self._nodes:
            self._place(self._nodes.popitem()[0])
        else:
            self._place_route(self._routes.popitem()[0])

    def _place(self, id_: int) -> None:
        was = self._scene.sight.standing(id_)
        node = self._roster.nodes.get(id_)
        if node is None or was is None:
            self.sight.drop(id_)
            self.moved.pop(id_, None)
            return
        now = self._roster.standing(self.policy, self.sight.book, node)
        self.sight.put(id_, now)
        if now != was:
            self.moved[id_] = was
            self.anew |= was.vector ^ now.vector
        else:
            self.moved.pop(id_, None)

    def _place_route(self, id_: int) -> None:
        was, route = self._scene.sight.passages.get(id_), self._roster.routes.get(id_)
        now = passage(self.policy, self.sight, self._roster, route) if route else None
        if now is None or was is None:
            self.sight.drop_route(id_)
            self.rerouted.pop(id_, None)
            return
        self.sight.put_route(id_, now)
        if now != was:
            self.rerouted[id_] = was
        else:
            self.rerouted.pop(id_, None)


def passage(policy: CompiledPolicy, sight: Sight, roster: Roster, route: Route) -> Passage | None:
    """Where the policy puts a route, which goes by some of its router's labels; None where nobody sees it."""
    standing, node = sight.standing(route.node), roster.nodes.get(route.node)
    if standing is None or node is None or not (route.advertised and route.approved):
        return None
    prefix = ip_network(route.prefix)
    selectors = policy.route_selectors(roster.bearer(node), prefix)
    vector = sight.book.labels.mask(selectors) & standing.vector
    return Passage(vector, route.node, exit=prefix.prefixlen == 0)
