"""Routers of the network in memory: hairpins, translators in a row, open inputs, firewalls, reboots, middleboxes."""

import asyncio

import pytest

from ghostwire.engine import SECOND
from ghostwire.testing import NatKind, Network, simulated
from ghostwire.testing.datagrams import Port
from ghostwire.testing.nat import UNANSWERED, Address, Firewall, Nat
from ghostwire.testing.network import Host
from ghostwire.testing.places import PLACES, Place, Site, can_be_direct
from ghostwire.testing.trace import describe

Inbox = list[tuple[Address, bytes]]


def opened(host: Host, number: int = 7) -> tuple[Port, Inbox]:
    inbox: Inbox = []
    return host.bind(number, lambda source, burst: inbox.extend((source, datagram) for datagram in burst)), inbox


async def mapped(port: Port, mirror: Host) -> Address:
    """What address a public host sees."""
    _, seen = opened(mirror, 3478)
    port.send((mirror.addresses[0], 3478), [b"who am I?"])
    await asyncio.sleep(1)
    mirror.close()
    return seen[-1][0]


@pytest.mark.parametrize("hairpin", [False, True])
@simulated
async def test_only_a_hairpin_leads_back_inside_and_shows_the_outer_address(hairpin: bool) -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.PORT_RESTRICTED, hairpin=hairpin)
    mirror = network.host("mirror", "192.0.2.1")
    (one, heard), (two, inbox) = (opened(network.host(f"h{n}", f"10.0.0.{n}", nat=router), 7000 + n) for n in (1, 2))
    at_one, at_two = await mapped(one, mirror), await mapped(two, mirror)
    one.send(at_two, [b"opens"])
    await asyncio.sleep(1)
    assert inbox == []
    two.send(at_one, [b"answers"])
    one.send(at_two, [b"again"])
    await asyncio.sleep(1)
    assert heard == ([(at_two, b"answers")] if hairpin else [])
    assert inbox == ([(at_one, b"again")] if hairpin else [])
    if not hairpin:
        assert "refused by router" in network.diagram()


@simulated
async def test_behind_two_translators_both_must_let_in() -> None:
    network = Network()
    carrier = network.nat("carrier", "203.0.113.1", NatKind.FULL_CONE)
    home = network.nat("home", "100.64.0.2", NatKind.PORT_RESTRICTED, outer=carrier)
    inside, outside = network.host("inside", "10.0.0.5", nat=home), network.host("outside", "192.0.2.1")
    (port, inbox), (back, seen), (other, _) = opened(inside), opened(outside), opened(outside, 8)
    port.send(("192.0.2.1", 7), [b"out"])
    await asyncio.sleep(1)
    ((public, _),) = seen
    assert public[0] == "203.0.113.1"
    other.send(public, [b"stopped by the second"])
    back.send(public, [b"in"])
    await asyncio.sleep(1)
    assert inbox == [(("192.0.2.1", 7), b"in")]
    assert "refused by home" in network.diagram()


@simulated
async def test_homes_of_one_carrier_reach_each_other_by_the_carriers_addresses() -> None:
    network = Network()
    carrier = network.nat("carrier", "203.0.113.1", NatKind.SYMMETRIC)
    homes = [network.nat(f"home{n}", f"100.64.0.{n}", NatKind.FULL_CONE, outer=carrier) for n in (1, 2)]
    (one, inbox), (two, heard) = (opened(network.host(f"host{n}", "10.0.0.5", nat=nat)) for n, nat in enumerate(homes))
    one.send(("100.64.0.2", 7), [b"nobody yet"])
    two.send(("100.64.0.1", 7), [b"hello"])
    await asyncio.sleep(1)
    assert inbox == [(("100.64.0.2", 7), b"hello")]
    assert heard in ([], [(("100.64.0.1", 7), b"nobody yet")])


@simulated
async def test_one_private_address_may_stand_for_many_machines() -> None:
    network = Network()
    routers = [network.nat(f"router{n}", f"203.0.113.{n}", NatKind.PORT_RESTRICTED) for n in (1, 2)]
    first, second = (network.host(f"host{n}", "10.0.0.5", nat=nat) for n, nat in enumerate(routers))
    neighbour = network.host("neighbour", "10.0.0.6", nat=routers[1])
    (_, inbox), (_, wrong), (port, _) = opened(first), opened(second), opened(neighbour)
    port.send(("10.0.0.5", 7), [b"meant for the first"])
    await asyncio.sleep(1)
    assert (inbox, len(wrong)) == ([], 1)


@simulated
async def test_one_to_one_gives_its_host_every_port_and_keeps_them() -> None:
    network = Network()
    cloud = network.nat("cloud", "203.0.113.1", NatKind.ONE_TO_ONE)
    inside, outside = network.host("inside", "10.0.0.5", nat=cloud), network.host("outside", "192.0.2.1")
    (port, inbox), (back, seen) = opened(inside), opened(outside)
    back.send(("203.0.113.1", 7), [b"unasked"])
    port.send(("192.0.2.1", 7), [b"out"])
    await asyncio.sleep(1)
    assert inbox == [(("192.0.2.1", 7), b"unasked")]
    assert seen == [(("203.0.113.1", 7), b"out")]
    inside.move("10.0.0.9", nat=cloud)
    back.send(("203.0.113.1", 7), [b"again"])
    await asyncio.sleep(1)
    assert len(inbox) == 2


@simulated
async def test_what_knocks_at_an_open_input_takes_the_port_for_itself_until_it_is_silent() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.PORT_RESTRICTED, open_input=True)
    inside, mirror = network.host("inside", "10.0.0.5", nat=router), network.host("mirror", "192.0.2.2")
    outside = network.host("outside", "192.0.2.1")
    (port, inbox), (back, seen) = opened(inside), opened(outside)
    own = await mapped(port, mirror)
    back.send(own, [b"knock"])
    await asyncio.sleep(1)
    assert inbox == []
    port.send(("192.0.2.1", 7), [b"too late"])
    assert await mapped(port, mirror) == own
    assert seen[-1][0] not in (own, None)
    back.send(own, [b"still knocking"])
    back.send(seen[-1][0], [b"the other door"])
    await asyncio.sleep(1)
    assert [datagram for _, datagram in inbox] == [b"the other door"]
    await asyncio.sleep(router.timeout / SECOND)
    port.send(("192.0.2.1", 7), [b"first this time"])
    await asyncio.sleep(1)
    assert seen[-1][0] == own


@simulated
async def test_a_port_that_a_socket_had_to_take_is_that_of_all_it_begins_until_nobody_uses_it() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.PORT_RESTRICTED, open_input=True)
    inside = network.host("inside", "10.0.0.5", nat=router)
    early, late, mirror = (network.host(name, f"192.0.2.{number}") for number, name in enumerate("abc", 1))
    (port, _), (knocker, seen) = opened(inside), opened(early)
    own = await mapped(port, mirror)
    knocker.send(own, [b"knock"])
    await asyncio.sleep(1)
    port.send(("192.0.2.1", 7), [b"too late"])
    other = await mapped(port, late)
    assert other == seen[-1][0] != own
    assert await mapped(port, mirror) == own
    await asyncio.sleep(2 * router.timeout / SECOND)
    assert await mapped(port, late) == own


@simulated
async def test_who_goes_on_knocking_at_an_open_input_keeps_the_port_taken() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.PORT_RESTRICTED, open_input=True)
    inside, outside = network.host("inside", "10.0.0.5", nat=router), network.host("outside", "192.0.2.1")
    (port, _), (back, seen) = opened(inside), opened(outside)
    own = await mapped(port, network.host("mirror", "192.0.2.2"))
    for _ in range(4):
        back.send(own, [b"knock"])
        await asyncio.sleep(0.8 * UNANSWERED / SECOND)
    port.send(("192.0.2.1", 7), [b"out"])
    await asyncio.sleep(1)
    assert seen[-1][0] != own


@simulated
async def test_a_firewall_translates_nothing_and_lets_in_answers_alone() -> None:
    network = Network()
    firewall = Firewall("firewall", timeout=30 * SECOND)
    inside = network.host("inside", "2001:db8:1::5", firewall=firewall)
    neighbour = network.host("neighbour", "2001:db8:1::6", firewall=firewall)
    (port, inbox), (back, seen) = opened(inside), opened(network.host("outside", "2001:db8::1"))
    beside, _ = opened(neighbour)
    back.send(("2001:db8:1::5", 7), [b"unasked"])
    beside.send(("2001:db8:1::5", 7), [b"neighbour"])
    await asyncio.sleep(1)
    assert [datagram for _, datagram in inbox] == [b"neighbour"]
    port.send(("2001:db8::1", 7), [b"out"])
    back.send(("2001:db8:1::5", 7), [b"crosses it"])
    await asyncio.sleep(1)
    assert seen == [(("2001:db8:1::5", 7), b"out")]
    assert len(inbox) == 2
    await asyncio.sleep(30)
    back.send(("2001:db8:1::5", 7), [b"too late"])
    await asyncio.sleep(1)
    assert len(inbox) == 2
    assert "refused by firewall" in network.diagram()


@simulated
async def test_two_firewalls_are_punched_from_both_sides() -> None:
    network = Network()
    one, two = (network.host(f"host{n}", f"2001:db8:{n}::5", firewall=Firewall(f"firewall{n}")) for n in (1, 2))
    (port, inbox), (back, heard) = opened(one), opened(two)
    for _ in range(2):
        port.send(("2001:db8:2::5", 7), [b"ping"])
        back.send(("2001:db8:1::5", 7), [b"ping"])
        await asyncio.sleep(1)
    assert inbox
    assert heard


@simulated
async def test_datagrams_that_cross_meet_the_mapping_that_was_made_while_they_were_under_way() -> None:
    network = Network()
    routers = [network.nat(f"router{n}", f"203.0.113.{n}", NatKind.PORT_RESTRICTED) for n in (1, 2)]
    one, two = (network.host(f"host{n}", f"10.0.{n}.5", nat=nat) for n, nat in enumerate(routers))
    (port, inbox), (back, heard) = opened(one), opened(two)
    port.send(("203.0.113.2", 7), [b"sent before there was a mapping"])
    await asyncio.sleep(0.005)
    back.send(("203.0.113.1", 7), [b"makes it"])
    await asyncio.sleep(1)
    assert (len(inbox), len(heard)) == (1, 1)


@simulated
async def test_a_router_that_restarts_loses_its_mappings_and_breaks_streams() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.FULL_CONE)
    inside, outside = network.host("inside", "10.0.0.5", nat=router), network.host("outside", "192.0.2.1")
    (port, inbox), (back, seen) = opened(inside), opened(outside)
    outside.listen(80, asyncio.Protocol)
    transport, _ = await inside.sockets.connect(asyncio.Protocol, "outside", 80)
    port.send(("192.0.2.1", 7), [b"out"])
    await asyncio.sleep(1)
    network.reboot(router)
    back.send(seen[0][0], [b"lost"])
    await asyncio.sleep(1)
    assert inbox == []
    assert transport.is_closing()


@simulated
async def test_a_translator_becomes_another_kind_in_place() -> None:
    network = Network()
    router = network.nat("router", "203.0.113.1", NatKind.FULL_CONE)
    port, _ = opened(network.host("inside", "10.0.0.5", nat=router))
    mirrors = [network.host(f"mirror{n}", f"192.0.2.{n}") for n in (1, 2)]
    assert len({await mapped(port, mirror) for mirror in mirrors}) == 1
    router.switch(NatKind.SYMMETRIC)
    assert len({await mapped(port, mirror) for mirror in mirrors}) == 2


@simulated
async def test_a_middlebox_drops_by_content_until_it_is_taken_away() -> None:
    network = Network()
    (port, _), (_, inbox) = opened(network.host("alice", "192.0.2.1")), opened(network.host("bob", "192.0.2.2"))
    data, disco = b"\x04\0\0\0" + bytes(60), b"TS\xf0\x9f\x92\xac" + bytes(60)
    for gone in (network.drop(lambda sender, receiver, payload: describe(payload) == "data"), network.heal):
        port.send(("192.0.2.2", 7), [data, disco])
        await asyncio.sleep(1)
        assert [datagram for _, datagram in inbox] == [disco]
        inbox.clear()
        gone()
        port.send(("192.0.2.2", 7), [data])
        await asyncio.sleep(1)
        assert [datagram for _, datagram in inbox] == [data]
        inbox.clear()
        network.drop(lambda sender, receiver, payload: sender.name == "alice" and payload == data)


@simulated
async def test_where_udp_is_blocked_streams_go_on() -> None:
    network = Network()
    alice, bob = network.host("alice", "192.0.2.1"), network.host("bob", "192.0.2.2")
    (port, inbox), (back, heard) = opened(alice), opened(bob)
    bob.listen(80, asyncio.Protocol)
    for blocked in ("a pair", "the sender", "the receiver"):
        if blocked == "a pair":
            network.block(alice, bob, one_way=True)
        (alice if blocked == "the sender" else bob).datagrams = blocked == "a pair"
        port.send(("192.0.2.2", 7), [b"blocked"])
        await asyncio.sleep(1)
        assert heard == [], blocked
        await alice.sockets.connect(asyncio.Protocol, "bob", 80)
        network.heal()
        alice.datagrams = bob.datagrams = True
    network.block(alice, bob, one_way=True)
    back.send(("192.0.2.1", 7), [b"the other way"])
    await asyncio.sleep(1)
    assert len(inbox) == 1


def test_a_routers_memory_is_bounded_by_what_is_recent() -> None:
    firewall, router = (
        Firewall("firewall", timeout=SECOND),
        Nat("nat", "203.0.113.1", NatKind.SYMMETRIC, timeout=SECOND),
    )
    for number in range(1000):
        now, target = number * SECOND // 10, ("192.0.2.1", number)
        firewall.leaves(("2001:db8::1", 7), target, now)
        router.outward(("10.0.0.5", 7), target, now)
    assert len(firewall._flows) < 20
    assert len(router._by_port) < 20


async def punched(one: Place, other: Place) -> bool:
    """Whether two machines that know what others see of them, and all that they see of themselves, can meet."""
    network = Network()
    mirror = network.host("mirror", "192.0.2.1", "2001:db8::1")
    ends = []
    for number, place in enumerate((one, other), 1):
        host = network.host(f"host{number}")
        Site(network, place, number).take(host)
        port, inbox = opened(host)
        known = [(address, 7) for address in host.addresses]
        if place.ipv4 and place.datagrams:
            known.append(await mapped(port, mirror))
        ends.append((port, inbox, known))
    for _ in range(5):
        for (port, inbox, _), (_, _, known) in (ends, ends[::-1]):
            for target in {*known, *(source for source, _ in inbox)}:
                port.send(target, [b"ping"])
        await asyncio.sleep(0.1)
    heard = [any(source[0].startswith(("203.", "2001:")) for source, _ in inbox) for _, inbox, _ in ends]
    assert heard[0] == heard[1]
    return heard[0]


@pytest.mark.parametrize("one", PLACES.values(), ids=str)
def test_holes_are_punched_exactly_where_physics_allows(one: Place) -> None:
    for other in PLACES.values():
        met = simulated(punched)(one, other)
        assert met == can_be_direct(one, other) == can_be_direct(other, one), f"{one} and {other}"
