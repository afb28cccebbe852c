"""What administrators do with routes: look at them, approve, reject, forget. Each is one durable transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ghostwire.capabilities.storage import Transaction
from ghostwire.errors import NotFound, Refused
from ghostwire.model import Node, Route
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.routes.judgement import Judgement
from ghostwire.server.routes.ledger import AUTO, Ledger
from ghostwire.server.routes.reported import Reported
from ghostwire.server.routes.rules import known_prefix
from ghostwire.server.state import expired
from ghostwire.wire.prefixes import DEFAULTS, Prefix, parse_prefix

EXIT = "exit"
"""The name of an exit node's two routes."""
SOMEBODY = "administrator"
"""Who it was, where nobody knows his name."""

Work = Callable[[Ledger, Node, Iterable[Prefix]], Sequence[Route]]


class RouteAdministration:
    """``node_of(text)`` finds a node by name or id. Its routes are named by their prefixes or ids; naming one of an
    exit node's two names both, and so does `EXIT`."""

    def __init__(self, mesh: LiveMesh, reported: Reported, node_of: Callable[[str], Node]) -> None:
        self._mesh, self._reported, self._node_of = mesh, reported, node_of

    def node(self, text: str) -> Node:
        """The node of that name or id."""
        return self._node_of(text)

    def routes(self, node: int | None = None) -> Sequence[Route]:
        """All routes by id, or one node's."""
        return self._mesh.list(Route) if node is None else self._mesh.state.routes_of(node)

    def route(self, id_: int) -> Route:
        """The route of that id."""
        found = self._mesh.state.get(Route, id_)
        if found is None:
            raise NotFound(f"there is no route {id_}; see: gwctl routes list")
        return found

    def notes(self, routes: Sequence[Route]) -> Mapping[int, str]:
        """What an administrator should know of each of these, where there is something."""
        undecided = not all(route.approved or route.approved_by for route in routes)
        rivals = self._mesh.list(Route) if undecided else ()
        judgement = Judgement(self._mesh.state, rivals, self._reported.terms)
        notes = ((route.id, judgement.note(route) or self._expiry(route)) for route in routes)
        return {id_: note for id_, note in notes if note}

    def _expiry(self, route: Route) -> str:
        node = self._mesh.state.get(Node, route.node)
        return "its node's key has expired" if node is not None and expired(node, self._mesh.now()) else ""

    async def approve(self, node: str, routes: Iterable[str], by: str) -> Sequence[Route]:
        """Let peers use them; Conflict where one is refused, or overlaps another router's and that is not to be."""
        return await self._change(node, routes, lambda ledger, *of: ledger.approve(*of, by=_name(by)))

    async def reject(self, node: str, routes: Iterable[str], by: str) -> Sequence[Route]:
        """Let peers use none of them, though the policy would approve it."""
        return await self._change(node, routes, lambda ledger, *of: ledger.reject(*of, by=_name(by)))

    async def delete(self, node: str, routes: Iterable[str]) -> Sequence[Route]:
        """Forget them, and what was decided; a node that still offers one begins anew."""
        gone = await self._change(node, routes, lambda ledger, *of: ledger.delete(*of))
        self._reported.judge(*{route.node for route in gone})
        return gone

    async def _change(self, node: str, routes: Iterable[str], change: Work) -> Sequence[Route]:
        """Find, and write; the log says what was decided."""
        found, said = self._node_of(node), list[str]()
        prefixes, terms, now = [self._prefix(found, text) for text in routes], self._reported.terms, self._mesh.now()

        def work(transaction: Transaction) -> Sequence[Route]:
            ledger = Ledger(transaction, terms, now)
            changed = change(ledger, found, prefixes)
            said.extend(ledger.said)
            return changed

        changed = await self._mesh.write(work)
        self._reported.say(said)
        return changed

    def _prefix(self, node: Node, text: str) -> Prefix:
        if text == EXIT:
            return DEFAULTS[0]
        if text.isascii() and text.isdecimal() and len(text) < 19:
            route = self.route(int(text))
            if route.node != node.id:
                raise NotFound(f"route {text} is none of {node.name}'s; see: gwctl routes list --node {node.name}")
            return known_prefix(route.prefix)
        try:
            return parse_prefix(text)
        except ValueError as error:
            raise Refused(str(error), "usage") from None


def _name(by: str) -> str:
    return by if by not in ("", AUTO) else SOMEBODY
