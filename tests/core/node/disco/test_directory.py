"""Which node has a disco key, however the map came to be."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.keys import DiscoKey, NodeKey
from ghostwire.model import Cursor, MapChange, MapNode, NetworkMap
from ghostwire.node.disco.directory import Directory

OWN, NONE = DiscoKey((4).to_bytes(32, "big")), DiscoKey(bytes(32))


def node(id_: int, key: int) -> MapNode:
    keys = {"node_key": NodeKey(id_.to_bytes(32, "big")), "disco_key": DiscoKey(key.to_bytes(32, "big"))}
    return MapNode(id=id_, stable_id=str(id_), name=str(id_), addresses=(), user=1, **keys)


def change(*nodes: MapNode, removed: tuple[int, ...] = (), full: bool = False) -> MapChange:
    return MapChange(cursor=Cursor(1, b"m"), nodes=nodes, removed_nodes=removed, full=full)


ids, keys = st.integers(1, 5), st.integers(0, 4)
nodes = st.lists(st.builds(node, ids, keys), max_size=5, unique_by=lambda each: each.id)
changes = st.builds(
    lambda nodes, removed, full: change(*nodes, removed=removed, full=full),
    nodes,
    st.lists(ids, max_size=3).map(tuple),
    st.booleans(),
)


@given(st.lists(st.tuples(changes, st.booleans()), max_size=8))
def test_following_changes_comes_to_the_same_as_reading_the_whole_map(steps):
    network = NetworkMap()
    directory = Directory(OWN, network)
    for step, told in steps:
        network.apply(step)
        directory.follow(step if told else None)
        held = [each.disco_key for each in network.nodes.values() if each.disco_key != NONE]
        assert directory.shared == len({key for key in held if held.count(key) > 1})
        for each in network.nodes.values():
            alone = held.count(each.disco_key) == 1 and each.disco_key != OWN
            assert directory.key(each.id) == (each.disco_key if alone else None)
            assert directory.peer(each.disco_key) == (each.id if alone else None)
        for gone in {1, 2, 3, 4, 5} - network.nodes.keys():
            assert directory.key(gone) is None
        for raw in range(5):
            key = DiscoKey(raw.to_bytes(32, "big"))
            assert directory.is_shared(key) == (held.count(key) > 1)


def test_applying_a_change_twice_does_no_harm():
    network = NetworkMap()
    directory = Directory(OWN, network)
    for step in (change(node(1, 1), node(2, 1)), change(removed=(2,))):
        network.apply(step)
        directory.follow(step)
        directory.follow(step)
    assert (directory.peer(DiscoKey((1).to_bytes(32, "big"))), directory.shared) == (1, 0)


@pytest.mark.parametrize("size", [20_000])
def test_a_change_costs_what_changed(size):
    network = NetworkMap()
    directory = Directory(OWN, network)
    whole = change(*(node(id_, id_) for id_ in range(1, size)), full=True)
    network.apply(whole)
    directory.follow(whole)
    began = time.process_time()
    for number in range(100):
        directory.follow(change(node(number + 1, size + number), removed=(number + 200,)))
    assert time.process_time() - began < 0.1


def test_a_server_that_gives_thousands_one_key_costs_no_more_for_it():
    network = NetworkMap()
    directory = Directory(OWN, network)
    whole = change(*(node(id_, 1) for id_ in range(1, 20_000)), full=True)
    began = time.process_time()
    directory.follow(whole)
    assert (directory.shared, directory.key(5)) == (1, None)
    directory.follow(change(removed=tuple(range(1, 20_000))))
    assert directory.shared == 0
    assert time.process_time() - began < 0.5
