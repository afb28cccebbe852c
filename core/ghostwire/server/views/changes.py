"""Takes one node, route or policy to where it belongs now, and marks whom that concerns."""

from __future__ import annotations

from ipaddress import ip_network

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.model import MapNode, MapRoute, Node, Route
from ghostwire.server.policy.labels import Labels
from ghostwire.server.policy.rulebook import Rulebook
from ghostwire.server.policy.sight import Lens, Passage, Sight, Standing
from ghostwire.server.views.history import UNKNOWN, Clock, Trace
from ghostwire.server.views.outbox import ALL, Key, Outbox, Outboxes, Turn
from ghostwire.server.views.roster import Roster
from ghostwire.server.views.scene import Scene
from ghostwire.server.views.telling import Telling
from ghostwire.wire.messages import NAMING

FEW = 256
"""Nodes that a new policy moves up to which each is told to whom it concerns; of more, every viewer looks anew."""
WASTE = 4096
"""Labels out of use from which on bits are dealt out anew, and everybody begins anew."""


class Changes:
    """Changes the scene. Since seeing is mutual, who sees a node no longer is also whom it sees no longer."""

    def __init__(
        self, policy: CompiledPolicy, scene: Scene, roster: Roster, clock: Clock, telling: Telling, outboxes: Outboxes
    ) -> None:
        self._policy, self._scene, self._roster, self._clock = policy, scene, roster, clock
        self._telling, self._outboxes = telling, outboxes
        self._down: dict[int, frozenset[str]] = {}
        self.examined = 0
        """Connected viewers that the last policy made look anew."""
        scene.sight = Sight(Rulebook(policy.rules, scene.labels))

    # Nodes

    def standing(self, node: Node) -> Standing:
        """Where the policy puts a node."""
        return self._roster.standing(self._policy, self._scene.sight.book, node)

    def begin(self, node: Node) -> None:
        """Show a node that all viewers know already, as far as they see it."""
        self._scene.sight.put(node.id, self.standing(node))
        self._scene.nodes.show(node.id, self.seen(node))

    def begin_hidden(self, node: Node) -> None:
        """Keep a node out of sight that viewers may know still, and its routes."""
        self._telling.nodes.leave(self._trace(node.id, self.standing(node)))
        for route in self._roster.routes_of(node.id):
            self._telling.routes.leave(Trace(self._clock.tick, route, UNKNOWN))

    def settle(self, id_: int, *, hidden: bool = False) -> None:
        """Bring a node to where its records put it by now, or out of everybody's sight."""
        node = None if hidden else self._roster.nodes.get(id_)
        before, after = self._scene.sight.standing(id_), self.standing(node) if node else None
        if node is None or after is None:
            fresh = False
            self._scene.nodes.hide(id_)
        elif fresh := self._scene.nodes.show(id_, self.seen(node)):
            self._telling.records.touch(id_, self._clock.tick)
        if before != after:
            self._shift(id_, before, after)
        if fresh and before:
            self._outboxes.mark(self.audience(id_), Key("node", id_))
        for route in self._roster.routes_of(id_):
            self.settle_route(route)

    def audience(self, id_: int) -> set[int]:
        """Who sees the node."""
        standing = self._scene.sight.standing(id_)
        return self._scene.sight.company(standing) | {id_} if standing else set()

    def seen(self, node: Node) -> MapNode:
        """A node as other nodes see it."""
        return MapNode(
            id=node.id,
            stable_id=node.stable_id,
            name=node.name,
            node_key=node.node_key,
            disco_key=node.disco_key,
            addresses=node.addresses,
            user=node.user,
            tags=node.tags,
            home=self._scene.homes.get(node.id),
        )

    def _shift(self, id_: int, before: Standing | None, after: Standing | None) -> None:
        """Let a node stand elsewhere, and tell who sees it, and itself, of what that changes."""
        sight, own = self._scene.sight, self._roster.routes_of(id_)
        lens, saw, routes = sight.lens(id_), self.audience(id_), sight.routes(id_, own)
        if after:
            sight.put(id_, after)
        else:
            sight.drop(id_)
        sees = self.audience(id_)
        self._telling.nodes.leave(self._trace(id_, before))
        if before and after:
            self._outboxes.mark(saw ^ sees, Key("node", id_))
            self._move_in_sets(id_, before, after)
        elif there := before or after:
            self._outboxes.mark(saw | sees, Key("node", id_), Key("place", id_, there.vector, there.owner))
        if after:
            self._look_around(id_, lens, saw ^ sees, routes ^ sight.routes(id_, own))
        self._scene.forget_sets((before.vector if before else 0) ^ (after.vector if after else 0))

    def _move_in_sets(self, id_: int, before: Standing, after: Standing) -> None:
        """Tell holders of sets that the node came into or left, whether or not they see it at this moment."""
        sight, touched = self._scene.sight, before.vector ^ after.vector
        self._outboxes.mark(sight.meeting(sight.book.naming(touched)), Key("place", id_, touched, before.owner))
        if before.owner != after.owner:
            touched = before.vector | after.vector
        if touched & sight.book.own_sets:
            kin = sight.owned(before.owner) | sight.owned(after.owner)
            self._outboxes.mark(kin, Key("place", id_, touched & sight.book.own_sets, before.owner))

    def _look_around(self, id_: int, lens: Lens | None, nodes: set[int], routes: set[int]) -> None:
        """The node itself sees by other labels now, and so these nodes and routes or no longer.

        Whoever sees otherwise twice between two frames begins anew: changes of sets were not kept for what it held
        in between.
        """
        box = self._outboxes.held.get(id_)
        if box is None:
            return
        if lens is None or box.before is not None:
            self._begin_anew(box)
        else:
            box.before = lens
        box.keys.update(Key("node", other) for other in nodes)
        box.keys.update(Key("route", route) for route in routes)
        self._outboxes.touch(box)

    def _begin_anew(self, box: Outbox) -> None:
        """What was kept for this viewer does not do to tell it the difference."""
        speaks = box.session.protocol >= NAMING and box.since != ALL
        box.begin_anew(self._clock.told(box.session.position) if speaks else None)

    def _trace(self, id_: int, was: Standing | None) -> Trace[Standing]:
        return Trace(self._clock.tick, id_, was)

    # Routes

    def set_down(self, node: int, down: frozenset[str], *, again: bool = False) -> bool:
        """Note which of its prefixes the node cannot reach; whether that is news.

        Its first word since the start always is, and with ``again``: viewers know what it said to a server before.
        """
        if self._down.get(node) == down and not again:
            return False
        again |= node not in self._down
        self._down[node] = down
        for route in self._roster.routes_of(node):
            self.settle_route(route, again=again)
        return True

    def forget(self, node: int) -> None:
        """The node is no more."""
        self._down.pop(node, None)

    def begin_route(self, route: Route) -> None:
        """Show a route that all viewers know already, as far as they see it."""
        passage = self._passage(route)
        if passage is not None:
            self._scene.sight.put_route(route.id, passage)
            self._scene.routes.show(route.id, self._seen_route(route))

    def settle_route(self, id_: int, *, again: bool = False) -> None:
        """Bring a route to where its records put it by now, and tell of it though it is as it was if ``again``."""
        sight, route = self._scene.sight, self._roster.routes.get(id_)
        before, after = sight.passages.get(id_), self._passage(route) if route else None
        saw = sight.travellers(before) if before else set()
        if route is None or after is None:
            news = self._scene.routes.hide(id_)
            sight.drop_route(id_)
        else:
            news = self._scene.routes.show(id_, self._seen_route(route)) or again
            sight.put_route(id_, after)
        if news or before != after:
            sees = sight.travellers(after) if after else set()
            self._telling.routes.leave(Trace(self._clock.tick, id_, before))
            self._outboxes.mark(saw | sees if news else saw ^ sees, Key("route", id_))

    def _passage(self, route: Route) -> Passage | None:
        """Where the policy puts a route, which goes by some of its router's labels; None where nobody sees it."""
        standing, node = self._scene.sight.standing(route.node), self._roster.nodes.get(route.node)
        if standing is None or node is None or not (route.advertised and route.approved):
            return None
        prefix = ip_network(route.prefix)
        selectors = self._policy.route_selectors(self._roster.bearer(node), prefix)
        vector = self._scene.labels.mask(selectors) & standing.vector
        return Passage(vector, route.node, exit=prefix.prefixlen == 0)

    def _seen_route(self, route: Route) -> MapRoute:
        down = route.prefix in self._down.get(route.node, ())
        return MapRoute(id=route.id, prefix=route.prefix, router=route.node, down=down)

    # Policies

    def adopt(self, policy: CompiledPolicy) -> None:
        """Put another policy in force: who sees by other labels or rules than before looks anew."""
        scene, old = self._scene, self._scene.sight
        dealt_anew = scene.labels.wasted(old.book.used) > WASTE
        if dealt_anew:
            scene.labels = Labels()
            self._clock.forget(self._clock.tick)
        self._policy, scene.sight = policy, Sight(Rulebook(policy.rules, scene.labels))
        scene.forget_all_sets()
        for id_ in scene.nodes.ids():
            scene.sight.put(id_, self.standing(self._roster.nodes[id_]))
        moved = {id_: was for id_ in scene.nodes.ids() if (was := old.standing(id_)) != scene.sight.standing(id_)}
        for id_, was in moved.items():
            self._telling.nodes.leave(self._trace(id_, was))
        self._adopt_routes(old)
        if dealt_anew:
            for box in self._outboxes.held.values():
                self._begin_anew(box)
                self._outboxes.touch(box)
        else:
            self._turn(old, {id_: was for id_, was in moved.items() if was})

    def _turn(self, old: Sight, moved: dict[int, Standing]) -> None:
        """Find out who looks anew; the others are told of each node that moved, unless those are many."""
        sight = self._scene.sight
        many, anew = len(moved) > FEW, 0
        for id_, was in moved.items() if many else ():
            anew |= was.vector ^ sight.at(id_).vector
        turn, changed, own = Turn(old, anew), sight.book.changed(old.book), sight.book.differs_for_own(old.book)
        self.examined = 0
        for id_, box in self._outboxes.held.items():
            lens, now = old.lens(id_), sight.standing(id_)
            if box.before is not None or lens is None or now is None:
                self._begin_anew(box)
            elif many or id_ in moved or now.vector & changed or (own and now.owner):
                box.before, box.turn = lens, turn
                self.examined += 1
            else:
                continue
            self._outboxes.touch(box)
        for id_, was in () if many else moved.items():
            self._outboxes.mark(old.company(was) ^ sight.company(sight.at(id_)), Key("node", id_))
            self._move_in_sets(id_, was, sight.at(id_))

    def _adopt_routes(self, old: Sight) -> None:
        """Routes that the policy takes otherwise than before; of others only who looks anew sees more or less."""
        for id_, before in old.passages.items():
            after = self._passage(self._roster.routes[id_])
            assert after is not None
            self._scene.sight.put_route(id_, after)
            if before != after:
                self._telling.routes.leave(Trace(self._clock.tick, id_, before))
                concerned = old.travellers(before) ^ self._scene.sight.travellers(after)
                self._outboxes.mark(concerned, Key("route", id_))
