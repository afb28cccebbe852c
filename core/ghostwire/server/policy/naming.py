"""Who is meant by a node's name, an address, a user or a selector: the nodes, or hosts behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import NamedTuple

from ghostwire.capabilities.policy import Address, Bearer, CompiledPolicy
from ghostwire.errors import NotFound
from ghostwire.model import Node, Route, User
from ghostwire.server.policy.bearers import all_bearers, person
from ghostwire.server.policy.verdict import Party, party

MAX_PLACES = 16
"""Nodes of one selector that are looked at."""


class Place(NamedTuple):
    """Where a packet starts or ends. ``address`` is a host's behind the node, or the node's own; None: no node is
    there (yet), and ``party`` is what one would be."""

    name: str
    party: Party
    address: Address | None = None


class Meant(NamedTuple):
    """What a text means: the first places of ``total``, and what a person may want to know about that."""

    text: str
    places: tuple[Place, ...]
    total: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class World:
    """The mesh at one moment, and the policy in force; whose text is ``source``."""

    nodes: Sequence[Node]
    users: Sequence[User]
    routes: Sequence[Route]
    policy: CompiledPolicy
    source: str = ""

    @cached_property
    def bearers(self) -> dict[int, Bearer]:
        """Every node as the policy knows it."""
        return all_bearers(self.nodes, self.users, self.routes)

    def place(self, node: Node, address: Address | None = None) -> Place:
        """A node, or a host behind it."""
        bearer = self.bearers[node.id]
        name = node.name if address is None or address in bearer.addresses else f"{address} behind {node.name}"
        return Place(name, party(self.policy, bearer), address)

    def imagined(self, name: str, bearer: Bearer) -> Place:
        """A node that is not there."""
        return Place(name, party(self.policy, bearer))

    @cached_property
    def selectors(self) -> frozenset[str]:
        """All that the rules name."""
        rules = self.policy.rules
        return frozenset().union(
            *(r.sources + r.destinations + r.source_holders + r.destination_holders for r in rules)
        )


def meant(world: World, text: str) -> Meant:
    """What a text means: in this order a node's name, an address, a user (by name or e-mail address), a tag, another
    selector of the policy; ``node:`` and ``user:`` before a name say which. NotFound where it is none of these."""
    for reading in (_node, _address, _user, _tag, _selector):
        found = reading(world, text)
        if found is not None:
            return found
    known = {*(node.name for node in world.nodes), *(user.name for user in world.users), *world.selectors}
    close = get_close_matches(text, sorted(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise NotFound(f"{text[:80]!r} is no node, address, user or selector of the policy{hint}")


def _node(world: World, text: str) -> Meant | None:
    name = text.removeprefix("node:")
    node = next((node for node in world.nodes if node.name == name), None)
    if node is None:
        return None
    also = name == text and any(user.name == name for user in world.users)
    notes = (f"{name} is a user, too: user:{name} means that one's nodes",) if also else ()
    return Meant(text, (world.place(node),), 1, notes)


def _address(world: World, text: str) -> Meant | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    for node in world.nodes:
        if address in world.bearers[node.id].addresses:
            return Meant(text, (world.place(node, address),), 1)
    routers = _routers(world, address)
    if routers:
        return _some(text, (world.place(node, address) for node in routers), len(routers))
    return Meant(text, (), 0, tuple(_unrouted(world, address)))


def _routers(world: World, address: Address) -> Sequence[Node]:
    """The nodes to which packets for that address go: those whose route has the longest prefix."""
    found: dict[int, list[Node]] = defaultdict(list)
    for node in world.nodes:
        lengths = [route.prefixlen for route in world.bearers[node.id].routes if address in route]
        if lengths:
            found[max(lengths)].append(node)
    return found[max(found)] if found else ()


def _unrouted(world: World, address: Address) -> Iterator[str]:
    yield f"no node has the address {address}, and no approved route leads there"
    names = {node.id: node.name for node in world.nodes}
    for route in world.routes:
        if route.advertised and not route.approved and address in ip_network(route.prefix):
            yield f"{names.get(route.node, route.node)} advertises {route.prefix}, which nobody approved"


def _user(world: World, text: str) -> Meant | None:
    name = text.removeprefix("user:")
    user = next((user for user in world.users if name == user.name or name.lower() == user.email.lower() != ""), None)
    if user is None:
        return None
    nodes = [node for node in world.nodes if node.user == user.id and not node.tags]
    if nodes:
        return _some(text, map(world.place, nodes), len(nodes))
    place = world.imagined(text, Bearer((), person(user)))
    return Meant(text, (place,), 0, (f"{user.name} has no untagged node",))


def _tag(world: World, text: str) -> Meant | None:
    if not text.startswith("tag:"):
        return None
    nodes = [node for node in world.nodes if text in node.tags]
    if nodes:
        return _some(text, map(world.place, nodes), len(nodes))
    place = world.imagined(text, Bearer((), person(None), (text,)))
    return Meant(text, (place,), 0, (f"no node is tagged {text}",))


def _selector(world: World, text: str) -> Meant | None:
    """A group, a host, a prefix: who carries it, by the nodes or else by the users that there are."""
    if text not in world.selectors:
        return None
    carriers = [node for node in world.nodes if text in world.policy.selectors(world.bearers[node.id])]
    if carriers:
        return _some(text, map(world.place, carriers), len(carriers))
    imagined = (world.imagined(user.name, Bearer((), person(user))) for user in world.users)
    places = tuple(place for place in imagined if text in place.party.selectors)
    return Meant(text, places[:MAX_PLACES], 0, (f"no node is in {text}",))


def _some(text: str, places: Iterable[Place], total: int) -> Meant:
    first = tuple(islice(places, MAX_PLACES))
    notes = (f"{text} are {total} nodes, of which {MAX_PLACES} were looked at",) if total > MAX_PLACES else ()
    return Meant(text, first, total, notes)
