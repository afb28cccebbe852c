"""The network in memory: delivery, faults, roaming, address translators."""

import asyncio

import pytest

from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.errors import LocalProtocolError, PlatformError
from ghostwire.testing import Link, MemoryTransport, NatKind, Network, running_clock, simulated
from ghostwire.testing.datagrams import Port
from ghostwire.testing.network import Host

Inbox = list[tuple[tuple[str, int], bytes]]


def opened(host: Host, number: int = 7) -> tuple[Port, Inbox]:
    inbox: Inbox = []
    return host.bind(number, lambda source, burst: inbox.extend((source, datagram) for datagram in burst)), inbox


def pair(link: Link | None = None, seed: int = 0) -> tuple[Network, Host, Host]:
    network = Network(seed=seed)
    network.default = link or Link()
    return network, network.host("alice", "192.0.2.1", "2001:db8::1"), network.host("bob", "192.0.2.2", "2001:db8::2")


@simulated
async def test_a_datagram_arrives_after_the_links_latency_with_its_source() -> None:
    _, alice, bob = pair(Link(latency=25 * MILLISECOND))
    port, _ = opened(alice)
    _, inbox = opened(bob)
    began = running_clock().now()
    assert port.send(("192.0.2.2", 7), [b"one", b"two"])
    await asyncio.sleep(0.0249)
    assert inbox == []
    await asyncio.sleep(0.001)
    assert inbox == [(("192.0.2.1", 7), b"one"), (("192.0.2.1", 7), b"two")]
    assert running_clock().now() - began < 26 * MILLISECOND


@simulated
async def test_the_source_address_is_of_the_targets_family() -> None:
    _, alice, bob = pair()
    port, _ = opened(alice)
    _, inbox = opened(bob)
    port.send(("2001:db8::2", 7), [b"six"])
    await asyncio.sleep(1)
    assert inbox == [(("2001:db8::1", 7), b"six")]


@simulated
async def test_loss_and_duplication_come_in_the_share_that_was_asked_for() -> None:
    _, alice, bob = pair(Link(loss=0.2, duplication=0.1), seed=3)
    port, _ = opened(alice)
    _, inbox = opened(bob)
    for number in range(2000):
        port.send(("192.0.2.2", 7), [number.to_bytes(2, "big")])
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    arrived = {datagram for _, datagram in inbox}
    assert 1500 < len(arrived) < 1700
    assert 0.05 < len(inbox) / len(arrived) - 1 < 0.15


@simulated
async def test_jitter_keeps_the_order_and_reordering_does_not() -> None:
    for link, kept in ((Link(jitter=5 * MILLISECOND), True), (Link(reordering=0.3), False)):
        _, alice, bob = pair(link)
        port, _ = opened(alice)
        _, inbox = opened(bob)
        for number in range(200):
            port.send(("192.0.2.2", 7), [bytes([number])])
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        payloads = [datagram for _, datagram in inbox]
        assert len(payloads) == 200
        assert (payloads == sorted(payloads)) is kept


def test_the_same_seed_gives_the_same_run() -> None:
    @simulated
    async def run(seed: int) -> list[bytes]:
        _, alice, bob = pair(Link(loss=0.5, reordering=0.5, jitter=MILLISECOND), seed)
        port, _ = opened(alice)
        _, inbox = opened(bob)
        port.send(("192.0.2.2", 7), [bytes([number]) for number in range(64)])
        await asyncio.sleep(1)
        return [datagram for _, datagram in inbox]

    assert run(1) == run(1) != run(2)


@simulated
async def test_a_one_way_cut_stops_one_direction_until_it_is_healed() -> None:
    network, alice, bob = pair()
    (port, inbox), (back, other) = opened(alice), opened(bob)
    network.cut(alice, bob, one_way=True)
    port.send(("192.0.2.2", 7), [b"lost"])
    back.send(("192.0.2.1", 7), [b"arrives"])
    await asyncio.sleep(1)
    assert (len(inbox), len(other)) == (1, 0)
    network.heal()
    port.send(("192.0.2.2", 7), [b"again"])
    await asyncio.sleep(1)
    assert other == [(("192.0.2.1", 7), b"again")]


@simulated
async def test_a_partition_parts_its_groups_and_the_rest() -> None:
    network, alice, bob = pair()
    carol = network.host("carol", "192.0.2.3")
    network.partition([alice], [bob])
    assert not network.connected(alice, bob)
    assert not network.connected(alice, carol)
    network.partition([alice, bob])
    assert network.connected(alice, bob)
    assert not network.connected(bob, carol)


@simulated
async def test_a_flood_is_bounded_under_way_and_at_the_receiver() -> None:
    _, alice, bob = pair()
    port, _ = opened(alice)
    received, inbox = opened(bob)
    answers = [port.send(("192.0.2.2", 7), [b"x"] * 64) for _ in range(100)]
    assert not all(answers)
    await asyncio.sleep(1)
    assert received.dropped > 0
    assert len(inbox) + received.dropped == 4096


@simulated
async def test_a_host_that_moves_keeps_its_port_and_is_seen_at_its_new_address() -> None:
    _, alice, bob = pair()
    port, inbox = opened(alice)
    back, other = opened(bob)
    told = []
    stop = alice.watch(lambda: told.append(alice.addresses))
    back.send(("192.0.2.1", 7), [b"too late"])
    alice.move("198.51.100.9")
    port.send(("192.0.2.2", 7), [b"hello from elsewhere"])
    await asyncio.sleep(1)
    assert other == [(("198.51.100.9", 7), b"hello from elsewhere")]
    assert inbox == []
    stop()
    alice.move("198.51.100.10")
    assert told == [("198.51.100.9",)]


@simulated
async def test_an_address_has_one_owner() -> None:
    network, _, _ = pair()
    with pytest.raises(ValueError, match="belongs to alice"):
        network.host("mallory", "192.0.2.1")


async def through_nat(kind: NatKind) -> tuple[bool, bool, bool, int]:
    """(answered from the contacted port, another port, another host; ports seen by two targets)."""
    network = Network()
    router = network.nat("router", "203.0.113.1", kind)
    inside = network.host("inside", "10.0.0.5", nat=router)
    one, two = network.host("one", "192.0.2.1"), network.host("two", "192.0.2.2")
    port, inbox = opened(inside)
    (at_one, seen_one), (at_two, seen_two), (other_port, _) = opened(one), opened(two), opened(one, 8)
    port.send(("192.0.2.1", 7), [b"out"])
    await asyncio.sleep(1)
    ((public, _),) = seen_one
    heard = []
    for sender in (at_one, other_port, at_two):
        inbox.clear()
        sender.send(public, [b"in"])
        await asyncio.sleep(1)
        heard.append(bool(inbox))
    port.send(("192.0.2.2", 7), [b"out"])
    await asyncio.sleep(1)
    return heard[0], heard[1], heard[2], len({public, seen_two[0][0]})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (NatKind.FULL_CONE, (True, True, True, 1)),
        (NatKind.ADDRESS_RESTRICTED, (True, True, False, 1)),
        (NatKind.PORT_RESTRICTED, (True, False, False, 1)),
        (NatKind.SYMMETRIC, (True, False, False, 2)),
    ],
)
def test_each_translator_lets_in_whom_its_kind_lets_in(kind: NatKind, expected: tuple[bool, ...]) -> None:
    @simulated
    async def run() -> tuple[bool, bool, bool, int]:
        return await through_nat(kind)

    assert run() == expected


@simulated
async def test_a_mapping_times_out_unless_it_is_used() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.FULL_CONE, timeout=30 * SECOND)
    inside, outside = network.host("inside", "10.0.0.5", nat=router), network.host("outside", "192.0.2.1")
    (port, inbox), (back, seen) = opened(inside), opened(outside)
    for _ in range(3):
        port.send(("192.0.2.1", 7), [b"keepalive"])
        await asyncio.sleep(20)
    back.send(seen[0][0], [b"in time"])
    await asyncio.sleep(31)
    back.send(seen[0][0], [b"too late"])
    await asyncio.sleep(1)
    assert [datagram for _, datagram in inbox] == [b"in time"]


@simulated
async def test_hosts_behind_one_translator_reach_each_other_by_private_address() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.SYMMETRIC)
    one, two = network.host("one", "10.0.0.1", nat=router), network.host("two", "10.0.0.2", nat=router)
    (port, _), (_, inbox) = opened(one), opened(two)
    port.send(("10.0.0.2", 7), [b"neighbour"])
    await asyncio.sleep(1)
    assert inbox == [(("10.0.0.1", 7), b"neighbour")]


@simulated
async def test_the_trace_reads_as_a_sequence_diagram() -> None:
    network, alice, bob = pair()
    port, _ = opened(alice)
    back, _ = opened(bob)
    port.send(("192.0.2.2", 7), [b"\x01\0\0\0" + bytes(144)])
    await asyncio.sleep(0.02)
    back.send(("192.0.2.1", 7), [b"\x02\0\0\0" + bytes(88)])
    network.cut(alice, bob)
    port.send(("192.0.2.2", 7), [b"\x04\0\0\0" + bytes(28), b"?"])
    lines = network.diagram().splitlines()
    assert lines[0].split() == ["alice", "bob"]
    assert "initiation 148 B" in lines[1]
    assert lines[1].rstrip().endswith(">|")
    assert "|<" in lines[2]
    assert lines[3].endswith("(cut)")
    assert "keepalive 32 B" in lines[3]


@simulated
async def test_a_strict_transport_refuses_too_large_a_burst_and_drops_too_long_a_datagram() -> None:
    _, alice, _ = pair()
    transport = MemoryTransport(alice)
    await transport.start(lambda path, burst: None)
    path = transport.path("192.0.2.2:7")
    with pytest.raises(LocalProtocolError, match="65 datagrams"):
        path.send([b"x"] * 65)
    assert not path.send([bytes(1473)])
    assert path.send([bytes(1472)])


@simulated
async def test_a_port_in_use_is_refused() -> None:
    _, alice, _ = pair()
    opened(alice, 41641)
    with pytest.raises(PlatformError, match="41641 is in use"):
        await MemoryTransport(alice).start(lambda path, burst: None)
