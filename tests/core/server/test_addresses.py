"""The address plan: order, rest, one holder at a time."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import ConfigError, Conflict
from ghostwire.keys import DiscoKey, MachineKey, NodeKey
from ghostwire.model import Node
from ghostwire.server.nodes.addresses import REST, AddressPlan, stored_prefix
from ghostwire.testing import MemoryDatabase, SeededEntropy
from ghostwire.testing.storage import MemoryTransaction

PLAN = AddressPlan("100.64.0.0/16", "fd12:3456:789a::/48")


@pytest.fixture
def transaction() -> MemoryTransaction:
    return MemoryTransaction(MemoryDatabase())


def hold(transaction, plan: AddressPlan, now: int = 0) -> Node:
    """A node with the next addresses."""
    addresses = plan.take(transaction, now)
    id_ = transaction.new_id(Node)
    raw = id_.to_bytes(32, "big")
    node = Node(
        id=id_,
        stable_id=str(id_),
        name=f"n{id_}",
        user=1,
        machine_key=MachineKey(raw),
        node_key=NodeKey(raw),
        disco_key=DiscoKey(raw),
        addresses=addresses,
    )
    transaction.put(node)
    return node


def let_go(transaction, plan: AddressPlan, node: Node, now: int) -> None:
    plan.release(transaction, node, now)
    transaction.delete(Node, node.id)


def test_addresses_are_given_out_in_order_after_the_servers_own(transaction):
    taken = [hold(transaction, PLAN).addresses for _ in range(3)]
    assert taken == [(f"100.64.0.{n}", f"fd12:3456:789a::6440:{n}") for n in (2, 3, 4)]


def test_the_last_address_is_the_one_before_broadcast(transaction):
    transaction.set_setting("addresses", f"{int(ipaddress.IPv4Address('100.64.255.254'))},1,1")
    assert hold(transaction, PLAN).addresses[0] == "100.64.255.254"
    with pytest.raises(Conflict, match="no address is free"):
        PLAN.take(transaction, 0)


def test_a_released_address_rests_for_seven_days(transaction):
    nodes = [hold(transaction, PLAN) for _ in range(2)]
    let_go(transaction, PLAN, nodes[0], 1000)
    assert hold(transaction, PLAN, 1000 + REST - 1).addresses[0] == "100.64.0.4"
    assert hold(transaction, PLAN, 1000 + REST).addresses[0] == "100.64.0.2"


def test_the_oldest_released_address_is_reused_first(transaction):
    nodes = [hold(transaction, PLAN) for _ in range(3)]
    for node, when in ((nodes[2], 10), (nodes[0], 20), (nodes[1], 30)):
        let_go(transaction, PLAN, node, when)
    later = [hold(transaction, PLAN, 100 + REST).addresses[0] for _ in range(4)]
    assert later == ["100.64.0.4", "100.64.0.2", "100.64.0.3", "100.64.0.5"]


def test_another_range_begins_at_its_start_and_skips_what_is_held(transaction):
    hold(transaction, PLAN)
    narrow = AddressPlan("100.64.0.0/29", "fd12:3456:789a::/48")
    elsewhere = AddressPlan("10.1.0.0/24", "fd12:3456:789a::/48")
    assert hold(transaction, narrow).addresses[0] == "100.64.0.3"
    node = hold(transaction, elsewhere)
    assert node.addresses[0] == "10.1.0.2"
    let_go(transaction, elsewhere, node, 0)
    assert hold(transaction, PLAN, 2 * REST).addresses[0] == "100.64.0.4"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4 * 86400)), max_size=60))
def test_an_address_has_one_holder_at_a_time_and_rests_between_two(steps):
    transaction = MemoryTransaction(MemoryDatabase())
    plan = AddressPlan("10.0.0.0/27", "fd00::/48")
    now, held, released = 0, [], {}
    for join, passed in steps:
        now += passed
        if join and len(held) < 20:
            try:
                node = hold(transaction, plan, now)
            except Conflict:
                assert len(held) + sum(now - when < REST for when in released.values()) >= 29
                continue
            assert all(node.addresses != other.addresses for other in held)
            assert now - released.get(node.addresses, -REST) >= REST
            held.append(node)
        elif held:
            node = held.pop(passed % len(held))
            let_go(transaction, plan, node, now)
            released[node.addresses] = now


def test_the_ipv6_network_is_random_local_and_kept(transaction):
    prefix = stored_prefix(transaction, SeededEntropy(1))
    network = ipaddress.IPv6Network(prefix)
    assert network.prefixlen == 48
    assert network.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert stored_prefix(transaction, SeededEntropy(2)) == prefix
    assert ipaddress.IPv6Address(AddressPlan("100.64.0.0/16", prefix).pair(0x64400002)[1]) in network


@pytest.mark.parametrize(
    ("ipv4", "ipv6"), [("10.0.0.0/30", "fd00::/48"), ("10.0.0.0/16", "fd00::/112"), ("10.0.0.1/16", "fd00::/48")]
)
def test_ranges_that_cannot_serve_are_refused(ipv4, ipv6):
    with pytest.raises(ConfigError):
        AddressPlan(ipv4, ipv6)
