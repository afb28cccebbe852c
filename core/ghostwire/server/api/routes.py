"""Core's own routes: health for all; server, users and nodes for administrators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.frontdoor.rest import body_of, route
from ghostwire.model import Node, Relay, User
from ghostwire.server.api.views import home_view, node_view, routes_view, user_view
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.nodes.administration import Administration
from ghostwire.server.nodes.presence import Presence
from ghostwire.server.relays.homes import Homes


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to be made."""

    name: str
    email: str = ""


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another way; None: as before."""

    name: str | None = None
    email: str | None = None


class NodeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another way; None: as before."""

    name: str | None = None
    tags: tuple[str, ...] | None = None


class CoreRoutes(Routes):
    """``describe`` gives what `GET /api/v1/server` answers, ``unnamed`` those of some tags that no rule names."""

    name = "core"

    def __init__(
        self,
        mesh: LiveMesh,
        administration: Administration,
        presence: Presence,
        homes: Homes,
        describe: Callable[[], dict[str, Any]],
        unnamed: Callable[[Sequence[str]], Sequence[str]] = lambda tags: (),
    ) -> None:
        self._mesh, self._administration, self._presence = mesh, administration, presence
        self._homes, self._describe, self._unnamed = homes, describe, unnamed

    def public(self) -> Sequence[BaseRoute]:
        """Health."""
        return [route("/healthz", self._health)]

    def admin(self) -> Sequence[BaseRoute]:
        """Server, users, nodes."""
        return [
            route("/api/v1/server", self._server),
            route("/api/v1/users", self._users),
            route("/api/v1/users", self._add_user, "POST"),
            route("/api/v1/users/{id}", self._user),
            route("/api/v1/users/{id}", self._change_user, "PATCH"),
            route("/api/v1/users/{id}", self._delete_user, "DELETE"),
            route("/api/v1/nodes", self._nodes),
            route("/api/v1/nodes/{id}", self._node),
            route("/api/v1/nodes/{id}", self._change_node, "PATCH"),
            route("/api/v1/nodes/{id}", self._delete_node, "DELETE"),
            route("/api/v1/nodes/{id}/expire", self._expire_node, "POST"),
        ]

    async def _health(self, request: Request) -> Any:
        return {"status": "ok"}

    async def _server(self, request: Request) -> Any:
        return self._describe()

    async def _users(self, request: Request) -> Any:
        return {"users": [user_view(user) for user in self._administration.users()]}

    async def _user(self, request: Request) -> Any:
        return user_view(self._administration.user(request.path_params["id"]))

    async def _add_user(self, request: Request) -> Any:
        order = await body_of(request, NewUser)
        return user_view(await self._administration.add_user(order.name, order.email))

    async def _change_user(self, request: Request) -> Any:
        order = await body_of(request, UserChange)
        changed = await self._administration.change_user(request.path_params["id"], name=order.name, email=order.email)
        return user_view(changed)

    async def _delete_user(self, request: Request) -> Any:
        return user_view(await self._administration.delete_user(request.path_params["id"]))

    async def _nodes(self, request: Request) -> Any:
        return {"nodes": [self._view(node) for node in self._administration.nodes()]}

    async def _node(self, request: Request) -> Any:
        return self._view(self._administration.node(request.path_params["id"]))

    async def _change_node(self, request: Request) -> Any:
        order = await body_of(request, NodeChange)
        changed = await self._administration.change_node(request.path_params["id"], name=order.name, tags=order.tags)
        unnamed = self._unnamed(order.tags or ())
        return {**self._view(changed), "warnings": [f"no access rule of the policy names {tag}" for tag in unnamed]}

    async def _delete_node(self, request: Request) -> Any:
        return self._view(await self._administration.delete_node(request.path_params["id"]))

    async def _expire_node(self, request: Request) -> Any:
        return self._view(await self._administration.expire_node(request.path_params["id"]))

    def _view(self, node: Node) -> dict[str, Any]:
        owner = self._mesh.state.get(User, node.user)
        home = home_view(self._homes, node.id, self._relay_name)
        shown = node_view(node, owner, self._presence.lease(node.id), home, self._mesh.now())
        return {**shown, "routes": routes_view(self._mesh.state.routes_of(node.id))}

    def _relay_name(self, id_: int) -> str:
        relay = self._mesh.state.get(Relay, id_)
        return relay.name if relay else ""
