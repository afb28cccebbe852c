"""The real server and members, over real control sessions that break at any byte: each map is what the policy says."""

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.config import ServerConfig
from ghostwire.errors import GhostwireError
from ghostwire.folders import make_folder
from ghostwire.keys import MachineKey
from ghostwire.model import MapChange, Node, Relay, Route, User
from ghostwire.node.identity import Identity
from ghostwire.node.knowledge import Knowledge
from ghostwire.node.member import Member
from ghostwire.node.presence import Whereabouts
from ghostwire.server.policy import verdict
from ghostwire.server.policy.bearers import all_bearers
from ghostwire.testing import SeededEntropy, running_clock, simulate
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.network import Host
from ghostwire.testing.streams import MemorySockets, MemoryStream
from ghostwire.uplink.channel import connect
from ghostwire.wire.jointoken import JoinToken
from ghostwire.wire.messages import Host as Machine

from .conftest import Mesh

MOST, KEPT = 5, 4
TAGS = ([], ["tag:a"], ["tag:b"], ["tag:a", "tag:b"])
RULES = (
    '{"action": "accept", "src": ["*"], "dst": ["*:*"]}',
    '{"action": "accept", "src": ["tag:a"], "dst": ["tag:b:*"]}',
    '{"action": "accept", "src": ["tag:a"], "dst": ["*:22"]}, '
    '{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}',
    '{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:a:*", "10.1.0.0/16:*"]}',
)
POLICIES = [f'{{"tagOwners": {{"tag:a": [], "tag:b": []}}, "acls": [{rules}]}}' for rules in RULES]


class Breaking(MemorySockets):
    """Connections that break after so many bytes, each as ``fuses`` says."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.fuses: list[tuple[bool, int]] = []

    async def connect(self, *args: Any, **options: Any) -> Any:
        stream, protocol = await super().connect(*args, **options)
        if self.fuses:
            _break(cast("MemoryStream", stream), *self.fuses.pop())
        return stream, protocol


def _break(stream: MemoryStream, outward: bool, size: int) -> None:
    (stream.peer if outward else stream).sever_after(size)


class Viewer:
    """A node's membership and map without the rest of it, which notes what is told out of order."""

    def __init__(self, play: "Play", number: int) -> None:
        mesh = play.mesh
        host = mesh.network.host(f"m{number}-v0", f"198.51.100.{number}")
        self.play, self.sockets, self.folder = play, Breaking(host), mesh._folder / host.name
        make_folder(self.folder, 0o700)
        self.where, self.wrong, self.starts, self.sessions = Whereabouts(), list[str](), 0, 0
        self.member: Member | None = None

    def start(self, token: JoinToken | None = None) -> None:
        """What it knows comes from its folder."""
        self.starts += 1
        log, entropy = logging.getLogger("viewer"), SeededEntropy((self.sockets.host.name, self.starts))
        self.identity = Identity(self.folder, entropy)
        self.knowledge = Knowledge(self.folder, self.identity, log)
        self.knowledge.load()
        cursor = self.knowledge.network.cursor
        self.revision, self.versions = cursor.revision if cursor else 0, dict[int, int]()
        machine = Machine(hostname=self.sockets.host.name)
        parts = {"clock": running_clock(), "entropy": entropy, "log": log, "host": machine, "connect": connect}
        made = cast("Any", SimpleNamespace(**parts, sockets=self.sockets))
        self.member = Member(made, self.identity, self.knowledge, self, lambda: self.where)
        self.member.open(token)

    async def stop(self, *, killed: bool = False) -> None:
        """End; where it is killed, without a word, and without writing what it has not yet written."""
        member, self.member = self.member, None
        if member is None:
            return
        if killed:
            self.sockets.host.kill()
        else:
            self.knowledge.flush()
        await member.close()

    @property
    def at_rest(self) -> bool:
        return self.member is not None and self.member.connected and not self.knowledge.network.lacking

    def session_began(self) -> None:
        assert self.member is not None
        self.sessions += 1
        self.member.report(always=True)

    def map_changed(self, change: MapChange) -> None:
        revision, self.revision = self.revision, change.cursor.revision
        if revision > self.revision:
            self.wrong.append(f"revision {self.revision} after {revision}")
        for node in change.nodes:
            version, known = int(node.name.rpartition("v")[2]), self.versions.get(node.id, 0)
            self.versions[node.id] = version
            if version < known:
                self.wrong.append(f"node {node.id}: version {version} after {known}")
            if self.play.gone.get(node.id, self.revision + 1) <= self.revision:
                self.wrong.append(f"node {node.id} was gone before revision {self.revision}")

    def peer_endpoints(self, peer: int, endpoints: object) -> None:
        """Of no interest here."""

    def home_relay(self, message: object) -> None:
        """Of no interest here."""

    def trouble(self, error: GhostwireError, *, final: bool) -> None:
        if final:
            self.wrong.append(str(error))


class Judge(Mesh):
    """What each viewer's map ought to be."""

    def __init__(self, plane: Any) -> None:
        self.maps, self.policy, self.now = plane.maps, plane.policies.current, plane.mesh.now()
        self.records = {(kind, each.id): each for kind in (Node, User, Route, Relay) for each in plane.mesh.list(kind)}
        self.down, self.homes = {}, {}
        bearers = all_bearers(self.of(Node), self.of(User), self.of(Route))
        self.parties = {id_: verdict.party(self.policy, bearer) for id_, bearer in bearers.items()}


class Play:
    """A mesh that things happen to."""

    def __init__(self, mesh: MemoryMesh) -> None:
        self.mesh, self.count = mesh, 0
        self.viewers: list[Viewer] = []
        self.gone: dict[int, int] = {}

    @property
    def plane(self) -> Any:
        assert self.mesh.server.running is not None
        return self.mesh.server.running.plane

    def id_of(self, viewer: Viewer) -> int | None:
        node = self.plane.mesh.state.node_of_machine(viewer.identity.machine_key.public(MachineKey))
        return node.id if node else None

    async def take(self, act: str, number: int, size: int) -> None:
        """One step; those that make no sense now are skipped."""
        self.count += 1
        if act in ("join", "edit", "compact", "restart", "crash", "wait"):
            await getattr(self, act)(size)
        elif self.viewers:
            await getattr(self, act)(self.viewers[number % len(self.viewers)], size)

    async def join(self, _size: int) -> None:
        if len(self.viewers) < MOST:
            token = JoinToken.parse(await self.mesh.server.token())
            self.viewers.append(Viewer(self, self.count))
            self.viewers[-1].start(token)
            await self.mesh.until(lambda: self.viewers[-1].at_rest, "it should have joined")

    async def edit(self, size: int) -> None:
        await self.plane.policies.set(POLICIES[size % len(POLICIES)], "me", expected=None)

    async def compact(self, _size: int) -> None:
        await self.plane._compaction.compact()

    async def restart(self, _size: int) -> None:
        await self.mesh.server.restart()

    async def crash(self, size: int) -> None:
        await self.mesh.server.kill()
        await asyncio.sleep(size / 100)
        await self.mesh.server.start()

    async def wait(self, size: int) -> None:
        await asyncio.sleep(size / 50)

    async def rename(self, viewer: Viewer, _size: int) -> None:
        if id_ := self.id_of(viewer):
            await self.plane.administration.rename_node(str(id_), f"n{id_}-v{self.count}")

    async def tag(self, viewer: Viewer, size: int) -> None:
        if id_ := self.id_of(viewer):
            await self.plane.administration.change_node(str(id_), tags=TAGS[size % len(TAGS)])

    async def offer(self, viewer: Viewer, size: int) -> None:
        viewer.where = Whereabouts(routes=("10.1.0.0/16", "10.2.0.0/24")[: size % 3])
        if viewer.member is not None:
            viewer.member.report()

    async def approve(self, viewer: Viewer, size: int) -> None:
        for route in self.plane.mesh.state.routes_of(self.id_of(viewer) or 0):
            changed = msgspec.structs.replace(route, approved=bool(size % 2))
            await self.plane.mesh.write(lambda transaction, changed=changed: transaction.put(changed))

    async def delete(self, viewer: Viewer, _size: int) -> None:
        if (id_ := self.id_of(viewer)) and len(self.viewers) > 2:
            await self.plane.administration.delete_node(str(id_))
            self.gone[id_] = self.plane.mesh.state.revision
            self.viewers.remove(viewer)
            await viewer.stop()

    async def cut(self, viewer: Viewer, size: int) -> None:
        """From the server to the node."""
        self._cut(viewer, size, outward=False)

    async def cut_outward(self, viewer: Viewer, size: int) -> None:
        self._cut(viewer, size, outward=True)

    def _cut(self, viewer: Viewer, size: int, *, outward: bool) -> None:
        streams = self.mesh.network.streams_of(viewer.sockets.host)
        for stream in streams:
            _break(stream, outward, size)
        viewer.sockets.fuses += [(outward, 5 * size), (not outward, 3 * size)]

    async def end(self, viewer: Viewer, _size: int) -> None:
        await viewer.stop()

    async def kill(self, viewer: Viewer, _size: int) -> None:
        await viewer.stop(killed=True)

    async def begin(self, viewer: Viewer, _size: int) -> None:
        if viewer.member is None:
            viewer.start()

    async def settle(self) -> None:
        """All run, each in a session of its own begun from here on, and nothing breaks any more."""
        before = {viewer: viewer.sessions for viewer in self.viewers}
        for viewer in self.viewers:
            viewer.sockets.fuses.clear()
            for stream in self.mesh.network.streams_of(viewer.sockets.host):
                stream.sever()
            await self.begin(viewer, 0)
        await self.mesh.until(
            lambda: all(each.at_rest and each.sessions > before[each] for each in self.viewers),
            "all should be back",
            timeout=300,
        )
        await asyncio.sleep(1)

    async def check(self) -> None:
        """Each map is what the model says, and what the server says when it is asked for all of it."""
        judge = Judge(self.plane)
        for viewer in self.viewers:
            assert viewer.wrong == []
            judge.check(self.id_of(viewer), viewer.knowledge.network)
            assert viewer.member is not None
            viewer.member.upkeep._refresh()
        await asyncio.sleep(1)
        for viewer in self.viewers:
            assert viewer.member is not None
            status = viewer.member.upkeep.status
            assert (status.comparisons, status.differed) == (1, "")


ACTS = ("join", "join", "delete", "rename", "rename", "tag", "tag", "offer", "approve", "edit", "compact")
ACTS += ("cut", "cut", "cut", "cut", "cut_outward", "end", "kill", "begin", "begin", "restart", "crash", "wait", "wait")
STEPS = st.tuples(st.sampled_from(ACTS), st.integers(0, MOST - 1), st.integers(0, 600))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Servers and nodes tell every session."""
    logger = logging.getLogger("ghostwire")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=20, max_size=50), pause=st.sampled_from((0.0, 0.02, 0.2)))
def test_maps_are_right_after_any_history_of_streams_that_break_at_any_byte(
    steps: list[tuple[str, int, int]], pause: float
) -> None:
    async def run() -> None:
        async with MemoryMesh(seed=len(steps), config=ServerConfig(keep_revisions=KEPT)) as mesh:
            play = Play(mesh)
            for step in [("join", 0, 0)] * 3 + steps:
                await play.take(*step)
                await asyncio.sleep(pause)
            await play.settle()
            await play.check()
            for viewer in play.viewers:
                await viewer.stop()

    simulate(run)
