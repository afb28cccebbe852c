"""Labels, rules and sight by themselves; and what streams are told under a policy."""

import pytest

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, PolicyRule
from ghostwire.errors import PolicyError
from ghostwire.model import Endpoint, MapChange
from ghostwire.server.policy import labels
from ghostwire.server.policy.labels import Labels, bits, check, label_id, rule_id
from ghostwire.server.policy.open import AllowAll, DenyAll
from ghostwire.server.policy.rulebook import Rulebook
from ghostwire.server.policy.sight import Sight, Standing
from ghostwire.testing import simulated
from ghostwire.wire.messages import Interest, PeerEndpoints, Report


class ByName(CompiledPolicy):
    """Selectors are the first letters of the nodes' last address parts: ``a`` for odd ones, ``b`` for even ones."""

    def __init__(self, *rules: PolicyRule) -> None:
        self.rules = rules

    def selectors(self, node: Bearer) -> list[str]:
        return [EVERYONE, "ab"[int(node.addresses[0]) % 2 == 0]]


def sight_of(*rules: PolicyRule, **nodes: tuple[str, ...]) -> tuple[Sight, dict[str, int]]:
    known = Labels()
    sight = Sight(Rulebook(rules, known))
    ids = {name: number for number, name in enumerate(nodes, 1)}
    for name, worn in nodes.items():
        sight.put(ids[name], Standing(known.mask(worn), 0))
    return sight, ids


def test_a_selector_and_a_rule_have_the_same_id_whenever_they_are_read():
    rule = PolicyRule(sources=("x", "y"), destinations=("z",), ports=((22, 22),))
    elsewhere = PolicyRule(sources=("y", "x", "x"), destinations=("z",), ports=((22, 22),), line=9, column=2)
    assert label_id("*") == 84070765305906
    assert rule_id(rule) == rule_id(elsewhere)
    assert rule_id(rule) != rule_id(PolicyRule(sources=("x", "y"), destinations=("z",), ports=((23, 23),)))


def test_a_collision_of_labels_is_refused_with_both_names(monkeypatch):
    monkeypatch.setattr(labels, "ID_BYTES", 0)
    with pytest.raises(PolicyError, match="'y' and 'x'"):
        check([PolicyRule(sources=("x",), destinations=("y",), line=3, column=1)])


def test_bits_of_a_mask():
    assert list(bits(0b1011000)) == [3, 4, 6]
    assert list(bits(0)) == []


def test_known_labels_keep_their_bits_and_those_out_of_use_are_counted():
    known = Labels()
    mask = known.add(("a", "b"))
    assert known.add(("b", "c")) & mask == known.mask(("b",))
    assert known.mask(("a", "x")) == known.mask(("a",))
    assert known.wasted(known.mask(("b",))) == 2
    assert known.ids(known.mask(("b", "c"))) == tuple(sorted((label_id("b"), label_id("c"))))


def test_seeing_is_mutual_and_only_along_rules():
    rule = PolicyRule(sources=("x",), destinations=("y",))
    sight, ids = sight_of(rule, one=("x",), two=("y",), three=("x",), four=("z",))
    assert sight.sees(ids["one"], ids["two"])
    assert sight.sees(ids["two"], ids["one"])
    assert not sight.sees(ids["one"], ids["three"])
    assert sight.sees(ids["four"], ids["four"])
    assert sight.company(sight.at(ids["two"])) == {ids["one"], ids["three"]}


def test_a_kind_that_goes_and_comes_back_is_found_again():
    sight, ids = sight_of(PolicyRule(sources=("x",), destinations=("y",)), one=("x",), two=("y",))
    assert sight.company(sight.at(ids["one"])) == {ids["two"]}
    there = sight.at(ids["two"])
    sight.drop(ids["two"])
    assert sight.company(sight.at(ids["one"])) == set()
    sight.put(77, there)
    assert sight.company(sight.at(ids["one"])) == {77}


def test_the_digest_of_what_one_sees_by_is_the_same_on_another_server():
    rules = PolicyRule(sources=("x",), destinations=("y",)), PolicyRule(sources=("y",), destinations=("z",))
    one, _ = sight_of(*rules, node=("y",))
    other, _ = sight_of(*reversed(rules), first=("x",), node=("y",))
    third, _ = sight_of(rules[0], node=("y",))
    assert one.lens(1).digest == other.lens(2).digest != third.lens(1).digest


@simulated
async def test_a_policy_in_force_takes_others_out_of_sight_and_brings_them_back(serve):
    async with serve() as rig:
        clients = await rig.clients(3)
        await rig.settle()
        rig.plane.maps.adopt(DenyAll())
        await rig.settle()
        assert all(list(client.read().nodes) == [number] for number, client in enumerate(clients, 1))
        assert not clients[0].map.rules
        rig.plane.maps.adopt(AllowAll())
        await rig.settle()
        assert all(len(client.read().nodes) == 3 for client in clients)


@simulated
async def test_only_whom_a_change_concerns_is_told_of_it(serve):
    async with serve() as rig:
        clients = await rig.clients(6)
        rig.plane.maps.adopt(ByName(PolicyRule(sources=("a",), destinations=("b",))))
        await rig.settle()
        addresses = {node.id: int(node.addresses[0].rpartition(".")[2]) for node in rig.nodes.values()}
        before = [len(client.stream.frames) for client in clients]
        await rig.plane.administration.rename_node("host1", "renamed")
        await rig.settle()
        told = {number for number, client in enumerate(clients, 1) if len(client.stream.frames) > before[number - 1]}
        assert told == {1} | {id_ for id_ in addresses if addresses[id_] % 2 != addresses[1] % 2}


@simulated
async def test_a_join_is_its_node_and_its_place_in_the_sets_that_viewers_hold_and_changes_no_rule(serve):
    async with serve() as rig:
        clients = await rig.clients(4)
        rig.plane.maps.adopt(ByName(PolicyRule(sources=("a",), destinations=("b",))))
        await rig.settle()
        counts = [len(client.stream.of(MapChange)) for client in clients]
        await rig.client(5).join()
        await rig.settle()
        for client, count in zip(clients, counts, strict=True):
            news = client.stream.of(MapChange)[count:]
            assert all((change.rules, change.sets, len(change.nodes)) == ((), (), 1) for change in news)
            assert len(news) == (5 in client.read().nodes)
        carriers = {node.id for node in rig.nodes.values() if int(node.addresses[0].rpartition(".")[2]) % 2}
        holders = [client for client in clients if client.map.sets]
        assert holders
        assert all(set(client.map.sets[label_id("a")].nodes) == carriers for client in holders)


@simulated
async def test_nobody_is_told_where_a_node_is_that_he_may_not_see(serve):
    async with serve() as rig:
        alice, bob = await rig.clients(2)
        ids = {name: node.id for name, node in rig.nodes.items()}
        alice.stream.say(Interest(node=ids["host2"]))
        rig.plane.maps.adopt(DenyAll())
        bob.stream.say(Report(session=1, sequence=1, endpoints=(Endpoint("udp", "192.0.2.9:41641"),)))
        alice.stream.say(Interest(node=ids["host2"]))
        await rig.settle()
        assert not alice.stream.of(PeerEndpoints)


@simulated
async def test_who_comes_back_under_another_view_is_told_which_nodes_it_sees_and_under_the_same_is_not(serve):
    async with serve() as rig:
        alice, _ = await rig.clients(2)
        await rig.settle()
        for policy, named in ((DenyAll(), (1,)), (DenyAll(), None)):
            alice.read()
            alice.leave()
            rig.plane.maps.adopt(policy)
            await alice.join(None)
            change = alice.stream.of(MapChange)[0]
            assert (change.full, change.visible) == (False, named)
            assert list(alice.map.nodes) == [1]


def test_rules_that_name_more_than_can_be_kept_in_bits_are_refused(monkeypatch):
    monkeypatch.setattr(labels, "MAX_LABELS", 10)
    rules = [PolicyRule(sources=(f"a{number}",), destinations=("b",), line=number) for number in range(1, 21)]
    check(rules[:9])
    with pytest.raises(PolicyError, match="more than 10 users"):
        check(rules)


def test_a_rule_is_added_without_a_look_at_all_labels_that_there_are(monkeypatch):
    def never(mask: int) -> None:
        raise AssertionError("all labels were looked at")

    monkeypatch.setattr("ghostwire.server.policy.rulebook.bits", never)
    rules = [PolicyRule(sources=(f"a{number}",), destinations=(f"b{number}",)) for number in range(100)]
    assert len(Rulebook(rules, Labels()).rules) == 100
