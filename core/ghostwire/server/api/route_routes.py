"""Routes beyond the mesh over the API: what administrators see of them and decide about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.rest import body_of, caller, route
from ghostwire.model import Node, Route
from ghostwire.server.api.views import route_state
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.routes.administration import RouteAdministration
from ghostwire.server.routes.reported import Reported
from ghostwire.wire.messages import MAX_ROUTES

PATH = "/api/v1/routes"

_Some = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_ROUTES)]


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node, by name or id, and of its routes some, by prefixes or ids."""

    node: str
    routes: _Some


class RouteRoutes(Routes):
    """``online(node)``: whether the node is connected."""

    name = "routes"

    def __init__(
        self,
        mesh: LiveMesh,
        administration: RouteAdministration,
        reported: Reported,
        online: Callable[[int], bool],
    ) -> None:
        self._mesh, self._administration, self._reported, self._online = mesh, administration, reported, online

    def public(self) -> Sequence[BaseRoute]:
        """None."""
        return []

    def admin(self) -> Sequence[BaseRoute]:
        """List; approve, reject and delete one, or several of a node at once."""
        return [
            route(PATH, self._list),
            route(PATH + "/approve", self._approve, "POST"),
            route(PATH + "/reject", self._reject, "POST"),
            route(PATH + "/delete", self._delete, "POST"),
            route(PATH + "/{id:int}", self._show),
            route(PATH + "/{id:int}", self._delete_one, "DELETE"),
            route(PATH + "/{id:int}/approve", self._approve_one, "POST"),
            route(PATH + "/{id:int}/reject", self._reject_one, "POST"),
        ]

    async def _list(self, request: Request) -> Any:
        """``?node=`` shows one node's; ``refused`` is what nodes offer and nobody may approve."""
        name = request.query_params.get("node")
        only = self._administration.node(name).id if name is not None else None
        refused = [
            {"node": self._node(node), "prefix": text, "reason": reason}
            for node, text, reason in self._reported.refused()
            if only in (None, node)
        ]
        return {"routes": self._views(self._administration.routes(only)), "refused": refused}

    async def _show(self, request: Request) -> Any:
        return self._views([self._one(request)])[0]

    async def _approve(self, request: Request) -> Any:
        chosen = await body_of(request, Chosen)
        routes = await self._administration.approve(chosen.node, chosen.routes, caller(request))
        return {"routes": self._views(routes)}

    async def _reject(self, request: Request) -> Any:
        chosen = await body_of(request, Chosen)
        routes = await self._administration.reject(chosen.node, chosen.routes, caller(request))
        return {"routes": self._views(routes)}

    async def _delete(self, request: Request) -> Any:
        chosen = await body_of(request, Chosen)
        return {"routes": self._views(await self._administration.delete(chosen.node, chosen.routes))}

    async def _approve_one(self, request: Request) -> Any:
        return {"routes": self._views(await self._administration.approve(*self._chosen(request), caller(request)))}

    async def _reject_one(self, request: Request) -> Any:
        return {"routes": self._views(await self._administration.reject(*self._chosen(request), caller(request)))}

    async def _delete_one(self, request: Request) -> Any:
        return {"routes": self._views(await self._administration.delete(*self._chosen(request)))}

    def _one(self, request: Request) -> Route:
        return self._administration.route(request.path_params["id"])

    def _chosen(self, request: Request) -> tuple[str, Sequence[str]]:
        found = self._one(request)
        return str(found.node), [str(found.id)]

    def _views(self, routes: Iterable[Route]) -> list[dict[str, Any]]:
        shown = list(routes)
        notes = self._administration.notes(shown)
        return [self._view(each, notes.get(each.id, "")) for each in shown]

    def _view(self, found: Route, note: str) -> dict[str, Any]:
        """A route; ``state`` is ``approved``, ``rejected`` or ``waiting``."""
        return {
            "id": found.id,
            "node": self._node(found.node),
            "prefix": found.prefix,
            "state": route_state(found),
            "approved_by": found.approved_by,
            "advertised": found.advertised,
            "online": self._online(found.node),
            "down": found.prefix in self._reported.down_of(found.node),
            "created": found.created,
            "note": note,
        }

    def _node(self, id_: int) -> dict[str, Any]:
        node = self._mesh.state.get(Node, id_)
        return {"id": id_, "name": node.name if node else ""}
