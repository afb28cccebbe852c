"""Core's own routes: health for all; server, users and nodes for administrators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute

from ghostwire.capabilities.http import Routes
from ghostwire.errors import Unavailable
from ghostwire.frontdoor.rest import Page, expect, paged, route, shows
from ghostwire.model import Node, Relay, User
from ghostwire.server.api import views
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.nodes.administration import Administration
from ghostwire.server.nodes.presence import Presence
from ghostwire.server.relays.homes import Homes
from ghostwire.server.texts import Email, Label, Tags, UserName


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to be made."""

    name: UserName
    email: Email = ""


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another way; None: as before."""

    name: UserName | None = None
    email: Email | None = None


class NodeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another way; None: as before."""

    name: Label | None = None
    tags: Tags | None = None


class CoreRoutes(Routes):
    """``describe`` gives what `GET /api/v1/server` answers, ``unnamed`` those of some tags that no rule names,
    ``serving`` whether this server serves nodes at present."""

    name = "core"

    def __init__(
        self,
        mesh: LiveMesh,
        administration: Administration,
        presence: Presence,
        homes: Homes,
        describe: Callable[[], dict[str, Any]],
        unnamed: Callable[[Sequence[str]], Sequence[str]] = lambda tags: (),
        serving: Callable[[], bool] = lambda: True,
    ) -> None:
        self._serving = serving
        self._mesh, self._administration, self._presence = mesh, administration, presence
        self._homes, self._describe, self._unnamed = homes, describe, unnamed

    def public(self) -> Sequence[BaseRoute]:
        """Health."""
        return [route("/healthz", self._health)]

    def admin(self) -> Sequence[BaseRoute]:
        """Server, users, nodes."""
        return [
            route("/api/v1/server", self._server, summary="Show the server", answer=views.ServerView),
            *self._of_users("/api/v1/users"),
            *self._of_nodes("/api/v1/nodes"),
        ]

    def _of_users(self, path: str) -> Sequence[BaseRoute]:
        one, user = path + "/{id}", views.UserView
        change = {"body": UserChange, "answer": user, "guarded": True}
        return [
            route(path, self._users, summary="List users", query=Page, answer=views.UsersView, ids="/users/0/id"),
            route(
                path, self._add_user, "POST", summary="Create user", body=NewUser, answer=user, creates=True, ids="/id"
            ),
            route(one, self._user, summary="Show user", answer=user),
            route(one, self._change_user, "PATCH", summary="Change user", **change),
            route(one, self._delete_user, "DELETE", summary="Delete user", answer=user, guarded=True),
        ]

    def _of_nodes(self, path: str) -> Sequence[BaseRoute]:
        one, node = path + "/{id}", views.NodeView
        change = {"body": NodeChange, "answer": views.ChangedNode, "guarded": True}
        return [
            route(path, self._nodes, summary="List nodes", query=Page, answer=views.NodesView, ids="/nodes/0/id"),
            route(one, self._node, summary="Show node", answer=node),
            route(one, self._change_node, "PATCH", summary="Change node", **change),
            route(one, self._delete_node, "DELETE", summary="Delete node", answer=node, guarded=True),
            route(one + "/expire", self._expire_node, "POST", summary="Expire node", answer=node, guarded=True),
        ]

    async def _health(self, request: Request) -> Any:
        if not self._serving():
            raise Unavailable("this server cannot reach its database")
        return views.Health(status="ok")

    async def _server(self, request: Request) -> Any:
        return self._describe()

    async def _users(self, request: Request, page: Page) -> Any:
        users, after = paged(self._administration.users(), page)
        return views.UsersView(users=tuple(map(views.user_view, users)), next=after)

    async def _user(self, request: Request) -> Any:
        return self._shown(self._administration.user(request.path_params["id"]))

    async def _add_user(self, request: Request, order: NewUser) -> Any:
        return await self._administration.add_user_as(order.name, order.email, views.user_view)

    async def _change_user(self, request: Request, order: UserChange) -> Any:
        changed = await self._administration.change_user(self._meant(request), name=order.name, email=order.email)
        return self._shown(changed)

    async def _delete_user(self, request: Request) -> Any:
        return views.user_view(await self._administration.delete_user(self._meant(request)))

    def _shown(self, user: User) -> views.UserView:
        shows(user)
        return views.user_view(user)

    def _meant(self, request: Request) -> str:
        """The user that is to be changed, unless it is another than the caller saw."""
        user = self._administration.user(request.path_params["id"])
        expect(user)
        return str(user.id)

    async def _nodes(self, request: Request, page: Page) -> Any:
        nodes, after = paged(self._administration.nodes(), page)
        return views.NodesView(nodes=tuple(map(self._view, nodes)), next=after)

    async def _node(self, request: Request) -> Any:
        node = self._administration.node(request.path_params["id"])
        shows(node)
        return self._view(node)

    async def _change_node(self, request: Request, order: NodeChange) -> Any:
        changed = await self._administration.change_node(self._aim(request), name=order.name, tags=order.tags)
        shows(changed)
        unnamed = self._unnamed(order.tags or ())
        return views.changed_node(self._view(changed), [f"no access rule of the policy names {tag}" for tag in unnamed])

    async def _delete_node(self, request: Request) -> Any:
        return self._view(await self._administration.delete_node(self._aim(request)))

    async def _expire_node(self, request: Request) -> Any:
        return self._view(await self._administration.expire_node(self._aim(request)))

    def _aim(self, request: Request) -> str:
        """The node that is to be changed, unless it is another than the caller saw."""
        node = self._administration.node(request.path_params["id"])
        expect(node)
        return str(node.id)

    def _view(self, node: Node) -> views.NodeView:
        state = self._mesh.state
        home = views.home_view(self._homes, node.id, self._relay_name)
        owner, lease = state.get(User, node.user), self._presence.lease(node.id)
        return views.node_view(node, owner, lease, home, state.routes_of(node.id), self._mesh.now())

    def _relay_name(self, id_: int) -> str:
        relay = self._mesh.state.get(Relay, id_)
        return relay.name if relay else ""
