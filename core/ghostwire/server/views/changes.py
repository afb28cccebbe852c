"""Takes one node, route or policy to where it belongs now, and marks whom that concerns."""

from __future__ import annotations

from collections.abc import Iterator

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.model import MapNode, MapRoute, Node, Route
from ghostwire.server.policy.labels import Labels
from ghostwire.server.policy.rulebook import Rulebook
from ghostwire.server.policy.sight import Lens, Passage, Sight, Standing
from ghostwire.server.views.adoption import Adoption, passage
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
        self._coming: Adoption | None = None
        self.turning = False
        """Whether not all is known yet that a policy that has come into force changes."""
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
        if self._coming is not None:
            self._coming.node_changed(id_)

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
        if lens is None or box.unsettled:
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
        if self._coming is not None:
            self._coming.route_changed(id_)

    def _passage(self, route: Route) -> Passage | None:
        return passage(self._policy, self._scene.sight, self._roster, route)

    def _seen_route(self, route: Route) -> MapRoute:
        down = route.prefix in self._down.get(route.node, ())
        return MapRoute(id=route.id, prefix=route.prefix, router=route.node, down=down)

    # Policies

    def adopting(self, policy: CompiledPolicy) -> Iterator[None]:
        """Put another policy in force, step by step: others may do their work, and change anything, in between.

        Who sees by other labels or rules than before looks anew; the others are told of each node that moved and each
        route, unless those are many. From the moment it is in force until they are, nobody may be told (`turning`).
        """
        labels = self._scene.labels
        dealt_anew = labels.wasted(self._scene.sight.book.used) > WASTE
        coming = Adoption(policy, Labels() if dealt_anew else labels, self._scene, self._roster)
        try:
            self._coming = coming
            yield from coming.steps()
            coming.finish()
            self._coming, self.turning = None, True
            yield from self._put_in_force(coming, dealt_anew)
        finally:
            self._coming, self.turning = None, False
            self._outboxes.woken()

    def _put_in_force(self, coming: Adoption, dealt_anew: bool) -> Iterator[None]:
        old = self._replace(coming)
        if dealt_anew:
            self._clock.forget(self._clock.tick)
            self._all_begin_anew()
        elif self._turn(old, coming):
            yield from self._tell_few(old, coming)

    def _replace(self, coming: Adoption) -> Sight:
        """The policies change places; the sight that was."""
        scene, old = self._scene, self._scene.sight
        self._clock.judged()
        self._policy, scene.labels, scene.sight = coming.policy, coming.labels, coming.sight
        scene.forget_all_sets()
        for id_, was in coming.moved.items():
            self._telling.nodes.leave(self._trace(id_, was))
        for id_, before in coming.rerouted.items():
            self._telling.routes.leave(Trace(self._clock.tick, id_, before))
        return old

    def _all_begin_anew(self) -> None:
        for box in self._outboxes.held.values():
            self._begin_anew(box)
            self._outboxes.touch(box)

    def _turn(self, old: Sight, coming: Adoption) -> bool:
        """Find out who looks anew; whether the others are to be told of each thing that moved, those being few."""
        sight, moved = self._scene.sight, coming.moved
        few = len(moved) + len(coming.rerouted) <= FEW
        turn, own = Turn(old, 0 if few else coming.anew), sight.book.differs_for_own(old.book)
        self.examined = 0
        for id_, box in self._outboxes.held.items():
            was, now = old.standing(id_), sight.standing(id_)
            if box.unsettled or was is None or now is None:
                self._begin_anew(box)
            elif not few or id_ in moved or now.vector & coming.changed or (own and now.owner):
                box.turn = turn
                self.examined += 1
            else:
                continue
            self._outboxes.touch(box)
        return few

    def _tell_few(self, old: Sight, coming: Adoption) -> Iterator[None]:
        """Each as it stands by then: it may have moved again, or be gone, and who saw it last was told so."""
        sight = self._scene.sight
        for id_, was in coming.moved.items():
            now = sight.standing(id_)
            self._outboxes.mark(old.company(was) ^ (sight.company(now) if now else set()), Key("node", id_))
            if now is not None:
                self._move_in_sets(id_, was, now)
            yield
        for route, before in coming.rerouted.items():
            after = sight.passages.get(route)
            sees = sight.travellers(after) if after else set()
            self._outboxes.mark(old.travellers(before) ^ sees, Key("route", route))
            yield
