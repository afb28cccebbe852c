"""Exit nodes to choose from: which there are, how far away they are, and which is best."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ghostwire.errors import NotFound, Unavailable, UsageError
from ghostwire.model import MapNode, NetworkMap
from ghostwire.node.routing.report import ExitNode
from ghostwire.wire.prefixes import DEFAULTS

if TYPE_CHECKING:
    from ghostwire.node.dataplane import Dataplane
    from ghostwire.node.parts import Echo

ASKED = 8
"""Exit nodes that are pinged for a suggestion."""
PATIENCE = 2.0
"""Seconds that one has to answer."""
_BOTH = frozenset(map(str, DEFAULTS))


def exits(network: NetworkMap, own: int) -> list[MapNode]:
    """The nodes that offer all of IPv4 and of IPv6, by name; in time proportional to the routes there are."""
    offers: dict[int, set[str]] = {}
    for route in network.routes.values():
        if route.prefix in _BOTH and route.router != own:
            offers.setdefault(route.router, set()).add(route.prefix)
    nodes = (network.nodes.get(router) for router, texts in offers.items() if texts == _BOTH)
    return sorted((node for node in nodes if node is not None), key=lambda node: node.name)


def find(nodes: Iterable[MapNode], target: str, domain: str) -> MapNode:
    """The exit node of that name or mesh address; NotFound."""
    name = target.lower().rstrip(".").removesuffix(f".{domain}" if domain else "")
    for node in nodes:
        if name == node.name.lower() or target in node.addresses or target == node.stable_id:
            return node
    raise NotFound(f"no exit node {target[:100]} is offered to this node; gwctl exit-node list shows which are")


def describe(nodes: Sequence[MapNode], plane: Dataplane) -> list[ExitNode]:
    """What is known of each without asking it."""
    states = {each.router: each.state for each in plane.route_statuses() if each.prefix in _BOTH}
    report = plane.netcheck.report
    regions: Mapping[int, float | None] = (
        {each.region: each.latency_ms for each in report.regions} if report is not None else {}
    )
    return [_described(node, plane, states.get(node.name, "offered"), regions) for node in nodes]


def _described(node: MapNode, plane: Dataplane, state: str, regions: Mapping[int, float | None]) -> ExitNode:
    latency, measured = plane.latency(node.id), "path"
    if latency is None:
        latency = regions.get(node.home) if node.home is not None else None
        measured = "relay" if latency is not None else ""
    return ExitNode(
        name=node.name,
        stable_id=node.stable_id,
        addresses=node.addresses,
        state=state,
        home=plane.relays.region_name(node.home),
        latency_ms=latency,
        measured=measured,
    )


async def best(found: Sequence[ExitNode], echo: Echo) -> ExitNode:
    """The nearest that works; those whose own latency is not known are pinged. UsageError where there is none."""
    fit = [each for each in found if each.state not in ("down", "not answering", "refused")] or list(found)
    if not fit:
        raise UsageError("no node offers the internet to this one; on one that should: gwctl route advertise exit")
    near = sorted(fit, key=_distance)
    asked = [each for each in near if each.measured != "path"][:ASKED]
    answers = await asyncio.gather(*(_pinged(each, echo) for each in asked))
    known = {each.stable_id: each for each in (*near, *answers)}
    return min(known.values(), key=_distance)


async def _pinged(node: ExitNode, echo: Echo) -> ExitNode:
    try:
        rtt = await echo(node.addresses[0], PATIENCE)
    except Unavailable:
        return node
    return msgspec.structs.replace(node, latency_ms=round(rtt * 1000, 2), measured="path")


def _distance(node: ExitNode) -> tuple[bool, float, str]:
    """Nodes that answered first, then the nearest relays', then any: always in the same order."""
    return node.measured != "path", node.latency_ms if node.latency_ms is not None else float("inf"), node.stable_id
