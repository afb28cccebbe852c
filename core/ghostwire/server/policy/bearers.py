"""Nodes and users as a policy engine may know them, made from their records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from ghostwire.capabilities.policy import Bearer, Person
from ghostwire.model import Node, Route, User

NOBODY = Person("")
"""The owner of a node whose user is gone; no policy can name it."""


def person(user: User | None) -> Person:
    """A user; `NOBODY` where there is none."""
    return Person(user.name, user.issuer, user.email) if user is not None else NOBODY


def bearer(node: Node, owner: User | None, routes: Iterable[Route] = ()) -> Bearer:
    """A node with its owner and, of its ``routes``, those that peers may use: advertised and approved."""
    return Bearer(
        addresses=tuple(ip_address(address) for address in node.addresses),
        owner=person(owner),
        tags=node.tags,
        routes=tuple(ip_network(route.prefix) for route in routes if route.approved and route.advertised),
    )


def all_bearers(nodes: Iterable[Node], users: Iterable[User], routes: Iterable[Route]) -> dict[int, Bearer]:
    """Every node as a bearer, by id."""
    owners = {user.id: user for user in users}
    routed: dict[int, list[Route]] = defaultdict(list)
    for route in routes:
        routed[route.node].append(route)
    return {node.id: bearer(node, owners.get(node.user), routed.get(node.id, ())) for node in nodes}
