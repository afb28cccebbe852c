"""Port mapping as a whole, against a router on the simulated network: search, renewal, forgetting, release."""

from __future__ import annotations

import asyncio

import pytest

from ghostwire.engine import SECOND
from ghostwire.node.portmap.nonce import FILE
from ghostwire.node.portmap.report import PortMapProtocols
from ghostwire.testing import Link, simulated

from .conftest import GATEWAY, LOCAL, OUTSIDE, PORT

HOUR = 3600


@pytest.mark.parametrize(
    ("speaks", "found"),
    [
        ({"NAT-PMP", "PCP", "UPnP"}, PortMapProtocols(nat_pmp=True)),
        ({"PCP", "UPnP"}, PortMapProtocols(nat_pmp=False, pcp=True)),
        ({"UPnP"}, PortMapProtocols(nat_pmp=False, pcp=False, upnp=True)),
        (set(), PortMapProtocols(nat_pmp=False, pcp=False, upnp=False)),
    ],
    ids=["all", "no NAT-PMP", "UPnP alone", "none"],
)
@simulated
async def test_the_first_protocol_that_the_router_speaks_gives_the_mapping(home, speaks, found):
    house = home(speaks=frozenset(speaks))
    await house.started()
    assert house.mapping.found == found
    assert house.mapping.mapped == (f"{OUTSIDE}:{PORT}" if speaks else "")
    assert house.told == ([f"{OUTSIDE}:{PORT}"] if speaks else [])
    assert [held[:2] for held in house.router.mappings.values()] == ([(LOCAL, PORT)] if speaks else [])
    await house.mapping.close()
    assert house.router.mappings == {}
    assert house.mapping.mapped == ""
    await house.mapping.close()


@pytest.mark.parametrize("method", ["NAT-PMP", "PCP", "UPnP"])
@simulated
async def test_it_is_renewed_at_half_its_time_by_what_gave_it_and_nothing_else_is_sent(home, method):
    house = home(speaks=frozenset({method}))
    await house.started()
    house.router.asked.clear()
    await asyncio.sleep(HOUR - 20)
    assert house.router.asked == []
    await asyncio.sleep(40)
    assert {line.partition(" ")[0] for line in house.router.asked} == {method}
    assert len(house.router.asked) == (1 if method == "PCP" else 2)
    await asyncio.sleep(9 * HOUR)
    ((_, _, ends),) = house.router.mappings.values()
    assert ends > house.clock.now()
    assert len(house.told) == 1


@pytest.mark.parametrize("method", ["NAT-PMP", "PCP"])
@simulated
async def test_a_short_time_granted_is_renewed_sooner_but_never_in_a_flood(home, method):
    house = home(speaks=frozenset({method}), lifetime=1)
    await house.started()
    house.router.asked.clear()
    await asyncio.sleep(40)
    assert 3 <= len([line for line in house.router.asked if line.endswith("1")]) <= 5


@simulated
async def test_an_address_that_others_cannot_reach_is_not_told_and_the_mapping_given_back(home):
    house = home(outside="100.64.9.9")
    await house.started()
    assert house.mapping.mapped == ""
    assert house.told == []
    assert house.router.mappings == {}
    assert "others cannot reach the router's outside address 100.64.9.9" in house.mapping.trouble


@simulated
async def test_why_a_router_refuses_is_told_for_each_protocol(home):
    house = home(result=2, speaks=frozenset({"NAT-PMP", "PCP"}))
    await house.started()
    assert house.mapping.trouble == "NAT-PMP: not authorized; PCP: not authorized; UPnP: no answer"
    assert house.mapping.found == PortMapProtocols(nat_pmp=True, pcp=True, upnp=False)


@simulated
async def test_a_search_in_vain_is_repeated_after_ten_minutes_and_when_links_change(home):
    house = home(speaks=frozenset())
    await house.started()
    house.router.asked.clear()
    await asyncio.sleep(580)
    assert house.router.asked == []
    await asyncio.sleep(30)
    assert house.router.asked != []
    house.router.speaks = frozenset({"PCP"})
    house.mapping.links_changed()
    await asyncio.sleep(5)
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT}"


@simulated
async def test_without_a_router_nothing_is_asked_until_links_change(home):
    house = home()
    house.platform.router = None
    await house.started()
    await asyncio.sleep(HOUR)
    assert house.router.asked == []
    assert house.mapping.found == PortMapProtocols()
    house.platform.router = GATEWAY
    house.mapping.links_changed()
    await asyncio.sleep(1)
    assert house.mapping.mapped
    house.platform.router = None
    house.mapping.links_changed()
    await asyncio.sleep(1)
    assert house.told == [f"{OUTSIDE}:{PORT}", ""]


@simulated
async def test_a_machine_with_an_address_that_others_reach_asks_nobody(home):
    house = home()
    house.node.move("203.0.113.5")
    await house.started()
    assert house.router.asked == []
    assert house.mapping.trouble == ""
    house.node.move(LOCAL)
    house.mapping.links_changed()
    await asyncio.sleep(1)
    assert house.mapping.mapped


@simulated
async def test_where_the_operator_wants_none_nobody_is_asked(home):
    house = home()
    house.wanted = False
    house.mapping = house.make()
    await house.started()
    assert await house.mapping.probe() == PortMapProtocols()
    assert house.router.asked == []
    await house.mapping.close()


@simulated
async def test_another_address_of_ours_gets_a_mapping_of_its_own(home):
    house = home()
    await house.started()
    house.node.move("10.0.0.6")
    house.mapping.links_changed()
    await asyncio.sleep(1)
    assert ("10.0.0.6", PORT) in [held[:2] for held in house.router.mappings.values()]


@pytest.mark.parametrize("method", ["NAT-PMP", "PCP"])
@simulated
async def test_a_router_that_counts_anew_is_asked_again_at_once(home, method):
    house = home(speaks=frozenset({method}))
    await house.started()
    house.router.reboot()
    house.router.announce()
    await asyncio.sleep(1)
    assert house.router.mappings[PORT][:2] == (LOCAL, PORT)


@simulated
async def test_a_router_that_tells_of_another_outside_address_is_asked_again_at_once(home):
    house = home()
    await house.started()
    house.router.outside = "203.0.113.99"
    house.router.announce()
    await asyncio.sleep(1)
    assert house.told == [f"{OUTSIDE}:{PORT}", f"203.0.113.99:{PORT}"]


@simulated
async def test_a_router_that_had_no_address_yet_is_asked_again_once_it_tells_of_one(home):
    house = home(speaks=frozenset({"NAT-PMP"}), result=3)
    await house.started()
    assert house.mapping.mapped == ""
    house.router.result = 0
    house.router.announce()
    await asyncio.sleep(1)
    assert house.mapping.mapped


@pytest.mark.parametrize("asks", ["links", "probe"])
@simulated
async def test_what_a_router_forgot_is_found_out_by_asking_it_too(home, asks):
    house = home()
    await house.started()
    house.router.reboot()
    if asks == "probe":
        await house.mapping.probe()
    else:
        house.mapping.links_changed()
    await asyncio.sleep(1)
    assert PORT in house.router.mappings


@simulated
async def test_announcements_of_others_and_of_a_router_that_forgot_nothing_do_nothing(home):
    house = home()
    await house.started()
    house.router.asked.clear()
    house.router.announce()
    stranger = house.network.host("stranger", "10.0.0.66").bind(5351, lambda source, burst: None)
    stranger.send((LOCAL, 5350), [bytes.fromhex("008000000000000001020304")])
    await asyncio.sleep(60)
    assert house.router.asked == []


@pytest.mark.parametrize("result", [0, 2])
@simulated
async def test_a_flood_of_forged_announcements_asks_ever_more_rarely(home, result):
    house = home(result=result, speaks=frozenset({"NAT-PMP", "PCP"}))
    await house.started()
    house.router.asked.clear()
    for _ in range(400):
        house.router.pmp.send((LOCAL, 5350), [bytes.fromhex("008000000000000001020304")])
        await asyncio.sleep(0.1)
    assert 2 <= len([line for line in house.router.asked if line == "NAT-PMP 1"]) <= 4


@simulated
async def test_a_router_that_is_silent_for_a_while_does_not_cost_the_mapping_but_its_end_does(home):
    house = home()
    await house.started()
    house.router.deaf = True
    await asyncio.sleep(1.5 * HOUR)
    assert house.mapping.mapped
    assert house.mapping.trouble == "NAT-PMP: no answer"
    await asyncio.sleep(HOUR)
    assert house.told == [f"{OUTSIDE}:{PORT}", ""]
    house.router.deaf = False
    await asyncio.sleep(700)
    assert house.mapping.mapped


@simulated
async def test_a_router_that_refuses_to_renew_is_asked_by_the_other_protocols(home):
    house = home()
    await house.started()
    house.router.result = 4
    await asyncio.sleep(1.1 * HOUR)
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT}"
    assert house.mapping.found.upnp


@simulated
async def test_requests_that_are_lost_are_sent_again(home):
    house = home()
    house.network.link(house.node, house.router.host, Link(loss=0.3))
    await house.started()
    assert house.mapping.mapped


@simulated
async def test_a_node_that_was_killed_may_change_its_mapping_after_its_restart(home):
    house = home(speaks=frozenset({"PCP"}))
    await house.started()
    assert (house.folder / FILE).stat().st_mode & 0o777 == 0o600
    house.node.kill()
    house.mapping._task.cancel()
    house.mapping = house.make()
    await house.started()
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT}"


@simulated
async def test_probing_tells_what_is_spoken_and_maps_nothing(home):
    house = home(speaks=frozenset({"NAT-PMP", "UPnP"}))
    found = await house.mapping.probe()
    assert found == PortMapProtocols(nat_pmp=True, pcp=False, upnp=True)
    assert house.router.mappings == {}


@simulated
async def test_only_pcp_having_been_seen_it_is_asked_first(home):
    house = home(speaks=frozenset({"PCP"}))
    await house.mapping.probe()
    house.router.asked.clear()
    await house.started()
    assert house.router.asked == ["PCP 1"]


@simulated
async def test_a_port_that_is_taken_outside_is_replaced_and_then_kept(home):
    house = home(taken={PORT})
    await house.started()
    assert house.mapping.mapped == f"{OUTSIDE}:{PORT + 1}"
    await asyncio.sleep(3 * HOUR)
    assert list(house.router.mappings) == [PORT + 1]
    assert house.told == [f"{OUTSIDE}:{PORT + 1}"]


@simulated
async def test_what_is_no_answer_is_counted_as_long_as_it_is_started(home):
    house = home(speaks=frozenset({"PCP"}))
    house.mapping.start(PORT)
    await asyncio.sleep(0.01)
    (port,) = house.node.ports
    stranger = house.network.host("stranger", "10.0.0.66").bind(5351, lambda source, burst: None)
    stranger.send((LOCAL, port), [b"hello", b"world"])
    await asyncio.sleep(5)
    assert house.metrics.values() == {"ghostwire_portmap_ignored_total": 2, "ghostwire_portmap_mapped": 1}
    await house.mapping.close()
    assert house.metrics.values() == {}


@simulated
async def test_closing_in_the_midst_of_a_search_ends_it(home):
    house = home(speaks=frozenset())
    house.mapping.start(PORT)
    await asyncio.sleep(0.3)
    before = house.clock.now()
    await house.mapping.close()
    assert house.clock.now() - before < 2 * SECOND
    assert house.told == []
    assert house.node.ports == {}


@simulated
async def test_a_silent_router_does_not_hold_up_the_end_for_long(home):
    house = home()
    await house.started()
    house.router.deaf = True
    before = house.clock.now()
    await house.mapping.close()
    assert house.clock.now() - before <= 2 * SECOND
    assert house.node.ports == {}
