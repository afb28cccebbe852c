"""A mesh as its nodes see it, beside a plain model: the records, and `verdict`, which judges pair by pair."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from itertools import count

import msgspec

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, PolicyRule, Prefix
from ghostwire.capabilities.storage import Change, Commit, Snapshot
from ghostwire.engine import SECOND
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Cursor, LabelSet, MapChange, MapRoute, NetworkMap, Node, PolicyVersion, Relay, Route, User
from ghostwire.node.comparison import differences
from ghostwire.server.maps import Maps
from ghostwire.server.policy import verdict
from ghostwire.server.policy.bearers import all_bearers
from ghostwire.server.policy.labels import label_id, wire_rule
from ghostwire.server.relays.records import DERP_MAP
from ghostwire.server.rounds import BACKLOG
from ghostwire.server.state import expired
from ghostwire.server.views import adoption
from ghostwire.server.views.fanout import WHOLE_EVERY, Fanout
from ghostwire.wire.messages import Lacking, Refresh, decode_to_node, encode

USERS, TAGS = ("ann", "bob", "cy"), ("tag:a", "tag:b")
NORTH = {"region": 1, "region_name": "north"}
EMAIL = "ann@example.com"
DONE = object()
adoption.LAST = 0  # meshes here are small: leave nothing for the moment when policies change places
PREFIXES = ("10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "0.0.0.0/0")
GROUPS, NET = ("group:x", "group:y"), "internet"
SELECTORS = (EVERYONE, *USERS, EMAIL, *TAGS, *GROUPS, "10.1.0.0/16", "10.2.0.0/16", NET)


class Toy(CompiledPolicy):
    """Groups of users, and rules."""

    def __init__(self, rules: Sequence[PolicyRule], groups: dict[str, frozenset[str]]) -> None:
        self.rules, self.groups = rules, groups

    def selectors(self, node: Bearer) -> Sequence[str]:
        found = [EVERYONE, *node.tags]
        if not node.tags:
            found += [node.owner.name, node.owner.email]
            found += [group for group, members in self.groups.items() if node.owner.name in members]
        for route in node.routes:
            found += self._of(route)
        return list(dict.fromkeys(name for name in found if name in SELECTORS))

    def route_selectors(self, node: Bearer, route: Prefix) -> Sequence[str]:
        return [EVERYONE, *node.tags, *self._of(route)] if route.prefixlen else [NET]

    def _of(self, route: Prefix) -> list[str]:
        if not route.prefixlen:
            return [NET]
        return [text for text in SELECTORS if text[:3] == "10." and ip_network(text).overlaps(route)]


class Stream:
    """A session as the fan-out sees it; what it was told waits in ``inbox`` until it is read."""

    def __init__(self, node: int, cursor, protocol: int) -> None:
        self.id, self.position, self.greeted, self.protocol = node, cursor, False, protocol
        self.slow = self.seen = False
        self.compared = 0
        self.inbox: list[bytes] = []

    @property
    def pending(self) -> int:
        return BACKLOG + 1 if self.slow else 0

    def push(self, frame: bytes) -> bool:
        self.inbox.append(frame)
        return True

    def fail(self) -> None:
        raise AssertionError("a viewer could not be served")


class Member:
    """A node's own side: the map that it keeps, and its stream. ``silent``: it does not ask for what it lacks.

    ``wants``: it asked for its whole map, and compares.
    """

    silent = wants = False
    compared = 0

    def __init__(self, protocol: int) -> None:
        self.map, self.protocol = NetworkMap(), protocol
        self.stream: Stream | None = None


class Mesh:
    """Records and their log, the server's maps, and the nodes' own. Whatever happens is followed by a look at all.

    Nodes speak ``protocol``.
    """

    protocol = 1

    def begin(self, policy) -> None:
        self.records: dict[tuple[type, int], object] = {}
        self.log: list[Commit] = []
        self.ids, self.servers = count(1), count(1)
        self.revision, self.now, self.held, self.single, self.now_ns = 0, 1000, 0, True, 0
        self.members: dict[int, Member] = {}
        self.down: dict[int, frozenset[str]] = {}
        self.homes: dict[int, int | None] = {}
        self.policy = policy
        self.coming: tuple[CompiledPolicy, Iterator[None]] | None = None
        self.open()
        self.write(*(User(id=number, stable_id=name, name=name) for number, name in enumerate(USERS, 1)))
        for number, worn in enumerate(((), (), ("tag:a",), (), ("tag:b",))):
            self.join(1 + number % len(USERS), worn, True)

    def open(self) -> None:
        self.maps = Maps(
            self.policy, f"server{next(self.servers)}", lambda: self.now, elapsed=lambda: self.now * SECOND
        )
        oldest = self.log[0].revision if self.log else self.revision + 1
        mark = self.log[-1].mark if self.log else b""
        self.maps.load(Snapshot(self.revision, mark, oldest, tuple(self.records.values())), tuple(self.log))
        self.fanout = Fanout(self.maps, lambda: self.now_ns)

    def write(self, *records, gone=()) -> None:
        """One commit."""
        self.creep(9)
        for record in records:
            self.records[type(record), record.id] = record
        for record in gone:
            del self.records[type(record), record.id]
        self.revision += 1
        changes = [Change(type(record), record.id, record) for record in records]
        changes += [Change(type(record), record.id, None) for record in gone]
        self.log.append(Commit(self.revision, str(self.revision).encode(), tuple(changes)))
        self.maps.apply(self.log[-1])
        for record in records:
            if isinstance(record, Node):
                self.maps.expire(record.id)

    def of(self, kind):
        return [record for (of, _), record in sorted(self.records.items(), key=lambda i: i[0][1]) if of is kind]

    def pick(self, kind, number):
        """The record of that id, or another."""
        found = self.of(kind)
        return self.records.get((kind, number)) or (found[number % len(found)] if found else None)

    # What happens

    def join(self, user, tags=(), connect=True) -> None:
        if len(self.of(Node)) == 8:
            return
        id_ = next(self.ids)
        raw = id_.to_bytes(32, "big")
        keys = {"machine_key": MachineKey(raw), "node_key": NodeKey(raw), "disco_key": DiscoKey(raw)}
        node = Node(
            id=id_,
            stable_id=str(id_),
            name=f"n{id_}",
            user=user,
            addresses=(f"100.64.0.{id_}",),
            tags=tags,
            **keys,
        )
        self.homes[id_] = None
        self.write(node)
        self.members[id_] = Member(self.protocol)
        if connect:
            self.connect(id_)
        self.look()

    def leave(self, number) -> None:
        if node := self.pick(Node, number):
            gone = [node, *(route for route in self.of(Route) if route.node == node.id)]
            self.write(gone=gone)
            del self.members[node.id]
            self.down.pop(node.id, None)
            self.homes.pop(node.id, None)
            self.look()

    def alter(self, number, **fields) -> None:
        if node := self.pick(Node, number):
            self.write(msgspec.structs.replace(node, **fields))
            self.look()

    def expire(self, number, by) -> None:
        if node := self.pick(Node, number):
            expires = {"record": self.now - 1, "time": self.now + 5, "renewal": None}[by]
            self.write(msgspec.structs.replace(node, expires=expires))
            if by == "time":
                self.now += 10
                for each in self.of(Node):
                    self.maps.expire(each.id)
                self.single = False
            for id_ in [id_ for id_, member in self.members.items() if self.hidden(id_)]:
                self.disconnect(id_)
            self.look()

    def mail(self, user, email) -> None:
        self.write(msgspec.structs.replace(self.records[User, user], email=email))
        self.look()

    def advertise(self, number, prefix, approved=True) -> None:
        if node := self.pick(Node, number):
            self.write(Route(id=next(self.ids), node=node.id, prefix=prefix, approved=approved))
            self.look()

    def route(self, number, act) -> None:
        if route := self.pick(Route, number):
            if act == "delete":
                self.write(gone=[route])
            elif act == "approve":
                self.write(msgspec.structs.replace(route, approved=not route.approved))
            else:
                self.write(msgspec.structs.replace(route, advertised=not route.advertised))
            self.look()

    def report(self, number, down) -> None:
        if node := self.pick(Node, number):
            self.single &= node.id in self.down  # the first word since the server's start goes to all it concerns
            self.down[node.id] = down
            self.maps.route_down(node.id, down)
            self.look()

    def move(self, number, home) -> None:
        if node := self.pick(Node, number):
            self.homes[node.id] = home
            self.maps.move(node.id, home)
            self.look()

    def many_at_once(self, numbers, tags) -> None:
        nodes = {node.id: node for number in numbers if (node := self.pick(Node, number))}
        users = [msgspec.structs.replace(self.records[User, 1], email=f"{self.revision}@example.com")]
        self.write(*(msgspec.structs.replace(node, tags=tags) for node in nodes.values()), *users)
        self.single = False
        self.look()

    def edit(self, policy) -> None:
        self.adopt(policy)

    def edit_one_rule(self, number, of) -> None:
        held = list(self.policy.rules)
        if held:
            held[number % len(held)] = of
        self.adopt(Toy(held, self.policy.groups))

    def adopt(self, policy, *, slowly: bool = False) -> None:
        """Put a policy in force: at once, or (``slowly``) while other things happen."""
        self.finish()
        self.write(PolicyVersion(id=self.revision + 1, source="", engine="toy"))
        self.coming = policy, self.maps.adopting(policy)
        if not slowly:
            self.finish()
        self.look()

    def edit_slowly(self, policy) -> None:
        self.adopt(policy, slowly=True)

    def advance(self, steps) -> None:
        self.creep(steps)
        self.look()

    def creep(self, steps) -> None:
        """A policy that is coming into force comes nearer, as it does with every commit."""
        if self.coming is not None and any(next(self.coming[1], DONE) is DONE for _ in range(steps)):
            self.policy, self.coming, self.single = self.coming[0], None, False
            self.maps.settled()
        elif self.coming is not None and self.maps.turning:
            self.policy, self.single = self.coming[0], False

    def finish(self) -> None:
        while self.coming is not None:
            self.advance(1000)

    def relay(self, id_) -> None:
        self.write(Relay(id=id_ + 1, name=f"r{id_}", **NORTH, host=f"h{self.revision}", source=DERP_MAP))
        self.look()

    # Streams and servers

    def come(self, number) -> None:
        if node := self.pick(Node, number):
            self.connect(node.id)
            self.look()

    def go(self, number, lost=False) -> None:
        if node := self.pick(Node, number):
            if not lost:
                self.read(self.members[node.id])
            self.disconnect(node.id)

    def slow(self, number) -> None:
        if (node := self.pick(Node, number)) and (stream := self.members[node.id].stream):
            stream.slow = not stream.slow
            if not stream.slow:
                self.single = False
                self.fanout.drained(stream)
                self.look()

    def hold(self, steps) -> None:
        """Several things happen between two rounds."""
        self.held, self.single = steps, False

    def restart(self, compacted=99, lost=False, back=False) -> None:
        for member in self.members.values():
            if not lost:
                self.read(member)
            member.stream = None
        if self.coming is not None:
            self.policy, self.coming = self.coming[0], None
        self.log = self.log[-1 - compacted :]
        self.down, self.homes = {}, {}
        self.now += 7
        self.open()
        for id_ in self.members if back else ():
            self.connect(id_)
        self.look()

    def compact(self, kept) -> None:
        before = self.revision - kept
        self.maps.compact(before)
        self.log = [commit for commit in self.log if commit.revision >= before]
        self.look()

    def connect(self, id_: int) -> None:
        self.disconnect(id_)
        if not self.hidden(id_):
            member = self.members[id_]
            member.stream = Stream(id_, member.map.cursor, member.protocol)
            self.fanout.add(member.stream)

    def disconnect(self, id_: int) -> None:
        member = self.members[id_]
        if member.stream is not None:
            self.fanout.remove(member.stream)
            member.stream = None

    # Maps that lack nodes, and whole ones

    def hush(self, number) -> None:
        """A node is late to ask for what it lacks, or asks at last."""
        if node := self.pick(Node, number):
            member = self.members[node.id]
            member.silent = not member.silent
            self.look()

    def wake(self, number) -> None:
        """A node's program starts anew, from what it keeps on its disk."""
        if node := self.pick(Node, number):
            self.go(node.id)
            member = self.members[node.id]
            kept, member.map = member.map.as_change(), NetworkMap()
            if kept is not None:
                member.map.apply(decode_to_node(encode(kept)))
            self.come(node.id)

    def refresh(self, number) -> None:
        if (node := self.pick(Node, number)) and (stream := self.members[node.id].stream):
            self.members[node.id].wants = stream.protocol >= 2
            self.now_ns += 2 * WHOLE_EVERY
            self.fanout.asked(stream, Refresh())
            self.look()

    # The model

    def hidden(self, id_: int) -> bool:
        return expired(self.records[Node, id_], self.now)

    def read(self, member: Member) -> None:
        """Take what came, and ask for what is lacking."""
        stream = member.stream
        if stream is None:
            return
        for frame in stream.inbox:
            self.take(member, decode_to_node(frame))
        stream.inbox.clear()
        if member.map.lacking and not member.silent:
            self.fanout.asked(stream, Lacking(nodes=tuple(member.map.lacking)))

    def take(self, member: Member, change: MapChange) -> None:
        held = member.map
        if member.wants and change.full and held.cursor is not None and not held.lacking:
            member.wants = False
            if stood(change.cursor) == stood(held.cursor):
                member.compared += 1
                assert differences(held, change) == {}
        held.apply(change)

    def look(self) -> None:
        if self.held:
            self.held -= 1
            return
        for id_ in [id_ for id_ in self.members if self.hidden(id_)]:
            self.disconnect(id_)
        self.serve()
        self.parties = {
            id_: verdict.party(self.policy, bearer)
            for id_, bearer in all_bearers(self.of(Node), self.of(User), self.of(Route)).items()
            if not self.hidden(id_)
        }
        for id_, member in self.members.items():
            stream = member.stream
            if stream is not None and not stream.slow:
                before, had = shown(member.map), stream.greeted and member.map.cursor
                told = [frame for frame in stream.inbox if b"removed" in frame or len(frame) > 70]
                quiet = self.single and stream.seen and not member.map.lacking and not member.wants
                self.read(member)
                if member.map.lacking and not member.silent:
                    self.serve()
                    self.read(member)
                    assert self.maps.turning or not member.map.lacking
                if not self.maps.turning:
                    self.check(id_, member.map)
                if quiet and had and told and member.compared == stream.compared:
                    assert before != shown(member.map), ("nothing that it sees changed", told)
                stream.seen, stream.compared = True, member.compared
        self.single = True

    def serve(self) -> None:
        """A round, at whose end nobody has any patience left."""
        self.fanout.due()
        self.maps.outboxes.hurry()
        made = {}
        for box in self.fanout.due():
            self.fanout.serve(box, made)

    def check(self, id_: int, network: NetworkMap) -> None:
        me = self.parties[id_]
        nodes = {other for other, party in self.parties.items() if verdict.sees(self.policy, me, party)}
        assert network.lacking <= nodes
        assert network.lacking.isdisjoint(network.nodes)
        nodes -= network.lacking
        assert set(network.nodes) == nodes, (id_, set(network.nodes), nodes)
        for other in nodes:
            record = self.records[Node, other]
            assert network.nodes[other].name == record.name
            assert network.nodes[other].tags == record.tags
            if other in self.homes:
                assert network.nodes[other].home == self.homes[other]
            assert self.maps.sees(id_, other)
        self.check_rules(me, network)
        routes = {
            route.id: MapRoute(
                id=route.id, prefix=route.prefix, router=route.node, down=route.prefix in self.down.get(route.node, ())
            )
            for route in self.of(Route)
            if route.advertised and route.approved and route.node in self.parties
            if verdict.sees_route(self.policy, me, self.parties[route.node], ip_network(route.prefix))
        }
        known = {id_: route if route.router in self.down else heard(route) for id_, route in network.routes.items()}
        assert known == routes
        assert {relay.id for relay in self.of(Relay)} == set(network.relays)
        assert {relay.host for relay in self.of(Relay)} == {relay.host for relay in network.relays.values()}

    def check_rules(self, me: verdict.Party, network: NetworkMap) -> None:
        untagged = not me.bearer.tags
        mine = [
            rule
            for rule in self.policy.rules
            if (untagged if rule.own else not me.selectors.isdisjoint(rule.destinations + rule.destination_holders))
        ]
        assert network.rules == {wire.id: wire for wire in map(wire_rule, mine)}
        general = {name for rule in mine if not rule.own for name in rule.sources}
        own = {name for rule in mine if rule.own for name in rule.sources}
        assert network.sets == {label_id(name): self.set_of(me, name, name in general) for name in general | own}
        labels = {name for rule in self.policy.rules if not rule.own for name in rule.destinations}
        assert network.own_labels == {label_id(name) for name in labels & me.selectors}

    def set_of(self, me: verdict.Party, name: str, general: bool) -> LabelSet:
        if name == EVERYONE:
            return LabelSet(id=label_id(name), everyone=True)
        members = (
            id_
            for id_, party in self.parties.items()
            if name in party.selectors and (general or verdict.one_owner(me, party))
        )
        return LabelSet(id=label_id(name), nodes=tuple(sorted(members)))

    def teardown(self) -> None:
        if not hasattr(self, "members"):
            return
        self.finish()
        self.held, self.single = 0, False
        for member in self.members.values():
            member.silent = False
            if member.stream is not None and member.stream.slow:
                member.stream.slow = False
                self.fanout.drained(member.stream)
        self.look()
        for id_, member in self.members.items():
            if member.stream is not None:
                before, self.single = member.compared, False
                self.refresh(id_)
                assert member.compared == before + (member.protocol >= 2)


def stood(cursor: Cursor) -> Cursor:
    """Where in the history, whatever it was seen by."""
    return msgspec.structs.replace(cursor, view=0)


def heard(route: MapRoute) -> MapRoute:
    """The route, of whose router nobody has heard since the server's start."""
    return msgspec.structs.replace(route, down=False)


def shown(network: NetworkMap):
    return (
        dict(network.nodes),
        dict(network.rules),
        dict(network.sets),
        dict(network.routes),
        network.own_labels,
        dict(network.relays),
    )
