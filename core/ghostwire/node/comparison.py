"""A map as the server would tell it whole, beside the one that was kept in step by changes: they should be equal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from ghostwire.model import LabelSet, MapChange, MapNode, MapRoute, NetworkMap

SHOWN = 8
"""Ids of each kind in a line for people."""


def differences(held: NetworkMap, whole: MapChange) -> Mapping[str, Collection[int]]:
    """The ids of what differs, by its kind; empty where nothing does.

    What a server cannot know that was just started is left out: the homes of nodes of which it has not heard, and
    which routes are down whose router it has not heard.
    """
    homes = {id_: node.home for id_, node in held.nodes.items()}
    found = {
        "nodes": _unlike(held.nodes, [_at_home(node, homes) for node in whole.nodes]),
        "rules": _unlike(held.rules, whole.rules),
        "sets": _unlike({id_: _sorted(each) for id_, each in held.sets.items()}, map(_sorted, whole.sets)),
        "routes": _unlike(*_as_far_as_heard(held.routes, whole.routes)),
        "labels": held.own_labels ^ set(whole.own_labels or ()),
        "relays": _unlike(held.relays, whole.relays),
        "view": {whole.cursor.view} - {held.cursor.view if held.cursor else 0},
    }
    return {kind: sorted(ids) for kind, ids in found.items() if ids}


def mended(held: NetworkMap, whole: MapChange) -> MapChange:
    """The whole map, with what is known of nodes' homes where the server has not heard of them."""
    homes = {id_: node.home for id_, node in held.nodes.items()}
    return msgspec.structs.replace(whole, nodes=tuple(_at_home(node, homes) for node in whole.nodes))


def said(differing: Mapping[str, Collection[int]]) -> str:
    """Differences in one line."""
    return "; ".join(f"{kind} {_some(ids)}" for kind, ids in differing.items())


def _some(ids: Collection[int]) -> str:
    first = ", ".join(str(id_) for id_ in list(ids)[:SHOWN])
    return f"{first} and {len(ids) - SHOWN} more" if len(ids) > SHOWN else first


def _unlike(held: Mapping[int, Any], told: Iterable[Any]) -> set[int]:
    there = {each.id: each for each in told}
    return {id_ for id_ in held.keys() | there.keys() if held.get(id_) != there.get(id_)}


def _at_home(node: MapNode, homes: Mapping[int, int | None]) -> MapNode:
    known = homes.get(node.id)
    return node if node.home is not None or known is None else msgspec.structs.replace(node, home=known)


def _sorted(each: LabelSet) -> LabelSet:
    return msgspec.structs.replace(each, nodes=tuple(sorted(each.nodes)))


def _as_far_as_heard(
    held: Mapping[int, MapRoute], told: Iterable[MapRoute]
) -> tuple[Mapping[int, MapRoute], list[MapRoute]]:
    there = {route.id: route for route in told}
    up = dict(held)
    for id_ in held.keys() & there.keys():
        if not there[id_].down:
            up[id_] = msgspec.structs.replace(held[id_], down=False)
    return up, list(there.values())
