"""A node finds where it can be reached, and tells of it seldom."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

from ghostwire.engine import SECOND
from ghostwire.node.endpoints.settling import MOST, WHILE
from ghostwire.testing import NatKind, simulated

Make = Callable[..., Any]
LOCAL, SEEN = "192.168.1.5:41641", "203.0.113.7:41641"


def texts(discovery: Any) -> tuple[str, ...]:
    return tuple(endpoint.text for endpoint in discovery.endpoints())


@simulated
async def test_a_node_behind_a_router_advertises_its_own_address_and_the_one_that_relays_see(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    assert texts(discovery) == discovery.addresses() == (LOCAL, SEEN)
    assert {endpoint.transport for endpoint in discovery.endpoints()} == {"memory"}
    assert here.told == [(LOCAL, SEEN)]
    await here.close(discovery)


@simulated
async def test_a_public_address_is_advertised_once(world: Make) -> None:
    here = world()
    discovery = await here.start()
    assert texts(discovery) == ("203.0.113.5:41641",)
    assert here.told == []
    await here.close(discovery)


@simulated
async def test_what_the_operator_and_the_router_give_comes_first(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED, configured=("198.51.100.9:9",))
    here.router.mapped = "203.0.113.7:5000"
    discovery = await here.start()
    assert texts(discovery) == ("198.51.100.9:9", "203.0.113.7:5000", LOCAL, SEEN)
    assert set(here.router.ports) == {41641}
    await here.close(discovery)
    assert here.router.closed


@simulated
async def test_where_the_mapping_varies_the_seen_address_is_advertised_with_the_fixed_port_too(world: Make) -> None:
    for fixed, count in ((True, 3), (False, 2)):
        here = world(NatKind.SYMMETRIC, fixed_port=fixed)
        discovery = await here.start()
        assert len(texts(discovery)) == count
        assert (SEEN in texts(discovery)) is fixed
        await here.close(discovery)


@simulated
async def test_ports_that_a_symmetric_router_draws_anew_are_told_to_peers_alone(world: Make) -> None:
    here = world(NatKind.SYMMETRIC)
    discovery = await here.start()
    first = discovery.addresses()
    here.told.clear()
    for _ in range(20):
        here.nat.forget()
        discovery.refresh()
        await asyncio.sleep(5)
    assert here.told == []
    assert discovery.addresses() != first
    await here.close(discovery)


@simulated
async def test_another_port_that_peers_see_is_told_in_calls_alone(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.told.clear()
    discovery.seen("203.0.113.7:1234")
    assert discovery.addresses() == (LOCAL, SEEN, "203.0.113.7:1234")
    assert texts(discovery) == (LOCAL, SEEN)
    await asyncio.sleep(200)
    assert discovery.addresses() == (LOCAL, SEEN)
    assert here.told == []
    await here.close(discovery)


@simulated
async def test_another_port_of_an_ordinary_router_is_told_once_and_at_once(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.told.clear()
    here.nat.forget()
    here.nat.outward(("192.168.1.99", 41641), ("192.0.2.1", 1), here.network.clock.now())
    discovery.refresh()
    await asyncio.sleep(2)
    assert len(here.told) == 1
    assert SEEN not in texts(discovery)
    assert len(texts(discovery)) == 2
    await here.close(discovery)


@simulated
async def test_nobody_is_asked_while_nothing_moves_but_by_netchecks_looks(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.asked.clear()
    await asyncio.sleep(280)
    assert here.asked == []
    await here.close(discovery)


@simulated
async def test_while_packets_move_a_few_relays_are_asked_every_20_to_26_seconds(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED, relays=8)
    discovery = await here.start()
    discovery.busy(True)
    here.asked.clear()
    await asyncio.sleep(250)
    rounds = sorted({round(at) for at, _ in here.asked})
    assert all(20 <= later - at <= 26 for at, later in pairwise(rounds))
    assert 9 <= len(rounds) <= 12
    assert len(here.asked) == 3 * len(rounds)
    assert len({later - at for at, later in pairwise(rounds)}) > 1
    discovery.busy(False)
    here.asked.clear()
    await asyncio.sleep(25)
    assert here.asked == []
    await here.close(discovery)


@simulated
async def test_answers_are_fresh_for_five_seconds(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.begin()
    assert not discovery.fresh
    discovery.refresh()
    await asyncio.sleep(1)
    assert discovery.fresh
    await asyncio.sleep(5)
    assert not discovery.fresh
    await here.close(discovery)


@simulated
async def test_who_waits_for_a_refresh_hears_of_it_soon_after_the_first_answer(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.network.cut(here.laptop, here.relays[0])
    here.asked.clear()
    began, heard = asyncio.get_running_loop().time(), []
    for _ in range(5):
        discovery.refresh(lambda: heard.append(asyncio.get_running_loop().time() - began))
    await asyncio.sleep(5)
    assert len(heard) == 5
    assert max(heard) < 0.2
    assert len(here.asked) == 3
    await here.close(discovery)


@simulated
async def test_where_no_relay_answers_a_refresh_ends_after_a_second(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    for relay in here.relays:
        here.network.cut(here.laptop, relay)
    done: list[float] = []
    began = asyncio.get_running_loop().time()
    discovery.refresh(lambda: done.append(asyncio.get_running_loop().time() - began))
    await asyncio.sleep(5)
    assert [round(each, 3) for each in done] == [1.0]
    assert texts(discovery) == (LOCAL, SEEN)
    await here.close(discovery)


@simulated
async def test_in_another_network_the_new_addresses_are_found_at_once_and_told_once(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.told.clear()
    cafe = here.network.nat("cafe", "198.51.100.1", NatKind.PORT_RESTRICTED)
    here.laptop.move("10.0.0.9", nat=cafe)
    discovery.links_changed()
    here.netcheck.links_changed()
    assert texts(discovery) == ("10.0.0.9:41641",)
    await asyncio.sleep(0.2)
    assert discovery.addresses() == ("10.0.0.9:41641", "198.51.100.1:41641")
    await asyncio.sleep(10)
    assert here.told == [("10.0.0.9:41641", "198.51.100.1:41641")]
    assert here.router.moves == 1
    await here.close(discovery)


@simulated
async def test_who_waits_while_links_change_hears_what_the_new_network_says(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    heard: list[tuple[str, ...]] = []
    discovery.refresh(lambda: heard.append(discovery.addresses()))
    await asyncio.sleep(0.001)
    here.laptop.move("10.0.0.9", nat=here.network.nat("cafe", "198.51.100.1", NatKind.PORT_RESTRICTED))
    discovery.links_changed()
    await asyncio.sleep(5)
    assert heard == [("10.0.0.9:41641", "198.51.100.1:41641")]
    await here.close(discovery)


@simulated
async def test_the_routers_mapping_is_told_when_it_comes_and_when_it_goes(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.told.clear()
    here.router.mapped = "203.0.113.7:5000"
    discovery.review()
    await asyncio.sleep(1)
    here.router.mapped = ""
    discovery.review()
    await asyncio.sleep(1)
    assert here.told == [("203.0.113.7:5000", LOCAL, SEEN), (LOCAL, SEEN)]
    await here.close(discovery)


@simulated
async def test_a_machine_that_slept_looks_again(world: Make) -> None:
    for active, patience in ((False, 60), (True, 26)):
        here = world(NatKind.PORT_RESTRICTED)
        slept: list[float] = []
        discovery = await here.start(slept=lambda times=slept: times.append(asyncio.get_running_loop().time()))
        discovery.busy(active)
        began = asyncio.get_running_loop().time()
        here.clock.sleep(3600 * SECOND)
        await asyncio.sleep(300)
        assert len(slept) == 1
        assert slept[0] - began <= patience
        await here.close(discovery)


@simulated
async def test_sleep_counts_as_a_change_of_links_where_nobody_else_is_to_be_told(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    here.asked.clear()
    here.clock.sleep(3600 * SECOND)
    await asyncio.sleep(61)
    assert here.router.moves == 1
    assert here.asked
    await here.close(discovery)


@simulated
async def test_addresses_of_the_mesh_and_of_nobody_are_never_advertised(world: Make) -> None:
    bad = ("100.64.0.2:1", "127.0.0.1:1", "224.0.0.1:1", "255.255.255.255:1", "169.254.1.1:1", "0.0.0.0:1", "nonsense")
    here = world(NatKind.PORT_RESTRICTED, configured=bad)
    discovery = await here.begin()
    discovery.avoid([ip_network("100.64.0.0/10"), ip_network("fd00::/48")])
    await asyncio.sleep(10)
    assert texts(discovery) == (LOCAL, SEEN)
    await here.close(discovery)


@simulated
async def test_a_mesh_without_relays_advertises_what_it_has(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED, relays=0)
    discovery = await here.start()
    discovery.refresh()
    await asyncio.sleep(1)
    assert texts(discovery) == (LOCAL,)
    assert discovery.fresh
    await here.close(discovery)


@simulated
async def test_after_the_end_nothing_is_asked_or_told(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    discovery.busy(True)
    here.router.mapped = "203.0.113.7:5000"
    discovery.review()
    await here.close(discovery)
    here.asked.clear()
    here.told.clear()
    discovery.refresh()
    discovery.busy(False)
    await discovery.close()
    await asyncio.sleep(100)
    assert (here.asked, here.told) == ([], [])


@simulated
async def test_a_relay_that_says_something_else_every_time_is_told_on_only_so_often(world: Make) -> None:
    place = world(NatKind.FULL_CONE)
    discovery = await place.start()
    before, seconds = len(place.told), 600
    for second in range(seconds):
        for port in range(1, 4):
            place.netcheck.measuring.asking.heard("192.0.2.1:3478", (f"198.51.{second // 250}.{second % 250}", port))
        await asyncio.sleep(1)
    assert len(place.told) - before <= MOST + seconds * MOST / WHILE
    await asyncio.sleep(WHILE)
    assert place.told[-1] == tuple(each.text for each in discovery.endpoints())
    assert len(discovery.addresses()) <= 16
    await discovery.close()


@simulated
async def test_what_relays_say_never_leads_peers_to_where_none_can_live(world: Make) -> None:
    place = world(NatKind.FULL_CONE)
    discovery = await place.start()
    discovery.avoid((ip_network("100.64.0.0/10"),))
    for number, address in enumerate(("127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255", "169.254.169.254")):
        place.netcheck.measuring.asking.heard(f"192.0.2.{number}:3478", (address, 53))
    for number, address in enumerate(("100.64.0.7", "::1", "ff02::1", "fe80::1", "::ffff:127.0.0.1")):
        place.netcheck.measuring.asking.heard(f"192.0.2.{number}:3478", (address, 53))
    assert all(not text.endswith(":53") for text in discovery.addresses())
    await discovery.close()
