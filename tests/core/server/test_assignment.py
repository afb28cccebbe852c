"""Which relay of its region a node is told to be at: by load, sticky, drained gradually, moved when one is gone."""

import random

import pytest

from ghostwire.engine import SECOND
from ghostwire.server.relays.assignment import PACE, STEP, Assignment, Drained, Seat, Tell
from ghostwire.testing import ManualClock

NORTH, SOUTH = 900, 901


class Play:
    """An assignment on a clock, and what nodes were told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.engine = Assignment()
        self.seats: dict[int, Seat] = {}
        self.told: dict[int, int] = {}
        self.messages = 0
        self.drained: list[int] = []

    def relay(self, id_: int, capacity: int = 100, *, region: int = NORTH, **fields: bool) -> None:
        self.seats[id_] = Seat(id_, region, capacity, **fields)
        self._map()
        self.engine.place(self.clock.now(), self.seats[id_])
        self.take()

    def gone(self, id_: int, *, removed: bool = False) -> None:
        if removed:
            self.seats.pop(id_, None)
            self._map()
        self.engine.withdraw(self.clock.now(), id_)
        self.take()

    def node(self, id_: int, region: int | None = NORTH, at: int | None = None) -> int | None:
        self.engine.report(self.clock.now(), id_, region, at)
        self.take()
        return self.at(id_)

    def at(self, id_: int) -> int | None:
        home = self.engine.home_of(id_)
        return home[1] if home else None

    def forget(self, id_: int) -> None:
        self.engine.forget(self.clock.now(), id_)
        self.told.pop(id_, None)
        self.take()

    def run(self, seconds: float) -> None:
        end = self.clock.now() + round(seconds * SECOND)
        while (deadline := self.engine.deadline()) is not None and deadline <= end:
            self.clock.advance(max(0, deadline - self.clock.now()))
            self.engine.advance(self.clock.now())
            self.take()
        self.clock.advance(end - self.clock.now())

    def take(self) -> None:
        for event in self.engine.take():
            if isinstance(event, Tell):
                self.messages += 1
                self.told[event.node] = event.message.relay
            else:
                assert isinstance(event, Drained)
                self.drained.append(event.relay)

    def counts(self) -> dict[int, int]:
        return {id_: self.engine.count(id_) for id_ in self.seats}

    def _map(self) -> None:
        regions = [seat.region for seat in self.seats.values()]
        self.engine.regions({region: regions.count(region) for region in regions})


def play(*capacities: int) -> Play:
    made = Play()
    for number, capacity in enumerate(capacities, 1):
        made.relay(number, capacity)
    return made


def test_nodes_are_spread_by_capacity():
    mesh = play(100, 300)
    for node in range(1, 401):
        mesh.node(node)
    assert mesh.counts() == {1: 100, 2: 300}
    assert len(mesh.told) == mesh.messages == 400


def test_what_a_relay_says_of_its_load_counts():
    mesh = play(100, 100)
    mesh.engine.load(1, 50)
    assert [mesh.node(node) for node in range(1, 51)] == [2] * 50
    assert {mesh.node(node) for node in range(51, 53)} == {1, 2}
    mesh.engine.load(2, 0)
    assert mesh.node(99) == 2


def test_the_only_relay_of_a_region_needs_no_telling_until_there_is_another():
    mesh = play(100)
    assert mesh.node(1) == 1
    assert mesh.told == {}
    mesh.relay(2)
    assert mesh.told == {1: 1}


def test_a_node_is_told_once_a_session():
    mesh = play(100, 100)
    for _ in range(10):
        mesh.node(1)
    assert mesh.messages == 1
    mesh.engine.arrive(1)
    mesh.node(1)
    assert mesh.messages == 2
    mesh.engine.repeat(1)
    mesh.take()
    assert mesh.messages == 3


def test_a_node_stays_where_it_is_however_the_load_changes():
    mesh = play(100, 100)
    before = {node: mesh.node(node) for node in range(1, 51)}
    mesh.engine.load(1, 99)
    mesh.relay(3, 1000)
    mesh.run(3600)
    assert {node: mesh.node(node) for node in before} == before


def test_a_node_that_is_at_a_relay_already_stays_there_after_the_servers_restart():
    mesh = play(100, 100)
    mesh.engine.load(2, 90)
    assert mesh.node(1, at=2) == 2
    assert mesh.node(2, at=77) == 1
    mesh.relay(2, draining=True)
    assert mesh.node(3, at=2) == 1


def test_relays_of_another_region_are_none_of_a_nodes():
    mesh = play(100)
    mesh.relay(2, region=SOUTH)
    assert mesh.node(1, at=2) == 1
    assert mesh.node(1, SOUTH) == 2
    assert mesh.node(1, None) is None
    assert mesh.counts() == {1: 0, 2: 0}


def test_a_draining_relay_takes_nobody_new_and_loses_its_nodes_gradually():
    mesh = play(1000, 1000)
    for node in range(1, 401):
        mesh.node(node)
    mesh.relay(1, 1000, draining=True)
    assert mesh.counts()[1] == 200
    mesh.run(0)
    step = round(200 * PACE)
    assert mesh.counts()[1] == 200 - step
    assert mesh.node(500) == 2
    mesh.run(9 * STEP / SECOND)
    assert mesh.counts()[1] == 200 - 10 * step
    assert mesh.drained == []
    mesh.run(10 * STEP / SECOND)
    assert mesh.counts() == {1: 0, 2: 401}
    assert mesh.drained == [1]
    assert mesh.engine.deadline() is None
    assert all(relay == 2 for relay in mesh.told.values())


def test_few_nodes_are_drained_one_at_a_time():
    mesh = play(100, 100)
    for node in range(1, 7):
        mesh.node(node)
    mesh.relay(1, draining=True)
    for left in (2, 1, 0):
        mesh.run(0 if left == 2 else 1)
        assert mesh.counts()[1] == left


def test_a_relay_that_drains_no_longer_keeps_what_it_has():
    mesh = play(100, 100)
    for node in range(1, 101):
        mesh.node(node)
    mesh.relay(1, draining=True)
    mesh.run(5)
    left = mesh.counts()[1]
    mesh.relay(1)
    mesh.run(60)
    assert mesh.counts()[1] == left > 0
    assert mesh.drained == []


def test_nodes_of_a_region_that_has_nothing_else_wait_to_be_drained():
    mesh = play(100)
    for node in range(1, 41):
        mesh.node(node)
    mesh.relay(1, draining=True)
    mesh.run(60)
    assert mesh.counts()[1] == 40
    assert mesh.node(41) is None
    mesh.relay(2)
    assert mesh.at(41) == 2
    mesh.run(30)
    assert mesh.counts() == {1: 0, 2: 41}
    assert mesh.drained == [1]


def test_the_nodes_of_a_relay_that_is_gone_move_at_once():
    mesh = play(100, 100, 100)
    for node in range(1, 91):
        mesh.node(node)
    mesh.gone(2)
    assert mesh.counts() == {1: 45, 2: 0, 3: 45}
    assert set(mesh.told.values()) == {1, 3}
    mesh.gone(1)
    mesh.gone(3)
    assert {mesh.at(node) for node in range(1, 91)} == {None}
    mesh.relay(1)
    assert mesh.counts()[1] == 90


def test_a_relay_that_may_come_back_keeps_its_nodes_and_gets_none():
    mesh = play(100, 100)
    mesh.node(1, at=1)
    mesh.relay(1, connected=False)
    assert [mesh.node(node) for node in range(2, 12)] == [2] * 10
    assert mesh.node(1) == 1
    mesh.gone(2)
    assert mesh.node(12) == 1, "better than none"


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_everybody_has_a_relay_that_takes_nodes(seed):
    chance = random.Random(seed)
    mesh = Play()
    nodes: dict[int, int] = {}
    running: set[int] = set()
    for step in range(4000):
        act = chance.choice(["node", "node", "node", "forget", "relay", "drain", "gone", "load", "run", "arrive"])
        node, relay = chance.randrange(1, 200), chance.randrange(1, 9)
        region = NORTH if relay % 2 else SOUTH
        if act == "node":
            nodes[node] = chance.choice((NORTH, SOUTH))
            mesh.node(node, nodes[node], chance.choice((None, relay)))
        elif act == "forget":
            nodes.pop(node, None)
            mesh.forget(node)
        elif act in ("relay", "drain"):
            mesh.relay(relay, chance.randrange(1, 50), region=region, draining=act == "drain")
            running.add(relay)
        elif act == "gone":
            mesh.gone(relay, removed=chance.random() < 0.5)
            running.discard(relay)
        elif act == "load":
            mesh.engine.load(relay, chance.randrange(100))
        elif act == "arrive":
            mesh.engine.arrive(node)
        else:
            mesh.run(chance.random() * 30)
        check(mesh, nodes, running, step)
    for relay in sorted(running):
        mesh.relay(relay, 10, region=NORTH if relay % 2 else SOUTH, draining=relay in (1, 2))
    mesh.relay(3, region=NORTH)
    mesh.relay(4, region=SOUTH)
    mesh.run(10_000)
    assert mesh.counts().get(1, 0) == mesh.counts().get(2, 0) == 0
    assert all(mesh.at(node) for node in nodes)


def check(mesh: Play, nodes: dict[int, int], running: set[int], step: int) -> None:
    open_ = {r for r in running if not mesh.seats[r].draining}
    for node, region in nodes.items():
        relay = mesh.at(node)
        here = {r for r in open_ if mesh.seats[r].region == region}
        assert relay is None or relay in running, f"step {step}: node {node} is at relay {relay}, which is gone"
        assert relay is not None or not here, f"step {step}: node {node} has no relay, and could be at {here}"
        assert relay is None or mesh.seats[relay].region == region, f"step {step}: relay {relay} is of another region"
    assert sum(mesh.counts().values()) == sum(mesh.at(node) is not None for node in nodes)
    waiting = any(
        mesh.engine.count(r) and {o for o in open_ if mesh.seats[o].region == mesh.seats[r].region}
        for r in running - open_
    )
    assert not waiting or mesh.engine.deadline() is not None, f"step {step}: a relay that drains must have a deadline"
