"""The local API's routes: what may be asked of a node, and how a request's JSON becomes a call."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from ghostwire import __version__
from ghostwire.errors import UsageError
from ghostwire.node.localapi import Routes
from ghostwire.node.node import Node

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Target = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Up(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``token`` is a join token's text; ``hostname`` the name to ask for."""

    token: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    hostname: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    timeout: Seconds = 60.0

    def __repr__(self) -> str:
        return f"Up(hostname={self.hostname!r}, timeout={self.timeout}, token hidden)"


class Down(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``logout`` gives the membership up; with ``force`` also where the server does not confirm it."""

    logout: bool = False
    force: bool = False


class PingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``target`` is a node's name or mesh address."""

    target: Target
    timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0


class RouteOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``prefix`` is one to offer, or to offer no longer; ``exit`` stands for the whole internet."""

    prefix: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to use other nodes' routes."""

    accept: bool


class ExitOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``target`` is a node's name or mesh address; with ``lan`` local networks are reached directly (None: as is)."""

    target: Target
    lan: bool | None = None


class PathsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``target`` is a peer's name or mesh address."""

    target: Target


S = TypeVar("S")


def routes(node: Node) -> Routes:
    """All routes of this node."""
    return {**_looking(node), **_changing(node), **_routing(node), **_leaving(node)}


def _looking(node: Node) -> Routes:
    async def status(_: bytes) -> Any:
        return node.status()

    async def version(_: bytes) -> Any:
        return {"version": __version__}

    async def netcheck(_: bytes) -> Any:
        return await node.netcheck()

    async def ping(body: bytes) -> Any:
        order = _parse(body, PingRequest)
        return await node.ping(order.target, order.timeout)

    async def paths(body: bytes) -> Any:
        return node.paths(_parse(body, PathsRequest).target)

    return {
        ("GET", "/v1/status"): status,
        ("GET", "/v1/version"): version,
        ("GET", "/v1/netcheck"): netcheck,
        ("POST", "/v1/ping"): ping,
        ("POST", "/v1/paths"): paths,
    }


def _changing(node: Node) -> Routes:
    async def up(body: bytes) -> Any:
        order = _parse(body, Up)
        await node.up(order.token, hostname=order.hostname, timeout=order.timeout)
        return node.status()

    async def down(body: bytes) -> Any:
        order = _parse(body, Down)
        await node.down(logout=order.logout, force=order.force)
        return node.status()

    return {("POST", "/v1/up"): up, ("POST", "/v1/down"): down}


def _routing(node: Node) -> Routes:
    async def listed(_: bytes) -> Any:
        return node.routes.report()

    async def advertise(body: bytes) -> Any:
        return await node.routes.advertise(_parse(body, RouteOrder).prefix)

    async def withdraw(body: bytes) -> Any:
        return await node.routes.withdraw(_parse(body, RouteOrder).prefix)

    async def accept(body: bytes) -> Any:
        return await node.routes.accept(_parse(body, Accept).accept)

    return {
        ("GET", "/v1/routes"): listed,
        ("POST", "/v1/routes/advertise"): advertise,
        ("POST", "/v1/routes/withdraw"): withdraw,
        ("POST", "/v1/routes/accept"): accept,
    }


def _leaving(node: Node) -> Routes:
    """By which node packets to the internet leave the mesh."""

    async def exits(_: bytes) -> Any:
        return {"exit_nodes": node.routes.exits(), "exit_node": node.routes.report().exit_node}

    async def suggest(_: bytes) -> Any:
        return await node.routes.suggest()

    async def use(body: bytes) -> Any:
        order = _parse(body, ExitOrder)
        return await node.routes.use(order.target, lan=order.lan)

    async def off(_: bytes) -> Any:
        return await node.routes.off()

    return {
        ("GET", "/v1/exit-nodes"): exits,
        ("POST", "/v1/exit-nodes/suggest"): suggest,
        ("POST", "/v1/exit-nodes/use"): use,
        ("POST", "/v1/exit-nodes/off"): off,
    }


def _parse(body: bytes, kind: type[S]) -> S:
    """A request's JSON object, an empty body standing for one without members; UsageError says what is wrong."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"malformed request: {error}") from None
