"""How records look to users of the API. Times are Unix seconds; answers may come to hold more than is named here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ghostwire.frontdoor.rest import Listing
from ghostwire.keys import ControlKey, MachineKey, NodeKey
from ghostwire.model import Endpoint, Node, Route, User
from ghostwire.server.nodes.lease import Lease
from ghostwire.server.relays.homes import Homes
from ghostwire.server.state import expired


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer shows."""


class Named(View, frozen=True):
    """Something by id and name; the name is empty where it is gone."""

    id: int
    name: str


class UserView(View, frozen=True):
    """A user."""

    id: int
    stable_id: str
    name: str
    issuer: str
    email: str
    created: int


class UsersView(Listing, frozen=True, kw_only=True):
    """Users by id."""

    users: tuple[UserView, ...]


class HomeView(View, frozen=True):
    """A node's home region, and the relay there that it is to be at."""

    region: Named
    relay: str | None


class RouteInShort(View, frozen=True):
    """A node's route; ``state`` as in `RouteView`."""

    prefix: str
    state: str
    advertised: bool


class NodeView(View, frozen=True):
    """A node with what is known of its presence. ``endpoints`` are pairs of transport and text."""

    id: int
    stable_id: str
    name: str
    user: Named
    addresses: tuple[str, ...]
    tags: tuple[str, ...]
    ephemeral: bool
    online: bool
    last_seen: int | None
    created: int
    expires: int | None
    expired: bool
    node_key: NodeKey
    machine_key: MachineKey
    hostname: str
    os: str
    version: str
    endpoints: tuple[Endpoint, ...]
    home: HomeView | None
    routes: tuple[RouteInShort, ...]


class ChangedNode(NodeView, frozen=True):
    """A node after a change, and what is doubtful about that."""

    warnings: tuple[str, ...]


class NodesView(Listing, frozen=True, kw_only=True):
    """Nodes by id."""

    nodes: tuple[NodeView, ...]


class PolicyInForce(View, frozen=True):
    """Which policy holds, for programs and as a line for people."""

    engine: str | None
    version: int | None
    summary: str


class ServerOfMesh(View, frozen=True):
    """One of several servers: since when it runs, how many nodes have their stream there, and since when it is gone."""

    id: str
    name: str
    version: str
    since: int
    streams: int
    gone: int | None


class ServerView(View, frozen=True):
    """The server and the mesh in figures.

    ``following``: it knows what other servers store, and serves nodes. ``servers`` are all of a mesh that may have
    several: this one first, and those that went within the last hour last.
    """

    version: str
    url: str
    control_key: ControlKey
    revision: int
    domain: str
    ipv4: str
    ipv6: str
    nodes: int
    users: int
    online: int
    relays: int
    relays_connected: int
    policy: PolicyInForce
    following: bool
    servers: tuple[ServerOfMesh, ...]


class Health(View, frozen=True):
    """How the server is."""

    status: str


def user_view(user: User) -> UserView:
    """A user."""
    return UserView(
        id=user.id,
        stable_id=user.stable_id,
        name=user.name,
        issuer=user.issuer,
        email=user.email,
        created=user.created,
    )


def home_view(homes: Homes, node: int, relay_name: Callable[[int], str]) -> HomeView | None:
    """A node's home: its region, and the relay there that it is to be at; None where it has none."""
    home = homes.of(node)
    if home is None:
        return None
    region, relay = home
    name = relay_name(relay) if relay is not None else None
    return HomeView(region=Named(id=region, name=homes.region_name(region)), relay=name)


def node_view(
    node: Node, owner: User | None, lease: Lease, home: HomeView | None, routes: Iterable[Route], now: int
) -> NodeView:
    """A node with what is known of its presence."""
    return NodeView(
        id=node.id,
        stable_id=node.stable_id,
        name=node.name,
        user=Named(id=node.user, name=owner.name if owner else ""),
        addresses=node.addresses,
        tags=node.tags,
        ephemeral=node.ephemeral,
        online=lease.online,
        last_seen=now if lease.online else lease.last_seen,
        created=node.created,
        expires=node.expires,
        expired=expired(node, now),
        node_key=node.node_key,
        machine_key=node.machine_key,
        hostname=node.hostname,
        os=node.os,
        version=node.version,
        endpoints=lease.endpoints,
        home=home,
        routes=tuple(map(_route_in_short, routes)),
    )


def changed_node(view: NodeView, warnings: Iterable[str]) -> ChangedNode:
    """A node after a change."""
    fields: dict[str, Any] = {name: getattr(view, name) for name in NodeView.__struct_fields__}
    return ChangedNode(**fields, warnings=tuple(warnings))


def _route_in_short(route: Route) -> RouteInShort:
    return RouteInShort(prefix=route.prefix, state=route_state(route), advertised=route.advertised)


def route_state(found: Route) -> str:
    """``approved``; ``rejected``, by an administrator; or ``waiting`` for somebody's word."""
    return "approved" if found.approved else "rejected" if found.approved_by else "waiting"
