"""Dialling, names, back-off, idleness, and the bounds of what waits."""

import asyncio
import stat

import pytest

from ghostwire import BURST
from ghostwire.testing import simulated
from ghostwire_websocket.fresh import QUEUE
from ghostwire_websocket.identity import FILE


@simulated
async def test_one_that_only_dials_advertises_nothing_and_is_answered_over_its_connection(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    assert a.endpoints() == ()
    a.path(b.endpoints()[0]).send([b"hello"])
    await world.arrived("b", 1)
    (source,) = world.inboxes["b"].sources
    assert source.endpoint.startswith("#")
    assert b.path(source.endpoint) == source
    assert source.send([b"welcome"])
    assert await world.arrived("a", 1) == [b"welcome"]


@simulated
async def test_a_dialler_keeps_its_name_when_it_dials_again(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    there = a.path(b.endpoints()[0])
    there.send([b"one"])
    await world.arrived("b", 1)
    world.network.sever(world.hosts["a"], world.hosts["b"])
    await asyncio.sleep(5)
    assert a.counters.dialled == 2, "a connection in use is made again, though nothing is sent"
    there.send([b"two"])
    await world.arrived("b", 2)
    assert len(set(world.inboxes["b"].sources)) == 1


@simulated
async def test_a_dialler_that_listens_too_is_the_endpoint_that_it_advertises(new_world):
    world = new_world()
    a, b = await world.node("a", listens=True), await world.node("b", listens=True)
    a.path(b.endpoints()[0]).send([b"hello"])
    await world.arrived("b", 1)
    back = b.path(a.endpoints()[0])
    assert world.inboxes["b"].sources == [back]
    assert back.send([b"welcome"])
    await world.arrived("a", 1)
    assert (b.counters.dialled, a.counters.accepted) == (0, 0), "the connection that is there is used"


@simulated
async def test_both_may_dial_at_once(new_world):
    world = new_world()
    a, b = await world.node("a", listens=True), await world.node("b", listens=True)
    a.path(b.endpoints()[0]).send([b"from a"])
    b.path(a.endpoints()[0]).send([b"from b"])
    assert await world.arrived("b", 1) == [b"from a"]
    assert await world.arrived("a", 1) == [b"from b"]


@simulated
async def test_while_it_dials_the_oldest_datagrams_go_first(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    there = a.path(b.endpoints()[0])
    answers = [there.send([b"%d" % (BURST * burst + at) for at in range(BURST)]) for burst in range(3)]
    assert answers == [True, True, False]
    assert await world.arrived("b", QUEUE) == [b"%d" % number for number in range(BURST, 3 * BURST)]
    assert a.counters.dropped_queue == BURST


@simulated
async def test_where_nobody_answers_it_tries_again_ever_more_rarely_and_then_not_at_all(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    there = a.path(b.endpoints()[0])
    await b.close()
    assert there.send([b"lost"])
    await asyncio.sleep(55)
    tried = a.counters.failures
    assert 4 <= tried <= 20
    await asyncio.sleep(600)
    assert a.counters.failures <= tried + 2, "nothing was sent for ten minutes"
    assert a.counters.dropped_away == 1


@simulated
async def test_an_idle_connection_ends_and_the_next_datagram_dials_again(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    there = a.path(b.endpoints()[0])
    there.send([b"one"])
    await world.arrived("b", 1)
    await asyncio.sleep(400)
    assert not world.network.streams, "an idle peer costs nothing"
    assert a.counters.dialled == 1
    there.send([b"two"])
    await world.arrived("b", 2)


@simulated
async def test_a_connection_that_carries_nothing_any_more_is_given_up(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    there = a.path(b.endpoints()[0])
    there.send([b"one"])
    await world.arrived("b", 1)
    world.network.cut(world.hosts["a"], world.hosts["b"])
    for _ in range(40):
        there.send([b"into the dark"])
        await asyncio.sleep(1)
    assert a.counters.lost == 1


@simulated
async def test_sizes_that_cannot_be_carried_are_dropped_and_counted(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    there = a.path(b.endpoints()[0])
    assert not there.send([b"", bytes(65_536), bytes(65_535)])
    assert [len(each) for each in await world.arrived("b", 1)] == [65_535]
    assert a.counters.dropped_size == 2


@simulated
async def test_the_key_is_private_and_outlives_restarts(new_world, tmp_path):
    world = new_world()
    b = await world.node("b", listens=True)
    before = b.endpoints()
    await b.close()
    await b.start(world.inboxes["b"])
    assert b.endpoints() == before
    assert stat.S_IMODE((tmp_path / "b" / FILE).stat().st_mode) == 0o600


@simulated
async def test_endpoints_that_lead_to_this_machine_or_go_without_tls_are_refused(make):
    from ghostwire.testing import Network, running_clock
    from ghostwire_websocket.settings import Settings

    transport = make(Network(seed=1).host("a", "192.0.2.1").sockets, running_clock(), Settings())
    pin = "ab" * 32
    hosts = ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "x.localhost", "0.0.0.0", "169.254.1.1")
    for url in [f"wss://{host}/" for host in hosts] + ["ws://example.com/"]:
        with pytest.raises(ValueError, match=r"\w"):
            transport.path(f"{url}#{pin}")
    assert transport.path(f"WSS://Example.com:443#{pin.upper()}") == transport.path(f"wss://example.com/#{pin}")
