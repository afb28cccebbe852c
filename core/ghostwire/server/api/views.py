"""How records look to users of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ghostwire.model import Node, Route, User
from ghostwire.server.nodes.presence import Lease
from ghostwire.server.relays.homes import Homes
from ghostwire.server.state import expired


def user_view(user: User) -> dict[str, Any]:
    """A user."""
    return {
        "id": user.id,
        "stable_id": user.stable_id,
        "name": user.name,
        "issuer": user.issuer,
        "email": user.email,
        "created": user.created,
    }


def home_view(homes: Homes, node: int, relay_name: Callable[[int], str]) -> dict[str, Any] | None:
    """A node's home: its region, and the relay there that it is to be at; None where it has none."""
    home = homes.of(node)
    if home is None:
        return None
    region, relay = home
    name = relay_name(relay) if relay is not None else None
    return {"region": {"id": region, "name": homes.region_name(region)}, "relay": name}


def node_view(node: Node, owner: User | None, lease: Lease, home: dict[str, Any] | None, now: int) -> dict[str, Any]:
    """A node with what is known of its presence; times in Unix seconds."""
    return {
        "id": node.id,
        "stable_id": node.stable_id,
        "name": node.name,
        "user": {"id": node.user, "name": owner.name if owner else ""},
        "addresses": node.addresses,
        "tags": node.tags,
        "ephemeral": node.ephemeral,
        "online": lease.online,
        "last_seen": now if lease.online else lease.last_seen,
        "created": node.created,
        "expires": node.expires,
        "expired": expired(node, now),
        "node_key": node.node_key,
        "machine_key": node.machine_key,
        "hostname": node.hostname,
        "os": node.os,
        "version": node.version,
        "endpoints": lease.endpoints,
        "home": home,
    }


def routes_view(routes: Iterable[Route]) -> list[dict[str, Any]]:
    """A node's routes in short."""
    return [{"prefix": each.prefix, "state": route_state(each), "advertised": each.advertised} for each in routes]


def route_state(found: Route) -> str:
    """``approved``; ``rejected``, by an administrator; or ``waiting`` for somebody's word."""
    return "approved" if found.approved else "rejected" if found.approved_by else "waiting"
