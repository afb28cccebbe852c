"""An enrolled node that means harm learns of no node, rule, set or route that the policy hides from it."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghostwire.capabilities.policy import Bearer, CompiledPolicy, PolicyRule
from ghostwire.capabilities.storage import Transaction
from ghostwire.model import Cursor, Endpoint, MapChange, Node, Route
from ghostwire.server.policy.labels import label_id, wire_rule
from ghostwire.testing import simulated
from ghostwire.wire.messages import MAX_ROUTES, Interest, PeerEndpoints, Report

OPEN = PolicyRule(sources=("kin",), destinations=("kin",))
HIDDEN = PolicyRule(sources=("others",), destinations=("others",), ports=((4711, 4711),))
SECRET = "10.99.0.0/16"


class Apart(CompiledPolicy):
    """Hosts 1 and 2 see each other; so do all others, of whom those two know nothing."""

    rules = (OPEN, HIDDEN)

    def __init__(self, kin: frozenset[str]) -> None:
        self.kin = kin

    def selectors(self, node: Bearer) -> list[str]:
        return ["kin" if str(node.addresses[0]) in self.kin else "others"]

    def route_selectors(self, node: Bearer, route: object) -> list[str]:
        return self.selectors(node)

    def approves(self, node: Bearer, route: object) -> bool:
        return True


async def parted(rig):
    """Four nodes, of which the first is hostile; the third has a home and a route, and the fourth was renamed."""
    clients = await rig.clients(4)
    kin = frozenset(rig.nodes[name].addresses[0] for name in ("host1", "host2"))
    policy = Apart(kin)
    rig.plane.maps.adopt(policy)
    rig.plane.routes.policy_changed(policy)
    endpoints = (Endpoint("udp", "192.0.2.9:41641"),)
    clients[2].stream.say(Report(session=1, sequence=1, endpoints=endpoints, routes=(SECRET,)))
    await rig.settle()
    assert [route.approved for route in rig.plane.mesh.list(Route)] == [True]
    clients[0].read()
    return clients


def check(change: MapChange, rig) -> None:
    """Only what concerns the kin is in it."""
    kin = {node.id for node in rig.nodes.values() if node.name in ("host1", "host2")}
    assert {node.id for node in change.nodes} <= kin
    assert change.homes.keys() <= kin
    assert {rule.id for rule in change.rules} <= {wire_rule(OPEN).id}
    assert {each.id for each in (*change.sets, *change.set_changes)} <= {label_id("kin")}
    assert all(set(each.nodes) <= kin for each in change.sets)
    assert all({*each.added, *each.removed} <= kin for each in change.set_changes)
    assert not change.routes
    assert set(change.own_labels or ()) <= {label_id("kin")}


ticks = st.one_of(st.integers(-3, 60), st.sampled_from((-(2**63), 2**63, 2**64 - 1)))
cursors = st.fixed_dictionaries(
    {},
    optional={
        "revision": st.one_of(st.integers(-2, 40), st.just(2**63)),
        "clock": st.one_of(st.just({}), ticks.map(lambda tick: {"self": tick}), st.just({"another": 5})),
        "newest": st.sampled_from((-1, 0, 1, 3, 2**63)),
        "view": st.sampled_from((0, 1, 2**63)),
        "mark": st.sampled_from((b"", b"x" * 16)),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(cursors, min_size=1, max_size=6))
def test_no_cursor_reveals_what_is_hidden(serve, forged) -> None:
    @simulated
    async def run() -> None:
        async with serve() as rig:
            hostile, _, stranger, _ = await parted(rig)
            real = hostile.map.cursor
            assert real is not None
            for change in forged:
                fields = dict(change)
                if "self" in fields.get("clock", {}):
                    fields["clock"] = {next(iter(real.clock)): fields["clock"]["self"]}
                stranger.stream.say(Report(session=1, sequence=2 + rig.plane.maps.tick, routes=()))
                await rig.settle()
                hostile.map.cursor = msgspec.structs.replace(real, **fields)
                stream = hostile.connect()
                await rig.settle()
                assert not stream.closed
                for told in stream.of(MapChange):
                    check(told, rig)
                    if not told.full:
                        assert not told.removed_nodes
                        assert not told.removed_routes

    run()


@simulated
async def test_nothing_that_happens_among_the_hidden_is_told_not_even_that_they_are_gone(serve):
    async with serve() as rig:
        hostile, _, stranger, _ = await parted(rig)
        before = len(hostile.stream.of(MapChange))
        ids = {name: node.id for name, node in rig.nodes.items()}
        for id_ in (*range(-2, 12), 2**63 - 1):
            hostile.stream.say(Interest(node=id_))
        stranger.stream.say(Report(session=1, sequence=2, home=900, routes=(SECRET, "10.98.0.0/16"), down=(SECRET,)))
        await rig.settle()
        await rig.client(5).join()

        def remove(transaction: Transaction) -> None:
            for route in transaction.find(Route, node=ids["host3"]):
                transaction.delete(Route, route.id)
            transaction.delete(Node, ids["host3"])

        await rig.plane.mesh.write(remove)
        await rig.settle()
        told = hostile.stream.of(MapChange)[before:]
        for change in told:
            check(change, rig)
            assert not change.removed_nodes + change.removed_routes + change.removed_sets + change.removed_rules
        assert {each.node for each in hostile.stream.of(PeerEndpoints)} <= {ids["host1"], ids["host2"]}


@simulated
async def test_reports_with_other_routes_each_time_cost_a_bounded_number_of_transactions(serve):
    async with serve() as rig:
        hostile, *_ = await parted(rig)
        before = rig.plane.mesh.state.revision
        for sequence in range(1, 301):
            routes = tuple(f"10.{sequence % 90}.{number}.0/24" for number in range(MAX_ROUTES))
            hostile.stream.say(Report(session=2, sequence=sequence, routes=routes))
            if sequence % 10 == 0:
                await rig.settle()
        assert rig.plane.mesh.state.revision - before < 30
        own = next(node.id for node in rig.nodes.values() if node.name == "host1")
        assert len(rig.plane.mesh.state.routes_of(own)) <= MAX_ROUTES


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "100.64.0.5/32",
            "100.64.0.0/15",
            "::ffff:10.0.0.0/104",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "64.0.0.0/3",
            "2000::/3",
        ),
        *(
            "10.0.0.1/8",
            "fe80::1%eth0",
            "1" * 300,
            "",
            "/",
            "\x00",
            "10.0.0.0/8/8",
            "0/0",
            "\u0661\u0660.0.0.0/8",
            "::/1",
        ),
    ],
    ids=ascii,
)
@simulated
async def test_what_no_node_may_route_becomes_no_record(serve, prefix):
    async with serve() as rig:
        hostile, *_ = await parted(rig)
        hostile.stream.say(Report(session=2, sequence=1, routes=(prefix, "10.1.0.0/16", "0.0.0.0/0"), down=(prefix,)))
        await rig.settle()
        own = next(node.id for node in rig.nodes.values() if node.name == "host1")
        assert [route.prefix for route in rig.plane.mesh.state.routes_of(own)] == ["10.1.0.0/16"]
        assert isinstance(hostile.read().cursor, Cursor)
