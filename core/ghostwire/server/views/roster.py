"""The records that the map is made of, and where the policy in force puts each node and route."""

from __future__ import annotations

from collections import defaultdict

from ghostwire.capabilities.policy import Bearer, CompiledPolicy
from ghostwire.capabilities.storage import Change
from ghostwire.model import Node, Route, User
from ghostwire.server.policy.bearers import bearer
from ghostwire.server.policy.rulebook import Rulebook
from ghostwire.server.policy.sight import Standing


class Roster:
    """Users, nodes and routes by id."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.users: dict[int, User] = {}
        self.routes: dict[int, Route] = {}
        self._nodes_of: defaultdict[int, set[int]] = defaultdict(set)
        self._routes_of: defaultdict[int, set[int]] = defaultdict(set)
        self._last: tuple[int, Bearer] | None = None
        """The bearer that was asked for last: it is asked for once for each of its routes."""

    def take(self, change: Change) -> set[int]:
        """Take over a change; the nodes that may stand elsewhere now."""
        record, self._last = change.record, None
        if change.kind is Node:
            self._take_node(change.id, record if isinstance(record, Node) else None)
            return {change.id}
        if change.kind is Route:
            return self._take_route(change.id, record if isinstance(record, Route) else None)
        if change.kind is User:
            return self._take_user(change.id, record if isinstance(record, User) else None)
        return set()

    def routes_of(self, node: int) -> tuple[int, ...]:
        """The ids of a node's routes."""
        return tuple(sorted(self._routes_of.get(node, ())))

    def nodes_of(self, user: int) -> set[int]:
        """The ids of a user's nodes."""
        return set(self._nodes_of.get(user, ()))

    def bearer(self, node: Node) -> Bearer:
        """A node as policies know it."""
        if self._last is None or self._last[0] != node.id:
            routes = [self.routes[route] for route in self.routes_of(node.id)]
            self._last = node.id, bearer(node, self.users.get(node.user), routes)
        return self._last[1]

    def standing(self, policy: CompiledPolicy, book: Rulebook, node: Node) -> Standing:
        """Where the policy puts a node."""
        vector = book.labels.mask(policy.selectors(self.bearer(node))) & book.used
        return Standing(vector | book.everyone, 0 if node.tags else node.user)

    def _take_node(self, id_: int, node: Node | None) -> None:
        old = self.nodes.pop(id_, None)
        if old is not None:
            self._nodes_of[old.user].discard(id_)
        if node is not None:
            self.nodes[id_] = node
            self._nodes_of[node.user].add(id_)

    def _take_route(self, id_: int, route: Route | None) -> set[int]:
        old = self.routes.pop(id_, None)
        if old is not None:
            self._routes_of[old.node].discard(id_)
        if route is not None:
            self.routes[id_] = route
            self._routes_of[route.node].add(id_)
        return {each.node for each in (old, route) if each is not None}

    def _take_user(self, id_: int, user: User | None) -> set[int]:
        self.users.pop(id_, None)
        if user is not None:
            self.users[id_] = user
        return self.nodes_of(id_)
