"""A policy engine reads the operator's policy: which selectors a node carries, and which rules hold between selectors.

A *selector* is a text that picks nodes: ``*``, ``tag:web``, ``group:dev``, ``alice@example.com``, ``10.1.0.0/16``. Core
gives each a label, keeps who carries it, tells each node what concerns it, and enforces the rules; an engine only
reads.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec

from ghostwire.errors import Finding

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

EVERYONE = "*"
"""The selector that every node carries."""
MAX_TAGS = 32
"""Tags of one node."""
_TAG = re.compile(r"tag:[A-Za-z][A-Za-z0-9._-]{0,62}")


def is_tag(text: str) -> bool:
    """Whether it is a tag: ``tag:`` and up to 63 letters, digits and ``._-``, a letter first."""
    return _TAG.fullmatch(text) is not None


class Person(msgspec.Struct, frozen=True):
    """Who a node belongs to. ``name`` is unique in the mesh; ``issuer`` is ``local`` for users made on the server.

    ``email`` is empty unless the ``issuer`` verified it.
    """

    name: str
    issuer: str = "local"
    email: str = ""


class Bearer(msgspec.Struct, frozen=True):
    """What a policy may know of a node. A tagged node acts for nobody: its ``owner`` is who brought it.

    ``routes`` are its approved prefixes beyond the mesh.
    """

    addresses: tuple[Address, ...]
    owner: Person
    tags: tuple[str, ...] = ()
    routes: tuple[Prefix, ...] = ()


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic that is let in: from bearers of a selector in ``sources`` to bearers of one in ``destinations``.

    ``source_prefixes`` and ``destination_prefixes`` are addresses that match whoever has them (``10.1.0.0/16``, or for
    ``*`` as a destination ``0.0.0.0/0`` and ``::/0``). ``source_holders`` and ``destination_holders`` are selectors of
    nodes that are concerned for the prefixes' sake, as they have addresses within them or routes that overlap them:
    they see and are seen like bearers, and the rule is told to who holds a destination, but their own addresses match
    by the prefixes alone. With ``own`` the destination is the source's owner's untagged nodes. Empty ``protocols`` (IP
    protocol numbers) and ``ports`` ((first, last) pairs) mean any; ICMP has no ports and matches whatever ``ports``
    says. ``line`` and ``column`` are where it stands in the text.
    """

    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    source_prefixes: tuple[str, ...] = ()
    destination_prefixes: tuple[str, ...] = ()
    source_holders: tuple[str, ...] = ()
    destination_holders: tuple[str, ...] = ()
    own: bool = False
    protocols: tuple[int, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    line: int = 0
    column: int = 0


class CompiledPolicy(ABC):
    """A policy that was read. All its methods are pure and quick: `selectors` is asked for each node of the mesh.

    ``rules`` in the order of the text. ``warnings`` are for whoever saves the policy.
    """

    rules: Sequence[PolicyRule] = ()
    warnings: Sequence[Finding] = ()

    @abstractmethod
    def selectors(self, node: Bearer) -> Sequence[str]:
        """The selectors of rules that pick this node, each once: by address, owner, tag, or an approved route that
        overlaps a prefix. A node sees another where a rule leads from a selector of one to a selector of the other."""

    def route_selectors(self, node: Bearer, route: Prefix) -> Sequence[str]:
        """The selectors of rules that concern hosts behind this route of the node's; a subset of its own.

        Who is led by a rule to one of them is told of the route. The default is `EVERYONE` alone.
        """
        return (EVERYONE,)

    def approves(self, node: Bearer, route: Prefix) -> bool:
        """Whether a route that this node advertises needs no administrator's approval."""
        return False

    def may_tag(self, user: Person, tag: str) -> bool:
        """Whether nodes of this user may carry the tag."""
        return False

    def attributes(self, node: Bearer) -> Sequence[str]:
        """Features that the policy switches on for this node."""
        return ()


class PolicyEngine(ABC):
    """Reads policies."""

    name: str

    @abstractmethod
    def compile(self, source: str) -> CompiledPolicy:
        """Parse and compile; PolicyError with all findings where the policy is wrong: the last one stays in force."""

    def test(self, policy: CompiledPolicy, people: Sequence[Person], nodes: Sequence[Bearer]) -> Sequence[Finding]:
        """Run the tests that the policy itself contains against this mesh; what fails. Before a policy is saved."""
        return ()
