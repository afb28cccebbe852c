"""Who may approve a route: the policy by its autoApprovers, an administrator, or nobody.

First come, first served: the policy never approves a route that takes traffic from another node's approved one, as a
more specific prefix would do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.model import Node, Record, Route, User
from ghostwire.server.policy.bearers import bearer
from ghostwire.server.routes.overlaps import Overlaps
from ghostwire.server.routes.rules import Rules, known_prefix
from ghostwire.wire.prefixes import DEFAULTS, is_default

R = TypeVar("R", bound=Record)


class Records(Protocol):
    """Where nodes and users are looked up: a transaction, or the server's memory."""

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""


class Terms(msgspec.Struct, frozen=True):
    """By what routes are judged; ``longest``: one may lie in another router's if an administrator says so."""

    policy: CompiledPolicy
    rules: Rules
    longest: bool = False


class Judgement:
    """``approved`` are the approved prefixes of all nodes; whoever changes one keeps that in step."""

    def __init__(self, records: Records, routes: Iterable[Route], terms: Terms) -> None:
        self._records, self._terms = records, terms
        self.approved = Overlaps(route for route in routes if route.approved)

    def granted(self, route: Route) -> bool:
        """Whether the policy approves it; an exit node's two together."""
        node = self._records.get(Node, route.node)
        if node is None:
            return False
        who, prefix = bearer(node, self._records.get(User, node.user)), known_prefix(route.prefix)
        both = DEFAULTS if is_default(prefix) else (prefix,)
        return all(self._terms.policy.approves(who, each) for each in both)

    def may_be_automatic(self, route: Route) -> bool:
        """Whether the policy approves it, and nothing stands against that."""
        return self.granted(route) and not self._in_the_way(route, automatic=True)

    def objection(self, route: Route) -> str:
        """Why not even an administrator may approve it; empty where he may."""
        refusal = self._terms.rules.refusal(known_prefix(route.prefix))
        return refusal or self._in_the_way(route, automatic=False)

    def note(self, route: Route) -> str:
        """What an administrator should know of a route; empty where there is nothing to say."""
        refusal = self._terms.rules.refusal(known_prefix(route.prefix))
        decided = route.approved or route.approved_by
        return refusal or ("" if decided else self._in_the_way(route, automatic=self.granted(route)))

    def name(self, node: int) -> str:
        """The node's name."""
        found = self._records.get(Node, node)
        return found.name if found else f"node {node}"

    def _in_the_way(self, route: Route, *, automatic: bool) -> str:
        """Which other node's route stands against approving this one; empty where none does.

        To an administrator's word none does if another node routes the same prefix already: who has which traffic
        stays as it is.
        """
        prefix = known_prefix(route.prefix)
        shared = not automatic and bool(self.approved.routers(prefix) - {route.node})
        for rival in self.approved.rivals(prefix, route.node):
            text = f"it overlaps {rival.prefix} of {self.name(rival.node)}"
            if automatic and rival.wider:
                return f"{text}, and only an administrator may approve a part of another node's route"
            if not self._terms.longest and not shared:
                return f'{text}, which overlapping_routes = "refuse" in [server] does not let be'
        return ""
