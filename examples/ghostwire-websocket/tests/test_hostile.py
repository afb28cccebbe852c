"""Peers that send junk, too much or too slowly, or are others than they say."""

import asyncio

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from ghostwire.testing import simulated
from ghostwire_websocket import messages
from ghostwire_websocket.door import STRANGERS
from ghostwire_websocket.endpoint import Endpoint, Url
from ghostwire_websocket.identity import Identity

PORT = 8642


class Raw(asyncio.Protocol):
    """A client that sends what a test wants."""

    def __init__(self):
        self.frames = ClientProtocol(parse_uri("ws://192.0.2.1:8642/mesh"), max_size=None)
        self.events, self.lost = [], asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.frames.receive_data(data)
        self.events += self.frames.events_received()

    def connection_lost(self, exc):
        self.lost.set_result(None)

    def flush(self):
        self.transport.write(b"".join(self.frames.data_to_send()))

    async def upgrade(self):
        self.frames.send_request(self.frames.connect())
        self.flush()
        while len(self.events) < 2:
            await asyncio.sleep(0.01)
        return self.events[1].data[2:]

    async def say(self, data):
        self.frames.send_binary(data)
        self.flush()


async def scene(new_world):
    world = new_world()
    b = await world.node("b", listens=True)
    return world, b, world.network.host("eve", "192.0.2.99")


async def connected(eve):
    _, raw = await eve.sockets.connect(Raw, "192.0.2.1", PORT)
    return raw


@pytest.mark.parametrize(
    "junk",
    [b"\x16\x03\x01" * 100, b"GET / HTTP/1.1\r\n\r\n", b"GET /mesh HTTP/1.1\r\n\r\n", b"\r\n" * 20_000, b"A" * 70_000],
    ids=["tls", "other-path", "no-upgrade", "empty-lines", "endless-line"],
)
@simulated
async def test_what_is_no_websocket_is_closed(new_world, junk):
    _, b, eve = await scene(new_world)
    raw = await connected(eve)
    raw.transport.write(junk)
    async with asyncio.timeout(30):
        await raw.lost
    assert b.counters.refused == 1


@pytest.mark.parametrize(
    "message",
    [b"", b"\x02", b"\x02" + bytes(200), b"\x04\x00\x01x", b"\x03" + bytes(96), b"\xff", bytes(200_000)],
    ids=["empty", "short", "zeros", "datagram", "proof", "unknown", "large"],
)
@simulated
async def test_what_is_no_introduction_is_closed_and_nothing_is_delivered(new_world, message):
    world, b, eve = await scene(new_world)
    raw = await connected(eve)
    await raw.upgrade()
    await raw.say(message)
    async with asyncio.timeout(5):
        await raw.lost
    assert (b.counters.refused, b.counters.accepted, world.inboxes["b"].datagrams) == (1, 0, [])


@simulated
async def test_one_who_says_nothing_is_closed_in_time(new_world):
    _, b, eve = await scene(new_world)
    raw = await connected(eve)
    for letter in b"GET /mesh":
        raw.transport.write(bytes((letter,)))
        await asyncio.sleep(2)
    async with asyncio.timeout(1):
        await raw.lost
    assert b.counters.refused == 1


@simulated
async def test_many_who_say_nothing_do_not_keep_others_out(new_world):
    world, b, eve = await scene(new_world)
    silent = [await connected(eve) for _ in range(3 * STRANGERS)]
    a = await world.node("a")
    a.path(b.endpoints()[0]).send([b"hello"])
    assert await world.arrived("b", 1) == [b"hello"]
    assert sum(raw.lost.done() for raw in silent) >= 2 * STRANGERS


@simulated
async def test_guests_are_bounded_and_the_silent_one_makes_room(new_world):
    world = new_world()
    b = await world.node("b", listens=True, connections=2)
    nodes = [await world.node(name) for name in ("one", "two", "three")]
    for number, node in enumerate(nodes, 1):
        node.path(b.endpoints()[0]).send([b"hello"])
        await world.arrived("b", number)
    assert b.counters.displaced == 1
    await asyncio.sleep(60)
    assert len(world.network.streams_of(world.hosts["b"])) <= 2
    assert b.counters.displaced < 60, "nodes for whom there is no room push each other out ever more rarely"


@simulated
async def test_another_node_at_the_url_gets_no_datagram(new_world):
    world = new_world()
    a, b = await world.node("a"), await world.node("b", listens=True)
    url, _, pin = b.endpoints()[0].partition("#")
    a.path(f"{url}#{'0' * len(pin)}").send([b"for somebody else"])
    await asyncio.sleep(10)
    assert a.counters.failures >= 1
    assert (a.counters.dialled, world.inboxes["b"].datagrams) == (0, [])


@pytest.mark.parametrize("forged", [False, True], ids=["own", "forged"])
@simulated
async def test_an_introduction_counts_only_with_the_key_that_its_endpoint_names(new_world, forged):
    _, b, eve = await scene(new_world)
    raw, key, victim = await connected(eve), Identity(bytes(32)), Identity(b"v" * 32)
    challenged = bytes(await raw.upgrade())
    claimed = Endpoint(Url.parse("wss://victim.example.com/"), victim.pin if forged else key.pin)
    target = Endpoint.parse(b.endpoints()[0])
    await raw.say(messages.introduction(bytes(32), key, claimed, challenged, target))
    await asyncio.sleep(1)
    assert b.counters.accepted == (not forged)
    assert raw.lost.done() is forged


@simulated
async def test_an_introduction_that_was_seen_elsewhere_is_refused(new_world):
    _, b, eve = await scene(new_world)
    raw, key = await connected(eve), Identity(bytes(32))
    await raw.upgrade()
    seen = messages.introduction(bytes(32), key, Endpoint(None, key.pin), bytes(32), Endpoint.parse(b.endpoints()[0]))
    await raw.say(seen)
    await asyncio.sleep(1)
    assert (b.counters.accepted, b.counters.refused) == (0, 1)


@simulated
async def test_pieces_and_text_and_cut_off_datagrams_end_a_connection(new_world):
    _, b, eve = await scene(new_world)
    for number, broken in enumerate(("text", "pieces", "cut"), 1):
        raw, key = await connected(eve), Identity(bytes((number,)) * 32)
        challenged = bytes(await raw.upgrade())
        target = Endpoint.parse(b.endpoints()[0])
        await raw.say(messages.introduction(bytes(32), key, Endpoint(None, key.pin), challenged, target))
        if broken == "text":
            raw.frames.send_text(b"hello")
        elif broken == "pieces":
            raw.frames.send_binary(b"\x04\x00\x01x", fin=False)
        else:
            raw.frames.send_binary(b"\x04\x00\x09x")
        raw.flush()
        async with asyncio.timeout(5):
            await raw.lost
        assert b.counters.lost == number


@simulated
async def test_one_who_makes_it_answer_and_reads_nothing_is_closed(new_world):
    _, b, eve = await scene(new_world)
    raw, key = await connected(eve), Identity(bytes(32))
    challenged = bytes(await raw.upgrade())
    target = Endpoint.parse(b.endpoints()[0])
    await raw.say(messages.introduction(bytes(32), key, Endpoint(None, key.pin), challenged, target))
    await asyncio.sleep(1)
    raw.transport.pause_reading()
    for _ in range(200):
        for _ in range(100):
            raw.frames.send_ping(bytes(125))
        raw.flush()
        await asyncio.sleep(0.01)
    assert b.counters.lost == 1
