"""A ledger over records in memory, and a policy whose autoApprovers are a table."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pytest

from ghostwire.capabilities.policy import Bearer, CompiledPolicy, Prefix
from ghostwire.model import Node, Relay, Route, User
from ghostwire.server.routes.judgement import Terms
from ghostwire.server.routes.ledger import Ledger
from ghostwire.server.routes.rules import Rules
from ghostwire.testing import MemoryDatabase
from ghostwire.testing.contracts.samples import node, user
from ghostwire.testing.storage import MemoryTransaction
from ghostwire.wire.prefixes import is_default, overlap, parse_prefix

T = TypeVar("T")
MESH = tuple(map(parse_prefix, ("100.64.0.0/16", "fd12:3456:789a::/48")))
EXIT = ("0.0.0.0/0", "::/0")


class Grants(CompiledPolicy):
    """Approves, for the tags and owners in the table, what lies in their prefixes."""

    def __init__(self, table: dict[str, Sequence[str]] | None = None) -> None:
        self.table = {who: tuple(map(parse_prefix, texts)) for who, texts in (table or {}).items()}

    def selectors(self, node: Bearer) -> Sequence[str]:
        return ("*",)

    def approves(self, node: Bearer, route: Prefix) -> bool:
        granted = (each for who in (*node.tags, node.owner.name) for each in self.table.get(who, ()))
        return any(_holds(each, route) for each in granted)


def _holds(granted: Prefix, route: Prefix) -> bool:
    if is_default(route) or is_default(granted):
        return granted == route
    return overlap(granted, route) and granted.prefixlen <= route.prefixlen


class Scene:
    """Nodes 1 to 4 of user 1, tagged ``tag:nN``; each call is one transaction, which may fail as a whole."""

    def __init__(self, **grants: Sequence[str]) -> None:
        self.database = MemoryDatabase()
        self.relays: list[Relay] = []
        self.longest = False
        self.grant(**grants)
        self.said: list[str] = []

        def fill(transaction: MemoryTransaction) -> None:
            transaction.put(user(1))
            for number in range(1, 5):
                transaction.put(Node(**{**_fields(node(number)), "tags": (f"tag:n{number}",)}))

        self._write(fill)

    def grant(self, **grants: Sequence[str]) -> None:
        """The policy from now on: ``n1=[...]`` for node 1, ``user1=[...]`` for all of the user's."""
        self.policy = Grants({(name if name == "user1" else f"tag:{name}"): texts for name, texts in grants.items()})

    def terms(self) -> Terms:
        return Terms(self.policy, Rules(MESH, "", self.relays), self.longest)

    def report(self, number: int, *prefixes: str) -> None:
        self.work(lambda ledger: ledger.take({number: tuple(map(parse_prefix, prefixes))}))

    def judge(self, *numbers: int) -> None:
        self.work(lambda ledger: ledger.take(dict.fromkeys(numbers or (1, 2, 3, 4))))

    def approve(self, number: int, *prefixes: str) -> Sequence[Route]:
        return self.work(lambda ledger: ledger.approve(self.node(number), map(parse_prefix, prefixes), "root"))

    def reject(self, number: int, *prefixes: str) -> Sequence[Route]:
        return self.work(lambda ledger: ledger.reject(self.node(number), map(parse_prefix, prefixes), "root"))

    def delete(self, number: int, *prefixes: str) -> Sequence[Route]:
        return self.work(lambda ledger: ledger.delete(self.node(number), map(parse_prefix, prefixes)))

    def work(self, work: Callable[[Ledger], T]) -> T:
        def run(transaction: MemoryTransaction) -> T:
            ledger = Ledger(transaction, self.terms(), 1000)
            result = work(ledger)
            self.said = ledger.said
            return result

        return self._write(run)

    def node(self, number: int) -> Node:
        return next(each for each in self._all(Node) if each.id == number)

    @property
    def routes(self) -> list[Route]:
        return sorted(self._all(Route), key=lambda route: route.id)

    def shown(self, number: int) -> dict[str, str]:
        """The node's routes, each with whose word there is about it; in brackets where it is not advertised."""
        return {
            each.prefix if each.advertised else f"({each.prefix})": ("+" if each.approved else "-") + each.approved_by
            for each in self.routes
            if each.node == number
        }

    def _write(self, work: Callable[[MemoryTransaction], T]) -> T:
        transaction = MemoryTransaction(self.database)
        result = work(transaction)
        transaction.keep()
        return result

    def _all(self, kind: type[Any]) -> Iterable[Any]:
        return [record for (of, _), record in self.database.records.items() if of is kind]


def _fields(record: Node | User) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


@pytest.fixture(scope="session")
def scene() -> type[Scene]:
    """Makes a `Scene` with its grants."""
    return Scene


@pytest.fixture(scope="session")
def grants() -> type[Grants]:
    """``grants({"user1": ["10.0.0.0/8"]})``: a policy with these autoApprovers."""
    return Grants
