"""Routes beyond the mesh over the API: what administrators see of them and decide about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.rest import MAX_PAGE, NUMBER, Listing, Page, caller, expect, paged, route, shows
from ghostwire.model import Node, Route
from ghostwire.server.api.views import Named, View, route_state
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.routes.administration import RouteAdministration
from ghostwire.server.routes.reported import Reported
from ghostwire.server.texts import Routed
from ghostwire.wire.messages import MAX_ROUTES

PATH = "/api/v1/routes"

_Some = Annotated[tuple[Routed, ...], msgspec.Meta(min_length=1, max_length=MAX_ROUTES)]


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node, by name or id, and of its routes some, by prefixes or ids."""

    node: str
    routes: _Some


class Choice(Page, frozen=True, forbid_unknown_fields=True):
    """Which routes: those of one node (a name or an id), or of all."""

    node: str | None = None


class RouteView(View, frozen=True):
    """A route; ``state`` is ``approved``, ``rejected`` or ``waiting``. ``online``: whether its node is connected,
    ``down``: whether that says that it cannot reach the prefix at present."""

    id: int
    node: Named
    prefix: str
    state: str
    approved_by: str
    advertised: bool
    online: bool
    down: bool
    created: int
    note: str


class RefusedRoute(View, frozen=True):
    """What a node offers and nobody may approve."""

    node: Named
    prefix: str
    reason: str


class SomeRoutes(View, frozen=True):
    """Routes by id."""

    routes: tuple[RouteView, ...]


class RoutesView(Listing, frozen=True, kw_only=True):
    """Routes by id; with the first page comes what was refused, 500 at most: ask for one node to see all."""

    routes: tuple[RouteView, ...]
    refused: tuple[RefusedRoute, ...]


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
        one, paths = PATH + "/{id}", {"id": NUMBER}
        some: dict[str, Any] = {"body": Chosen, "answer": SomeRoutes}
        single: dict[str, Any] = {"answer": SomeRoutes, "guarded": True, "paths": paths}
        return [
            route(
                PATH,
                self._list,
                summary="List routes",
                query=Choice,
                answer=RoutesView,
                errors=(404,),
                ids="/routes/0/id",
            ),
            route(PATH + "/approve", self._approve, "POST", summary="Approve routes", errors=(404,), **some),
            route(PATH + "/reject", self._reject, "POST", summary="Reject routes", errors=(404,), **some),
            route(PATH + "/delete", self._delete, "POST", summary="Delete routes", errors=(404,), **some),
            route(one, self._show, summary="Show route", answer=RouteView, paths=paths),
            route(one, self._delete_one, "DELETE", summary="Delete route", **single),
            route(one + "/approve", self._approve_one, "POST", summary="Approve route", **single),
            route(one + "/reject", self._reject_one, "POST", summary="Reject route", **single),
        ]

    async def _list(self, request: Request, choice: Choice) -> Any:
        only = self._administration.node(choice.node).id if choice.node is not None else None
        routes, after = paged(self._administration.routes(only), choice)
        refused = () if choice.after else self._refused(only)
        return RoutesView(routes=self._views(routes), refused=tuple(refused), next=after)

    def _refused(self, only: int | None) -> Iterable[RefusedRoute]:
        found = (each for each in self._reported.refused() if only in (None, each[0]))
        for node, prefix, reason in islice(found, MAX_PAGE):
            yield RefusedRoute(node=self._node(node), prefix=prefix, reason=reason)

    async def _show(self, request: Request) -> Any:
        found = self._one(request)
        shows(found)
        return self._views([found])[0]

    async def _approve(self, request: Request, chosen: Chosen) -> Any:
        return self._some(await self._administration.approve(chosen.node, chosen.routes, caller(request)))

    async def _reject(self, request: Request, chosen: Chosen) -> Any:
        return self._some(await self._administration.reject(chosen.node, chosen.routes, caller(request)))

    async def _delete(self, request: Request, chosen: Chosen) -> Any:
        return self._some(await self._administration.delete(chosen.node, chosen.routes))

    async def _approve_one(self, request: Request) -> Any:
        return self._some(await self._administration.approve(*self._chosen(request), caller(request)))

    async def _reject_one(self, request: Request) -> Any:
        return self._some(await self._administration.reject(*self._chosen(request), caller(request)))

    async def _delete_one(self, request: Request) -> Any:
        return self._some(await self._administration.delete(*self._chosen(request)))

    def _one(self, request: Request) -> Route:
        return self._administration.route(request.path_params["id"])

    def _chosen(self, request: Request) -> tuple[str, Sequence[str]]:
        """The route that is to be changed, unless it is another than the caller saw."""
        found = self._one(request)
        expect(found)
        return str(found.node), [str(found.id)]

    def _some(self, routes: Iterable[Route]) -> SomeRoutes:
        return SomeRoutes(routes=self._views(routes))

    def _views(self, routes: Iterable[Route]) -> tuple[RouteView, ...]:
        shown = list(routes)
        notes = self._administration.notes(shown)
        return tuple(self._view(each, notes.get(each.id, "")) for each in shown)

    def _view(self, found: Route, note: str) -> RouteView:
        return RouteView(
            id=found.id,
            node=self._node(found.node),
            prefix=found.prefix,
            state=route_state(found),
            approved_by=found.approved_by,
            advertised=found.advertised,
            online=self._online(found.node),
            down=found.prefix in self._reported.down_of(found.node),
            created=found.created,
            note=note,
        )

    def _node(self, id_: int) -> Named:
        node = self._mesh.state.get(Node, id_)
        return Named(id=id_, name=node.name if node else "")
