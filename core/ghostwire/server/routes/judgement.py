"""Who may approve a route: the policy by its autoApprovers, an administrator, or nobody.

First come, first served: the policy never approves a route that overlaps another node's approved one, whose traffic a
more specific prefix would take. Another router of the same prefix is welcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import msgspec

from ghostwire.capabilities.policy import Bearer, CompiledPolicy
from ghostwire.model import Node, Record, Route, User
from ghostwire.server.policy.bearers import bearer
from ghostwire.server.routes.overlaps import Overlaps, Rival
from ghostwire.server.routes.rules import Rules, known_prefix
from ghostwire.wire.prefixes import DEFAULTS, is_default

R = TypeVar("R", bound=Record)


class Records(Protocol):
    """Where nodes and users are looked up: a transaction, or the server's memory."""

    def get(self, kind: type[R], id_: int) -> R | None:
        """The record of that id."""


class Terms(msgspec.Struct, frozen=True):
    """By what routes are judged; ``longest``: one may overlap another router's if an administrator says so."""

    policy: CompiledPolicy
    rules: Rules
    longest: bool = False


class Judgement:
    """``approved`` are the approved prefixes of all nodes; whoever changes one keeps that in step."""

    def __init__(self, records: Records, routes: Iterable[Route], terms: Terms) -> None:
        self._records, self._terms = records, terms
        self.approved = Overlaps(route for route in routes if route.approved)
        self._bearers: dict[int, Bearer] = {}

    def granted(self, route: Route) -> bool:
        """Whether the policy approves it; an exit node's two together."""
        router, prefix = self._bearer(route.node), known_prefix(route.prefix)
        both = DEFAULTS if is_default(prefix) else (prefix,)
        return router is not None and all(self._terms.policy.approves(router, each) for each in both)

    def may_be_automatic(self, route: Route) -> bool:
        """Whether the policy approves it, and it takes no traffic of another node's approved route, nor may lose any
        to one."""
        return self.granted(route) and self._rival(route) is None

    def objection(self, route: Route) -> str:
        """Why not even an administrator may approve it; empty where he may.

        That it overlaps others is none where another node routes the same prefix already: who has which traffic stays
        as it is.
        """
        prefix = known_prefix(route.prefix)
        if refusal := self._terms.rules.refusal(prefix):
            return refusal
        rival = self._rival(route)
        if rival is None or self._terms.longest or self.approved.routers(prefix) - {route.node}:
            return ""
        return f'{self._overlap(rival)}, which overlapping_routes = "refuse" in [server] does not let be'

    def note(self, route: Route) -> str:
        """What an administrator should know of a route; empty where there is nothing to say."""
        if route.approved or route.approved_by:
            return self._terms.rules.refusal(known_prefix(route.prefix))
        rival = self._rival(route)
        alone = f"{self._overlap(rival)}, so that only an administrator may approve it" if rival else ""
        return self.objection(route) or (alone if self.granted(route) else "")

    def name(self, node: int) -> str:
        """The node's name."""
        found = self._records.get(Node, node)
        return found.name if found else f"node {node}"

    def _bearer(self, id_: int) -> Bearer | None:
        if id_ not in self._bearers and (node := self._records.get(Node, id_)) is not None:
            self._bearers[id_] = bearer(node, self._records.get(User, node.user))
        return self._bearers.get(id_)

    def _rival(self, route: Route) -> Rival | None:
        """Another node's approved route that this one overlaps without being the same, a wider one first."""
        return next(self.approved.rivals(known_prefix(route.prefix), route.node), None)

    def _overlap(self, rival: Rival) -> str:
        return f"it overlaps {rival.prefix} of {self.name(rival.node)}"
