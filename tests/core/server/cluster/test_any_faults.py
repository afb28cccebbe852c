"""Whatever happens to three servers, their database and nodes: at rest all agree, and nothing acknowledged is lost.

Nodes join, leave and go from server to server, get new keys and lose them, streams are lost and slow, names, tags,
routes, homes, relays and the policy change, servers are killed, started, cut off from the database and compact its log.
See `conftest.Servers`.
"""

import asyncio
import contextlib
import os
import random
from collections import Counter

import msgspec
import pytest

from ghostwire.errors import GhostwireError
from ghostwire.keys import NodeKey
from ghostwire.model import Node, Relay, Route, User
from ghostwire.server.policy import verdict
from ghostwire.server.policy.bearers import all_bearers
from ghostwire.server.relays.administration import RelayAdministration
from ghostwire.server.relays.attendance import SETTLING
from ghostwire.server.state import expired
from ghostwire.testing import simulate
from ghostwire.wire.messages import Leave, PeerEndpoints

from .conftest import Servers

SEEDS = int(os.environ.get("GHOSTWIRE_CLUSTER_SEEDS", "24"))
STEPS = 60
ACTS = ("join",) * 6 + ("leave", "lose", "log_out", "rename", "retag", "retag", "move", "move", "route", "approve")
ACTS += ("rotate", "expire", "end_soon", "relay", "relay", "relay_ends", "drain_relay")
ACTS += (
    "policy",
    "interest",
    "interest",
    "slow",
    "drain",
    "delete",
    "kill",
    "start",
    "start",
    "cut",
    "heal",
    "compact",
)
PAUSES = (0.0, 0.0, 0.03, 0.1, 1.0, 1.0, 6.0, 13.0)
TAGS = ((), ("tag:a",), ("tag:b",), ("tag:a", "tag:b"))
POLICIES = ("* > *", "tag:a > tag:b", "tag:a > *\ntag:b > tag:b", "* > tag:b", "tag:b > tag:a\n* > tag:a")
PREFIXES = ("10.1.0.0/16", "10.2.0.0/16")
GRANTS = ("", "\ntag:a approves 10.1.0.0/16", "\ntag:b approves 10.1.0.0/16\ntag:a approves 10.2.0.0/16")
EPHEMERAL = 20
"""Seconds that an ephemeral node may be away: less than the rest at the end."""
RELAYS = ("x1", "x2")
"""Relays of region 1."""


class Faults:
    """One history, which follows from its seed."""

    def __init__(self, kit, seed: int) -> None:
        self.random = random.Random(seed)
        delay = self.random.choice((0.0, 0.02, 0.5, 3.0))
        self.s = Servers(
            kit.make_client,
            kit.authenticator,
            seed=seed,
            delay=lambda: self.random.random() * delay,
            keep_revisions=100,
            ephemeral_grace=EPHEMERAL,
        )
        self.relays = [kit.make_relay(lambda: None, number) for number in range(len(RELAYS))]
        self.streams: list = []
        """Those of relays, and where they are."""
        self.s.nodes[-1].ephemeral = True
        self.tasks: list[asyncio.Task] = []
        self.names: list[tuple[int, str]] = []
        self.gone: set[int] = set()
        self.trace: list[str] = []

    async def run(self) -> None:
        await self.s.start()
        try:
            await self.s.planes[0].mesh.write(self.add_relays)
            for _ in range(STEPS):
                act, node, slot = (
                    self.random.choice(ACTS),
                    self.random.choice(self.s.nodes),
                    self.random.choice(self.s.slots),
                )
                self.trace.append(f"{act} {node.client.number} {slot.number}")
                await getattr(self, act)(node, slot)
                await asyncio.sleep(self.random.choice(PAUSES))
            await self.rest()
            self.check()
            await self.check_routes()
            await self.check_interests()
        finally:
            await self.s.close()

    def spawn(self, work) -> None:
        async def tried() -> None:
            with contextlib.suppress(GhostwireError, asyncio.CancelledError):
                await work

        self.tasks.append(asyncio.get_running_loop().create_task(tried()))

    # What happens

    async def join(self, node, slot) -> None:
        self.spawn(node.join(slot))

    async def leave(self, node, slot) -> None:
        if node.online:
            node.read()
            node.client.leave()

    async def lose(self, node, slot) -> None:
        """The stream is dead, and its server does not know."""
        if node.online:
            node.orphans.append((node.at, node.client.stream))
            node.client.stream = None

    async def log_out(self, node, slot) -> None:
        if node.online and node.id and self.random.random() < 0.3:
            self.gone.add(node.id)
            node.client.stream.say(Leave(logout=True))

    async def delete(self, node, slot) -> None:
        if slot.serves and (known := slot.plane.mesh.list(Node)) and self.random.random() < 0.3:
            picked = self.random.choice(known)
            self.gone.add(picked.id)
            self.spawn(slot.plane.administration.delete_node(str(picked.id)))

    async def rename(self, node, slot) -> None:
        if slot.serves and (known := slot.plane.mesh.list(Node)):
            picked, name = self.random.choice(known), f"named{len(self.trace)}"

            async def work() -> None:
                await slot.plane.administration.rename_node(str(picked.id), name)
                self.names.append((picked.id, name))

            self.spawn(work())

    async def retag(self, node, slot) -> None:
        if slot.serves and (known := slot.plane.mesh.list(Node)):
            picked = self.random.choice(known)
            self.spawn(slot.plane.administration.change_node(str(picked.id), tags=self.random.choice(TAGS)))

    async def move(self, node, slot) -> None:
        node.home, node.endpoint = self.random.choice((None, 1, 2)), f"n{node.client.number}:{len(self.trace)}"
        node.report()

    async def route(self, node, slot) -> None:
        node.routes = tuple(p for p in PREFIXES if self.random.random() < 0.5)
        node.down = tuple(p for p in node.routes if self.random.random() < 0.5)
        node.report()

    async def approve(self, node, slot) -> None:
        if slot.serves and (routes := slot.plane.mesh.list(Route)):
            picked = self.random.choice(routes).id

            def work(transaction) -> None:
                if (route := transaction.get(Route, picked)) is not None:
                    fields = {name: getattr(route, name) for name in route.__struct_fields__}
                    transaction.put(Route(**{**fields, "approved": True, "approved_by": "ann"}))

            self.spawn(slot.plane.mesh.write(work))

    async def policy(self, node, slot) -> None:
        if slot.serves:
            text = self.random.choice(POLICIES) + self.random.choice(GRANTS)
            self.spawn(slot.plane.policies.set(text, "ann", expected=None))

    async def rotate(self, node, slot) -> None:
        """A new node key, with which it comes again."""
        node.client.node_key = NodeKey(self.random.randbytes(32))
        self.spawn(node.join(slot))

    async def expire(self, node, slot) -> None:
        if slot.serves and (known := slot.plane.mesh.list(Node)):
            self.spawn(slot.plane.administration.expire_node(str(self.random.choice(known).id)))

    async def end_soon(self, node, slot) -> None:
        """A key ends by itself a while later; at rest it has."""
        if slot.serves and (known := slot.plane.mesh.list(Node)):
            picked, at = self.random.choice(known).id, slot.plane.mesh.now() + self.random.randrange(20)

            def work(transaction) -> None:
                if (held := transaction.get(Node, picked)) is not None:
                    transaction.put(msgspec.structs.replace(held, expires=at))

            self.spawn(slot.plane.mesh.write(work))

    def add_relays(self, transaction) -> None:
        place = {"region": 1, "region_name": "r1", "host": "relay.example.com", "source": "enrolled"}
        for name, relay in zip(RELAYS, self.relays, strict=True):
            keys = {"key": relay.key, "machine_key": relay.machine_key}
            relay.id = transaction.new_id(Relay)
            transaction.put(Relay(id=relay.id, name=name, **keys, **place))

    async def relay(self, node, slot) -> None:
        """A relay comes to a server; an older stream of it stays open until somebody ends it."""
        picked = self.random.choice(self.relays)
        if slot.serves:
            picked._plane = lambda: slot.plane
            self.streams.append((slot, picked.connect()))

    async def relay_ends(self, node, slot) -> None:
        self.random.choice(self.relays).leave()

    async def drain_relay(self, node, slot) -> None:
        if slot.serves:
            administration = RelayAdministration(slot.plane.mesh, slot.plane.relays, slot.plane._entropy)
            self.spawn(administration.drain(self.random.choice(RELAYS), self.random.random() < 0.5))

    async def interest(self, node, slot) -> None:
        if (peer := self.random.choice(self.s.nodes).id) and peer != node.id:
            node.want(peer, self.random.random() < 0.7)

    async def slow(self, node, slot) -> None:
        if node.online:
            node.client.stream.slow = True

    async def drain(self, node, slot) -> None:
        if node.online and node.client.stream.slow:
            node.client.stream.drain()

    async def kill(self, node, slot) -> None:
        for _, stream in filter(lambda each: each[0] is slot, self.streams):
            stream.lose()
        await slot.kill()

    async def start(self, node, slot) -> None:
        await slot.start()

    async def cut(self, node, slot) -> None:
        if slot.plane is not None:
            slot.storage.cut(unanswered=self.random.random() < 0.5)

    async def heal(self, node, slot) -> None:
        if slot.plane is not None:
            slot.storage.heal()

    async def compact(self, node, slot) -> None:
        if slot.serves:
            before = slot.plane.mesh.state.revision - self.random.choice((0, 3, 10))
            if before > 1:
                slot.plane.maps.compact(before)
                self.spawn(slot.storage.compact(before))

    # At rest

    async def rest(self) -> None:
        for slot in self.s.slots:
            await self.heal(None, slot)
        await asyncio.sleep(20)
        await asyncio.gather(*self.tasks)
        for node in self.s.nodes:
            node.hang_up_orphans()
            await self.drain(node, None)
        for stream in {stream for _, stream in self.streams} - {relay.stream for relay in self.relays}:
            stream.close()
        await asyncio.sleep(SETTLING)
        for _ in range(2):
            for node in self.s.nodes:
                node.read()
            await asyncio.sleep(1)

    def check(self) -> None:
        self.check_history()
        records = {id_: r for (kind, id_), r in self.s.database.records.items() if kind is Node}
        for plane in self.s.planes:
            assert {node.id: node for node in plane.mesh.list(Node)} == records
        online = {node.id: node for node in self.s.nodes if node.online and node.id}
        assert set(online) <= set(records), "a node that was removed is not told"
        for plane in self.s.planes:
            self.check_presence(plane, online, records)
            self.check_relays(plane, online, records)
        for node in online.values():
            self.check_map(node, online)
        if self.s.planes:
            self.check_ephemeral(online, records)

    def check_history(self) -> None:
        """Each address, name and key has one holder at a time, ids are given once, what was acknowledged is stored."""
        nodes, seen = {}, set()
        assert [commit.revision for commit in self.s.history] == list(range(1, len(self.s.history) + 1))
        for commit in self.s.history:
            for change in commit.changes:
                if change.kind is Node:
                    nodes.pop(change.id, None)
                    if change.record is not None:
                        assert change.id not in seen, "an id was given twice"
                        nodes[change.id] = change.record
                        self.names = [each for each in self.names if each != (change.id, change.record.name)]
                    else:
                        seen.add(change.id)
            for field in (lambda n: n.name, lambda n: n.addresses[0], lambda n: n.machine_key):
                assert not [each for each, times in Counter(map(field, nodes.values())).items() if times > 1]
        assert not self.names, "a renaming was acknowledged and is not stored"
        for node in self.s.nodes:
            if not node.ephemeral:
                assert node.enrolled - self.gone <= nodes.keys(), "an enrolment was acknowledged and lost"

    def check_presence(self, plane, online, records) -> None:
        presence = plane.sessions.presence
        assert {id_ for id_ in records if presence.lease(id_).online} == set(online)
        assert presence.online == len(online)
        for id_, node in online.items():
            lease = presence.lease(id_)
            endpoint, home, *_ = node.said
            assert [each.text for each in lease.endpoints] == [endpoint]
            assert lease.home == home
            assert plane.maps.seen(records[id_]).home == home
            assert lease.here == (node.at.plane is plane)
            homes = [each.relays.homes.of(id_) for each in (plane, node.at.plane)]
            assert homes[1] in (homes[0], (home, None)), "all know where it is to be"

    def check_relays(self, plane, online, records) -> None:
        """All know which relays run, and these know whom they may serve and who else runs."""
        running = {relay.id: relay for relay in self.relays if relay.stream is not None and not relay.stream.closed}
        now = plane.mesh.now()
        for record in plane.mesh.list(Relay):
            assert plane.relays.is_connected(record) == (record.id in running)
            assert plane.relays._runs(record) == (record.id in running)
        for id_, relay in running.items():
            assert relay.read() == {node.node_key for node in records.values() if not expired(node, now)}
            assert {each.id for each in relay.siblings.values()} == running.keys() - {id_}

    def check_ephemeral(self, online, records) -> None:
        left = {record.id for record in records.values() if record.ephemeral}
        assert left <= online.keys(), "an ephemeral node was away for longer than its grace, and is there"

    def check_map(self, node, online) -> None:
        plane, network = node.at.plane, node.client.map
        policy, nodes = plane.policies.current, plane.mesh.list(Node)
        bearers = all_bearers(nodes, plane.mesh.list(User), plane.mesh.list(Route))
        parties = {id_: verdict.party(policy, bearer) for id_, bearer in bearers.items()}
        me = parties[node.id]
        ended = {record.id for record in nodes if expired(record, plane.mesh.now())}
        assert node.id not in ended
        expected = {id_ for id_, party in parties.items() if id_ == node.id or verdict.sees(policy, me, party)} - ended
        assert set(network.nodes) == expected
        for record in nodes:
            if record.id in expected:
                told = network.nodes[record.id]
                assert (told.name, told.tags, told.node_key) == (record.name, record.tags, record.node_key)
                if record.id in online:
                    assert told.home == online[record.id].said[1], (node.id, record.id)
        downs = {id_: other.said[3] for id_, other in online.items()}
        for route in network.routes.values():
            if route.router in downs:
                assert route.down == (route.prefix in downs[route.router]), (node.id, route)

    async def check_routes(self) -> None:
        """Routes are what their nodes say and as the policy judges them: no server has anything to put right."""
        said = {node.id: set(node.said[2]) for node in self.s.nodes if node.online and node.id}
        before = len(self.s.history)
        for plane in self.s.planes:
            for id_, prefixes in said.items():
                assert {route.prefix for route in plane.mesh.state.routes_of(id_) if route.advertised} == prefixes
            plane.routes.judge_all()
        await asyncio.sleep(5)
        assert len(self.s.history) == before, self.s.history[before:]

    async def check_interests(self) -> None:
        """Whoever wants a peer that it sees hears where that is, and is heard of."""
        online = [node for node in self.s.nodes if node.online and node.id]
        pairs = [(a, b) for a in online for b in online if a is not b and b.id in a.client.map.nodes]
        for a, b in pairs:
            a.want(b.id)
        await asyncio.sleep(20)
        for node in online:
            node.endpoint += "!"
            node.report()
        await asyncio.sleep(20)
        for pair in pairs:
            for a, b in (pair, pair[::-1]):
                heard = [m.endpoints[0].text for m in a.client.stream.of(PeerEndpoints) if m.node == b.id]
                assert heard, "nobody said where the peer is"
                assert heard[-1] == b.said[0]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_three_servers_agree_at_rest_whatever_happened(kit, seed):
    faults = Faults(kit, seed)
    try:
        simulate(faults.run)
    except BaseException as error:
        error.add_note(f"seed {seed}: " + ", ".join(faults.trace))
        raise
