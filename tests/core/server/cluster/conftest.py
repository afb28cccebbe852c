"""Several control planes in virtual time that share one database in memory, and nodes that go from one to another."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, Finding, Person, PolicyEngine, PolicyRule
from ghostwire.config import ServerConfig
from ghostwire.errors import GhostwireError
from ghostwire.keys import RelayKey
from ghostwire.model import Endpoint, Relay
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.plane import ControlPlane
from ghostwire.testing import SeededEntropy, SharedDatabase, SharedStorage, running_clock
from ghostwire.wire.messages import Interest, Report, Welcome
from ghostwire.wire.prefixes import Prefix


class Lines(CompiledPolicy):
    """Lines of ``SOURCES > DESTINATIONS``, by tags, and of ``TAG approves PREFIX``."""

    def __init__(self, rules: Sequence[PolicyRule], grants: Sequence[tuple[str, str]]) -> None:
        self.rules, self._grants = rules, grants

    def approves(self, node: Bearer, route: Prefix) -> bool:
        return any(tag in node.tags and prefix == str(route) for tag, prefix in self._grants)

    def selectors(self, node: Bearer) -> Sequence[str]:
        named = {name for rule in self.rules for name in rule.sources + rule.destinations}
        return [name for name in (EVERYONE, *node.tags) if name in named]


class LinesEngine(PolicyEngine):
    """Reads `Lines`."""

    name = "lines"

    def compile(self, source: str) -> Lines:
        lines = source.splitlines()
        pairs, grants = ([line.split(word) for line in lines if word in line] for word in (" > ", " approves "))
        rules = [PolicyRule(sources=tuple(a.split()), destinations=tuple(b.split())) for a, b in pairs]
        return Lines(rules, [(tag, prefix) for tag, prefix in grants])

    def test(self, policy: CompiledPolicy, people: Sequence[Person], nodes: Sequence[Bearer]) -> Sequence[Finding]:
        return ()


class Recorded(SharedStorage):
    """Keeps every commit, compacted or not."""

    history: list

    def _append(self, changes):
        commit = super()._append(changes)
        self.history.append(commit)
        return commit


class Slot:
    """A server's place: it starts there again after it was stopped or killed."""

    def __init__(self, cluster: "Servers", number: int) -> None:
        self.cluster, self.number, self.starts = cluster, number, 0
        self.plane: ControlPlane | None = None
        self.storage: SharedStorage

    @property
    def serves(self) -> bool:
        return self.plane is not None and self.plane.following

    async def start(self) -> None:
        if self.plane is not None:
            return
        self.starts += 1
        entropy = SeededEntropy((self.cluster.seed, self.number, self.starts))
        self.storage = Recorded(self.cluster.database, entropy=entropy.child("storage"))
        self.storage.history = self.cluster.history
        plane = ControlPlane(
            LiveMesh(running_clock()),
            self.storage,
            [self.cluster.authenticator],
            self.cluster.config,
            clock=running_clock(),
            entropy=entropy,
            log=logging.getLogger("ghostwire.server"),
            engine=LinesEngine(),
        )
        await plane.start()
        plane.introduce(name=f"server{self.number}", version="1")
        self.plane = plane

    async def stop(self) -> None:
        plane, self.plane = self.plane, None
        if plane is not None:
            self.storage.heal()
            await plane.close()

    async def kill(self) -> None:
        """As kill -9 does: nothing is said, nothing more is stored."""
        plane, self.plane = self.plane, None
        if plane is not None:
            for node in self.cluster.nodes:
                node.cut_off(self)
            self.storage.crash()
            with contextlib.suppress(GhostwireError):
                await plane.close()


class Member:
    """A node: a client of whichever server it is at, with reports numbered as a real one's."""

    def __init__(self, cluster: "Servers", number: int) -> None:
        self.cluster, self.at = cluster, None
        self.client = cluster.make_client(lambda: self.at.plane, number, hostname="host")
        self.session, self.sequence = 1, 0
        self.endpoint, self.home, self.routes, self.down = f"n{number}:0", None, (), ()
        self.said = None
        """What it last said on a stream that it had."""
        self.enrolled: set[int] = set()
        self.ephemeral = False
        self.orphans: list = []

    @property
    def online(self) -> bool:
        return self.client.stream is not None and not self.client.stream.closed

    @property
    def id(self) -> int | None:
        welcomed = self.client.stream.of(Welcome) if self.client.stream else ()
        return welcomed[0].node.id if welcomed else None

    async def join(self, slot: Slot, secret: str = "please") -> None:
        secret += " ephemeral" if self.ephemeral else ""
        if self.client.stream is not None:
            self.read()
            if self.online:
                self.orphans.append((self.at, self.client.stream))
        if not slot.serves:
            return
        self.at = slot
        stream = self.client.connect(secret)
        await stream.until(lambda: stream.of(Welcome) or stream.closed)
        if stream.of(Welcome) and self.client.stream is stream:
            self.enrolled.add(self.id)
            self.report()

    def report(self) -> None:
        if not self.online or self.id is None:
            return
        self.sequence += 1
        self.said = self.endpoint, self.home, self.routes, self.down
        where = (Endpoint("udp", self.endpoint),)
        numbers = {"session": self.session, "sequence": self.sequence}
        self.client.stream.say(Report(**numbers, endpoints=where, home=self.home, routes=self.routes, down=self.down))

    def want(self, peer: int, wanted: bool = True) -> None:
        if self.online and self.id is not None:
            self.client.stream.say(Interest(node=peer, wanted=wanted))

    def read(self):
        if self.client.stream is not None:
            self.client.read()
        return self.client.map

    def cut_off(self, slot: Slot) -> None:
        """Its server is no more, and said nothing."""
        lost = [stream for at, stream in self.orphans if at is slot]
        self.orphans = [(at, stream) for at, stream in self.orphans if at is not slot]
        if self.at is slot and self.client.stream is not None:
            self.read()
            lost.append(self.client.stream)
        for stream in lost:
            stream.lose()

    def hang_up_orphans(self) -> None:
        """Its older streams have been silent for too long."""
        for _, stream in self.orphans:
            stream.close()
        self.orphans.clear()


class Servers:
    """Three servers, or as many as are started, and six nodes."""

    def __init__(self, make_client, authenticator, *, seed=0, delay=lambda: 0.01, **config) -> None:
        self.make_client, self.authenticator, self.seed = make_client, authenticator, seed
        self.database = SharedDatabase(delay=delay)
        self.config = ServerConfig(**config)
        self.history: list = []
        self.slots = [Slot(self, number) for number in range(3)]
        self.nodes = [Member(self, number) for number in range(1, 7)]

    @property
    def planes(self) -> list[ControlPlane]:
        return [slot.plane for slot in self.slots if slot.plane is not None]

    async def start(self) -> None:
        for slot in self.slots:
            await slot.start()
        await self.planes[0].mesh.write(_two_regions)
        await asyncio.sleep(1)

    async def close(self) -> None:
        for slot in self.slots:
            await slot.stop()

    async def settle(self, seconds: float = 5.0) -> None:
        await asyncio.sleep(seconds)


def _two_regions(transaction) -> None:
    for region in (1, 2):
        id_ = transaction.new_id(Relay)
        key = RelayKey(bytes([region]) * 32)
        place = {"region": region, "region_name": f"r{region}", "host": f"r{region}.example.com"}
        transaction.put(Relay(id=id_, name=f"r{region}", key=key, **place))


@pytest.fixture
def servers(make_client, authenticator) -> Callable:
    """``async with servers() as s``: three that run, within a simulation."""

    @contextlib.asynccontextmanager
    async def running(**options):
        cluster = Servers(make_client, authenticator, **options)
        await cluster.start()
        try:
            yield cluster
        finally:
            await cluster.close()

    return running


@pytest.fixture
def kit(make_client, make_relay, authenticator) -> SimpleNamespace:
    """What `Servers` is made of, for those who make one themselves."""
    return SimpleNamespace(make_client=make_client, make_relay=make_relay, authenticator=authenticator)
