"""A policy engine of a few words, a server with it, and a client of its policy's API."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_network

import httpx2
import pytest

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, Person, PolicyEngine, PolicyRule, Prefix
from ghostwire.config import ServerConfig
from ghostwire.errors import Finding, PolicyError
from ghostwire.frontdoor.app import application
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Node, Record, Route, User
from ghostwire.server.api.policy import PolicyRoutes
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.policy.policies import Policies
from ghostwire.testing import ManualClock, MemoryDatabase, MemoryStorage

CALLER = 4_123_456_789
NUMBERS = {"tcp": (6,), "udp": (17,), "icmp": (1, 58), "any": ()}


class Words(CompiledPolicy):
    """Lines of ``SOURCES > DESTINATIONS PROTOCOL PORTS``; ``own`` leads to one's own; ``must NAME`` is a test."""

    def __init__(
        self, rules: Sequence[PolicyRule], tests: Sequence[tuple[int, str]], warned: Sequence[Finding]
    ) -> None:
        self.rules, self.tests, self.warnings = rules, tests, warned
        self.named = {s for r in rules for s in r.sources + r.destinations + r.source_holders + r.destination_holders}

    def selectors(self, node: Bearer) -> Sequence[str]:
        acting = () if node.tags else (node.owner.name, node.owner.email, *_groups(node.owner))
        held = [prefix for prefix in self.named if _is_prefix(prefix) and _touches(node, prefix)]
        return [name for name in (EVERYONE, *node.tags, *acting, *held) if name in self.named]

    def route_selectors(self, node: Bearer, route: Prefix) -> Sequence[str]:
        held = [p for p in self.named if _is_prefix(p) and route.version == ip_network(p).version]
        return [name for name in self.selectors(node) if name == EVERYONE or name in held]


class WordsEngine(PolicyEngine):
    """Reads `Words`. ``compiled`` counts how often."""

    name = "words"

    def __init__(self) -> None:
        self.compiled = 0

    def compile(self, source: str) -> Words:
        self.compiled += 1
        rules, tests, findings, warned = [], [], [], []
        for number, line in enumerate(source.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "explode":
                raise ZeroDivisionError("boom")
            if words[0] == "must":
                tests.append((number, words[1]))
            elif words[0] == "doubtful":
                warned.append(Finding(number, 1, "this is doubtful"))
            elif len(words) < 3 or words[1] != ">":
                findings.append(Finding(number, 1, f"cannot read {line!r}"))
            else:
                rules.append(_rule(words, number))
        if findings:
            raise PolicyError(findings)
        return Words(rules, tests, warned)

    def test(self, policy: CompiledPolicy, people: Sequence[Person], nodes: Sequence[Bearer]) -> Sequence[Finding]:
        assert isinstance(policy, Words)
        known = {person.name for person in people} | {tag for node in nodes for tag in node.tags}
        return [Finding(line, 1, f"nobody is {name}") for line, name in policy.tests if name not in known]


def _rule(words: Sequence[str], line: int) -> PolicyRule:
    _, _, there, *more = words
    sources, destinations = words[0].split(","), [] if there == "own" else there.split(",")
    ports = tuple((int(p.split("-")[0]), int(p.split("-")[-1])) for p in (more[1].split(",") if more[1:] else ()))
    anywhere = ("0.0.0.0/0", "::/0") if EVERYONE in destinations else ()
    return PolicyRule(
        sources=tuple(s for s in sources if not _is_prefix(s)),
        source_prefixes=tuple(s for s in sources if _is_prefix(s)),
        source_holders=tuple(s for s in sources if _is_prefix(s)),
        destinations=tuple(d for d in destinations if not _is_prefix(d)),
        destination_prefixes=(*(d for d in destinations if _is_prefix(d)), *anywhere),
        destination_holders=tuple(d for d in destinations if _is_prefix(d)),
        own=there == "own",
        protocols=NUMBERS[more[0]] if more else (),
        ports=ports,
        line=line,
        column=1,
    )


def _groups(owner: Person) -> tuple[str, ...]:
    return (f"group:{owner.email.partition('@')[2]}",) if owner.email else ()


def _is_prefix(text: str) -> bool:
    return "/" in text


def _touches(node: Bearer, text: str) -> bool:
    prefix = ip_network(text)
    inside = any(address in prefix for address in node.addresses)
    return inside or any(route.version == prefix.version and route.overlaps(prefix) for route in node.routes)


class Desk:
    """A mesh with an engine, as a server holds them; ``restart`` with another engine, or none."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database, self.clock = database or MemoryDatabase(), ManualClock()
        self.mesh: LiveMesh
        self.policies: Policies
        self.adopted: list[CompiledPolicy] = []

    async def start(self, engine: PolicyEngine | None, config: ServerConfig | None = None) -> None:
        self.mesh = LiveMesh(self.clock)
        await self.mesh.open(MemoryStorage(self.database))
        without = (config or ServerConfig()).without_policy
        try:
            self.policies = Policies(self.mesh, engine, without, logging.getLogger("ghostwire.server"))
            self.policies.start()
        except BaseException:
            await self.mesh.close()
            raise
        self.policies.follow(self.adopted.append)
        self.mesh.follow(self.policies.committed)

    async def restart(self, engine: PolicyEngine | None, config: ServerConfig | None = None) -> None:
        await self.policies.close()
        await self.mesh.close()
        await self.start(engine, config)

    async def put(self, *records: Record) -> None:
        await self.mesh.write(lambda transaction: [transaction.put(record) for record in records])
        await self.policies.caught_up()

    @property
    def api(self) -> httpx2.AsyncClient:
        """A local administrator's client, whose user has no name."""
        app = application([PolicyRoutes(self.mesh, self.policies)])

        async def door(scope, receive, send):
            scope["state"] = {"admin": True, "uid": CALLER}
            await app(scope, receive, send)

        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=door), base_url="http://server")


@contextlib.asynccontextmanager
async def _desk(engine: PolicyEngine | None = None, config: ServerConfig | None = None) -> AsyncIterator[Desk]:
    made = Desk()
    await made.start(engine or WordsEngine(), config)
    try:
        yield made
    finally:
        await made.mesh.close()


@pytest.fixture
def desk() -> Callable[..., contextlib.AbstractAsyncContextManager[Desk]]:
    """``async with desk() as d``: a mesh and its policies."""
    return _desk


@pytest.fixture
def words() -> type[WordsEngine]:
    """The engine of the tests."""
    return WordsEngine


def make_user(id_: int, name: str, email: str = "") -> User:
    return User(id=id_, stable_id=f"u{id_}", name=name, subject=name, email=email)


def make_node(id_: int, name: str, user: int, *tags: str) -> Node:
    return Node(
        id=id_,
        stable_id=f"n{id_}",
        name=name,
        user=user,
        machine_key=MachineKey(id_.to_bytes(32, "big")),
        node_key=NodeKey((1000 + id_).to_bytes(32, "big")),
        disco_key=DiscoKey((2000 + id_).to_bytes(32, "big")),
        addresses=(f"100.64.0.{id_ + 1}", f"fd00::{id_ + 1:x}"),
        tags=tags,
    )


@pytest.fixture
def town() -> Sequence[Record]:
    """ada (laptop), bob (desk), a tagged web and db of bob's, and gate, which leads to 10.1.0.0/16."""
    return [
        make_user(1, "ada", "ada@example.com"),
        make_user(2, "bob", "bob@example.org"),
        make_node(1, "laptop", 1),
        make_node(2, "desk", 2),
        make_node(3, "web", 2, "tag:web"),
        make_node(4, "db", 2, "tag:db"),
        make_node(5, "gate", 2),
        Route(id=1, node=5, prefix="10.1.0.0/16", approved=True),
        Route(id=2, node=5, prefix="10.2.0.0/16"),
        Route(id=3, node=4, prefix="0.0.0.0/0", approved=True),
    ]


@pytest.fixture
def crowd() -> Sequence[Record]:
    """40 nodes more, ada's all."""
    return [make_node(number, f"node{number}", 1) for number in range(10, 50)]
