"""What netcheck says of a network: UDP, translation, the router, captive portals; and what a change of links ends."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from ghostwire.engine import MILLISECOND
from ghostwire.node.netcheck.asking import Asking
from ghostwire.node.netcheck.plan import Probe
from ghostwire.testing import Link, NatKind, SeededEntropy, simulated
from ghostwire.wire import stun

Make = Callable[..., Any]
GENUINE = b"HTTP/1.1 204 No Content\r\nX-Tailscale-Response: response %s\r\n\r\n"
LOGIN = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n"


class Door(asyncio.Protocol):
    """A front door; ``answer`` may hold the challenge's place."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        challenge = data.partition(b"X-Tailscale-Challenge: ")[2].partition(b"\r\n")[0]
        if b"latency-check" in data:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            self._transport.write(self._answer.replace(b"%s", challenge))


def doors(here: Any, *answers: bytes) -> None:
    for host, answer in zip(here.relays, answers, strict=False):
        host.listen(443, lambda answer=answer: Door(answer))


def world_with_doors(world: Make, *answers: bytes, **options: Any) -> Any:
    here = world(NatKind.PORT_RESTRICTED, relays=0, **options)
    for number in range(1, 4):
        here.add_relay(number, tls=False)
    doors(here, *answers)
    return here


def block_udp(here: Any) -> None:
    for host in here.relays:
        here.network.link(here.laptop, host, Link(datagrams=False))


@pytest.mark.parametrize(
    ("kind", "mapping", "varies"),
    [
        (None, "none", False),
        (NatKind.PORT_RESTRICTED, "endpoint-independent", False),
        (NatKind.SYMMETRIC, "destination-dependent", True),
    ],
)
@simulated
async def test_the_kind_of_translation_is_told(world: Make, kind: Any, mapping: str, varies: bool) -> None:
    here = world(kind)
    discovery = await here.start()
    report = await here.netcheck.look()
    assert (report.mapping, report.mapping_varies) == (mapping, varies)
    assert (report.udp, report.ipv4, report.ipv6) == (True, True, None)
    await here.close(discovery)


@simulated
async def test_where_no_relay_answers_in_any_way_nothing_is_said_of_udp(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    for host in here.relays:
        host.close()
    discovery = await here.start()
    report = await here.netcheck.look()
    assert (report.udp, report.ipv4, report.ipv6, report.captive_portal) == (None, None, None, None)
    assert all(region.trouble for region in report.regions)
    await here.close(discovery)


@simulated
async def test_udp_is_said_to_be_blocked_where_relays_answer_otherwise(world: Make) -> None:
    here = world_with_doors(world, GENUINE, GENUINE, GENUINE)
    block_udp(here)
    discovery = await here.start()
    report = await here.netcheck.look()
    assert (report.udp, report.ipv4, report.ipv6, report.captive_portal) == (False, False, None, False)
    await here.close(discovery)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((GENUINE, GENUINE, GENUINE), False),
        ((LOGIN, LOGIN, GENUINE), False),
        ((LOGIN, LOGIN, LOGIN), True),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",) * 3, True),
        ((b"HTTP/1.1 204 No Content\r\nX-Tailscale-Response: response gw-0\r\n\r\n",) * 3, True),
        ((b"220 mail.example ESMTP\r\n\r\n",) * 3, True),
        ((LOGIN,), True),
        ((), None),
    ],
    ids=["none", "one genuine", "portal", "plain 204", "replayed", "no HTTP", "others silent", "all silent"],
)
@simulated
async def test_a_captive_portal_is_who_answers_in_relays_place(
    world: Make, answers: Sequence[bytes], expected: bool | None
) -> None:
    here = world_with_doors(world, *answers)
    discovery = await here.start()
    assert here.netcheck.report.captive_portal is None  # nobody asked, and UDP works
    assert (await here.netcheck.look()).captive_portal is expected
    await here.close(discovery)


@simulated
async def test_a_captive_portal_is_looked_for_unasked_where_udp_fails(world: Make) -> None:
    here = world_with_doors(world, LOGIN, LOGIN, LOGIN)
    block_udp(here)
    discovery = await here.start()
    assert here.netcheck.report.captive_portal is True
    await here.close(discovery)


@simulated
async def test_the_router_is_asked_for_its_protocols_only_where_somebody_wants_to_know(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    here.router.mapped = "203.0.113.7:5000"
    discovery = await here.start()
    assert here.router.probes == 0
    report = await here.netcheck.look()
    found = report.port_mapping
    assert (found.nat_pmp, found.pcp, found.upnp, report.port_mapped) == (False, True, False, "203.0.113.7:5000")
    assert here.router.probes == 1
    await here.close(discovery)


@simulated
async def test_round_trips_of_the_old_network_do_not_count_in_the_new_one(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    near, far = Link(latency=5 * MILLISECOND), Link(latency=80 * MILLISECOND)
    here.network.link(here.laptop, here.relays[0], near)
    here.network.link(here.laptop, here.relays[1], far)
    discovery = await here.start()
    assert here.netcheck._choice.home == 1
    here.network.link(here.laptop, here.relays[0], far)
    here.network.link(here.laptop, here.relays[1], near)
    here.netcheck.links_changed()
    await asyncio.sleep(4)
    assert here.netcheck._choice.home == 2
    await here.close(discovery)


@simulated
async def test_a_look_that_is_under_way_when_links_change_begins_anew(world: Make) -> None:
    here = world(NatKind.PORT_RESTRICTED)
    discovery = await here.start()
    for host in here.relays:
        here.network.cut(here.laptop, host)
    waiting = asyncio.ensure_future(here.netcheck.look())
    await asyncio.sleep(0.5)
    here.network.heal()
    here.laptop.move("10.0.0.9", nat=here.network.nat("cafe", "198.51.100.1", NatKind.PORT_RESTRICTED))
    here.netcheck.links_changed()
    began = asyncio.get_running_loop().time()
    report = await waiting
    assert report.mapped_ipv4 == "198.51.100.1:41641"
    assert asyncio.get_running_loop().time() - began < 3  # the look alone takes 20 ms; the portals are asked in vain
    await here.close(discovery)


@simulated
async def test_relays_whose_names_resolve_slowly_are_asked_when_they_have(world: Make) -> None:
    async def slow(host: str) -> Sequence[str]:
        await asyncio.sleep(4)
        return ["192.0.2.1"]

    here = world(NatKind.PORT_RESTRICTED, relays=0, lookup=slow)
    here.add_relay(1, host="relay1.example")
    discovery = await here.begin()
    await asyncio.sleep(12)
    assert [region.ipv4_ms is not None for region in here.netcheck.report.regions] == [True]
    await here.close(discovery)


@simulated
async def test_a_relay_that_sees_no_port_has_not_answered(world: Make) -> None:
    place = world(NatKind.FULL_CONE, relays=1)
    heard: list[Any] = []
    asking = Asking(place.clock, SeededEntropy(1))
    asking.sender, asking.heard = place.transport, lambda *said: heard.append(said)
    sent: list[bytes] = []
    source = place.transport.path("192.0.2.1:3478")
    place.transport.path = lambda text: SimpleNamespace(send=lambda burst: sent.extend(burst) or True)
    probe = Probe(region=1, family=4, endpoint="192.0.2.1:3478", after=0)
    round_ = asyncio.ensure_future(asking.ask([probe]))
    await asyncio.sleep(0.1)
    for port in (0, 7):
        asking.receive(source, stun.answer(sent[0], ("203.0.113.7", port)) or b"")
    await round_
    assert heard == [("192.0.2.1:3478", ("203.0.113.7", 7))]
