"""All nodes' routes within one transaction: what is advertised becomes a record, and is approved or not.

An administrator's word stands until he takes it back; the policy's only as long as the policy says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import Conflict, NotFound
from ghostwire.model import Node, Route
from ghostwire.server.routes.judgement import Judgement, Terms
from ghostwire.server.routes.rules import known_prefix
from ghostwire.wire.prefixes import DEFAULTS, Prefix, is_default

AUTO = "auto"
"""What ``approved_by`` says of a route that the policy approved."""
NOBODY = ""
"""And of one that waits for somebody's word."""


class Ledger:
    """``said`` are the lines for the log, once the transaction is stored."""

    def __init__(self, transaction: Transaction, terms: Terms, now: int) -> None:
        self._transaction, self._rules, self._now = transaction, terms.rules, now
        self._held: dict[int, dict[Prefix, Route]] = {}
        self._routes: defaultdict[int, list[Route]] = defaultdict(list)
        routes = transaction.find(Route)
        for route in routes:
            self._routes[route.node].append(route)
        self._judgement = Judgement(transaction, routes, terms)
        self.said: list[str] = []

    def take(self, offers: Mapping[int, Collection[Prefix] | None]) -> None:
        """Each of these nodes offers exactly these prefixes (None: the same as before); judge all that they have."""
        known = [node for node in offers if self._transaction.get(Node, node) is not None]
        for node in known:
            self._advertise(node, offers[node])
        for route in self._left_to_policy(known):
            if route.approved and not self._judgement.granted(route):
                self._decide(route, False, NOBODY)
        for route in self._left_to_policy(known):
            if not route.approved and self._judgement.may_be_automatic(route):
                self._decide(route, True, AUTO)

    def approve(self, node: Node, prefixes: Iterable[Prefix], by: str) -> Sequence[Route]:
        """Let peers use these routes of the node; Conflict where one is refused, NotFound where there is none."""
        return [self._approve(route, by) for route in self._find(node, prefixes)]

    def reject(self, node: Node, prefixes: Iterable[Prefix], by: str) -> Sequence[Route]:
        """Let peers use none of these routes, whatever the policy says."""
        return [self._decide(route, False, by) for route in self._find(node, prefixes)]

    def delete(self, node: Node, prefixes: Iterable[Prefix]) -> Sequence[Route]:
        """Forget these routes, and what was decided about them."""
        found = self._find(node, prefixes)
        for route in found:
            self._forget(route)
        return found

    # What is advertised

    def _advertise(self, node: int, offered: Collection[Prefix] | None) -> None:
        held = self._of(node)
        wanted = offered if offered is not None else [prefix for prefix, route in held.items() if route.advertised]
        taken = {prefix: None for prefix in wanted if not self._rules.refusal(prefix)}
        for prefix, route in list(held.items()):
            if prefix not in taken:
                self._withdraw(route)
        for prefix in taken:
            route = held.get(prefix) or self._new(node, prefix)
            if not route.advertised:
                self._put(msgspec.structs.replace(route, advertised=True))

    def _new(self, node: int, prefix: Prefix) -> Route:
        id_ = self._transaction.new_id(Route)
        return self._put(Route(id=id_, node=node, prefix=str(prefix), created=self._now))

    def _withdraw(self, route: Route) -> None:
        """What an administrator said about it is kept for when it comes back; what the policy said is not."""
        if _left_to_policy(route):
            self._forget(route)
        elif route.advertised:
            self._put(msgspec.structs.replace(route, advertised=False))

    # Who approves

    def _left_to_policy(self, nodes: Iterable[int]) -> list[Route]:
        """The nodes' routes about which no administrator has said anything, the oldest first."""
        routes = (route for node in nodes for route in self._of(node).values())
        return sorted(filter(_left_to_policy, routes), key=lambda route: route.id)

    def _approve(self, route: Route, by: str) -> Route:
        if objection := self._judgement.objection(route):
            raise Conflict(f"{route.prefix} of {self._judgement.name(route.node)} can't be approved: {objection}")
        return self._decide(route, True, by)

    def _decide(self, route: Route, approved: bool, by: str) -> Route:
        if (route.approved, route.approved_by) == (approved, by):
            return route
        self.said.append(f"{route.prefix} of {self._judgement.name(route.node)} {_verdict(approved, by)}")
        return self._put(msgspec.structs.replace(route, approved=approved, approved_by=by))

    # Records

    def _find(self, node: Node, prefixes: Iterable[Prefix]) -> list[Route]:
        held = self._of(node.id)
        wanted = dict.fromkeys(each for prefix in prefixes for each in _whole(prefix, held))
        for prefix in wanted:
            if prefix not in held:
                known = ", ".join(map(str, held)) or "nothing"
                raise NotFound(f"{node.name} has no route {prefix}; it offers {known}")
        return [held[prefix] for prefix in wanted]

    def _of(self, node: int) -> dict[Prefix, Route]:
        """The node's routes by prefix, kept in step."""
        if node not in self._held:
            self._held[node] = {known_prefix(route.prefix): route for route in self._routes[node]}
        return self._held[node]

    def _put(self, route: Route) -> Route:
        prefix, approved = known_prefix(route.prefix), self._judgement.approved
        self._of(route.node)[prefix] = route
        change = approved.add if route.approved else approved.discard
        change(prefix, route.node)
        self._transaction.put(route)
        return route

    def _forget(self, route: Route) -> None:
        prefix = known_prefix(route.prefix)
        del self._of(route.node)[prefix]
        self._judgement.approved.discard(prefix, route.node)
        self._transaction.delete(Route, route.id)


def _left_to_policy(route: Route) -> bool:
    return route.approved_by in (NOBODY, AUTO)


def _whole(prefix: Prefix, held: Collection[Prefix]) -> Iterator[Prefix]:
    """The prefix; of an exit node both that it has."""
    yield prefix
    if is_default(prefix):
        yield from (each for each in DEFAULTS if each in held)


def _verdict(approved: bool, by: str) -> str:
    if by == AUTO:
        return "is approved by the policy"
    if by == NOBODY:
        return "is no longer approved: the policy does not grant it"
    return f"is {'approved' if approved else 'rejected'} by {by}"
