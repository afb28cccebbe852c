"""What strangers, enrolled peers and relays may try against path choice, and what it costs at most: in memory, with
disco's real datagrams."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from ghostwire import Activity, Path, relay_endpoint
from ghostwire.keys import DiscoKey, NodeKey, PrivateKey
from ghostwire.model import Endpoint, MapNode, MapRelay, NetworkMap
from ghostwire.node.candidates import MAX_PER_ADDRESS, Candidates
from ghostwire.node.director import Director
from ghostwire.node.disco.disco import GUESSES, Disco
from ghostwire.node.disco.sessions import PEER_BURST, PEER_RATE, PING_BURST, PING_RATE
from ghostwire.node.paths.known import MOST
from ghostwire.node.paths.peer import PeerPaths
from ghostwire.node.paths.shared import State
from ghostwire.testing import SeededEntropy, running_clock, simulated
from ghostwire.wire import disco as wire
from ghostwire.wire.box import Box

RELAY = MapRelay(id=1, name="fra1", region=5, region_name="fra", host="192.0.2.50", stun_port=0)
ALICE, MALLORY = 2, 3
HOME = "192.0.2.2:41641"
"""Where alice is."""


class Person:
    """A peer that seals disco's messages to the node under test."""

    def __init__(self, id_: int, kit: Any) -> None:
        self.id, self.entropy = id_, SeededEntropy(100 + id_)
        self.key = PrivateKey.generate(self.entropy)
        self.disco_key = self.key.public(DiscoKey)
        self.node: MapNode = kit.map_node(id_, home=5, disco_key=self.disco_key)

    def seal(self, to: PrivateKey, message: wire.Message) -> bytes:
        return wire.seal(message, self.disco_key, Box(self.key, to.public_raw), self.entropy)

    def open(self, by: PrivateKey, datagram: bytes) -> wire.Message | None:
        return wire.unseal(datagram, Box(self.key, by.public_raw))


class Target:
    """A node with its director and disco; the test is its tunnel, its network and its peers."""

    fresh = True

    def __init__(self, kit: Any) -> None:
        self.kit, self.entropy = kit, SeededEntropy(1)
        self.udp, self.derp = kit.Transport(), kit.Transport("derp")
        self.key = PrivateKey.generate(self.entropy)
        self.alice, self.mallory = Person(ALICE, kit), Person(MALLORY, kit)
        self.network = NetworkMap()
        self.network.nodes |= {each.id: each.node for each in (self.alice, self.mallory)}
        self.network.relays[RELAY.id] = RELAY
        self.candidates = Candidates([self.udp], self.network, "udp")
        self.candidates._relaying["derp"] = self.derp
        made = self.derp.path
        self.derp.path = lambda text: _relayed(made(text))
        self.endpoints: dict[int, tuple[Endpoint, ...]] = {}
        clock = running_clock()
        self.director = Director(
            self.candidates, self.endpoints, clock, self.entropy, lambda interest: None, lambda: None
        )
        self.disco = Disco(self.key, NodeKey(b"n" * 32), self.network, clock, self.entropy, self.director)
        self.director.direct(self, self.disco, self)  # type: ignore[arg-type]
        self.attached: dict[int, Sequence[Path]] = {}
        self.ever: set[str] = set()
        """Every endpoint that packets ever went to."""
        self.last = Activity()

    # Its tunnel, and what it knows of itself

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        self.attached[peer] = paths
        self.ever |= {path.endpoint for path in paths}

    def test(self, peer: int, path: Path) -> None:
        pass

    def rest(self, peer: int) -> None:
        pass

    def activity(self, peer: int) -> Activity:
        return self.last

    def addresses(self) -> tuple[str, ...]:
        return ("198.51.100.1:7",)

    def busy(self, active: bool) -> None:
        pass

    def seen(self, mapped: str) -> None:
        pass

    # What comes and goes

    def relay(self, person: Person) -> Path:
        path: Path = self.derp.path(relay_endpoint(5, person.node.node_key))
        return path

    def call(self, person: Person, *endpoints: str) -> bytes:
        return person.seal(self.key, wire.CallMeMaybe(endpoints))

    def ping(self, person: Person) -> bytes:
        return person.seal(self.key, wire.Ping(person.entropy(12), person.node.node_key))

    def choice(self, person: Person) -> PeerPaths:
        found = self.director.choice(person.id)
        assert found is not None
        return found

    def state(self, person: Person) -> State:
        return self.choice(person).state

    def sent(self, prefix: str = "") -> list[bytes]:
        """All datagrams that went out directly, to endpoints that begin so."""
        return [each for text, path in self.udp.paths.items() if text.startswith(prefix) for each in path.sent]

    def answer(self, person: Person, endpoint: str) -> None:
        """This person answers the pings that came there so far."""
        path = self.udp.path(endpoint)
        pings, path.sent = path.sent, []
        for datagram in pings:
            message = person.open(self.key, datagram)
            if isinstance(message, wire.Ping):
                self.disco.receive(path, person.seal(self.key, wire.Pong(message.transaction, "198.51.100.1:7")))

    async def live(self, seconds: float, *, step: float = 0.05, noise: Callable[[], object] = list) -> None:
        """Alice is at home and data goes both ways; ``noise`` comes before each of her answers."""
        for _ in range(round(seconds / step)):
            noise()
            now = running_clock().now()
            self.last = Activity(sent=now, received=now, heard=now, over=self.udp.path(HOME))
            self.answer(self.alice, HOME)
            await asyncio.sleep(step)

    async def go_direct(self) -> None:
        self.endpoints[ALICE] = (Endpoint("udp", HOME),)
        self.director.awake(ALICE)
        await self.live(2)
        assert self.state(self.alice) is State.DIRECT


def _relayed(path: Any) -> Any:
    path.relayed = True
    return path


# A stranger, who has keys of nobody


@pytest.mark.parametrize("rate", [100, 2000])
@pytest.mark.parametrize("replayed", [True, False])
@simulated
async def test_whoever_floods_with_what_was_overheard_takes_no_path_away(kit: Any, rate: int, replayed: bool) -> None:
    node = Target(kit)
    await node.go_direct()
    heard = node.ping(node.alice) if replayed else node.ping(node.alice)[:-1] + b"?"
    ports = itertools.count(1)

    def noise() -> None:
        for _ in range(rate // 20):
            node.disco.receive(node.udp.path(f"203.0.113.66:{next(ports) % 60_000 + 1}"), heard)

    for _ in range(100):
        await node.live(0.1, noise=noise)
        assert node.state(node.alice) is State.DIRECT
    assert node.attached[ALICE] == (node.udp.path(HOME),)
    assert len(node.sent("203.0.113.66")) <= PEER_BURST + 11 * PEER_RATE
    assert len(list(node.choice(node.alice).candidates)) <= MOST


@simulated
async def test_replays_of_a_ping_push_no_address_out_that_the_peer_named(kit: Any) -> None:
    node = Target(kit)
    node.endpoints[ALICE] = (Endpoint("udp", HOME),)
    node.director.awake(ALICE)
    heard = node.ping(node.alice)
    for port in range(1, 2000):
        node.disco.receive(node.udp.path(f"203.0.113.66:{port}"), heard)
        await asyncio.sleep(0.01)
    assert node.udp.path(HOME) in {each.path for each in node.choice(node.alice).candidates}
    await node.live(40)
    assert node.state(node.alice) is State.DIRECT


@simulated
async def test_replays_of_a_ping_make_a_searching_node_send_about_as_much_as_came(kit: Any) -> None:
    node = Target(kit)
    node.director.awake(ALICE)
    heard, seconds = node.ping(node.alice), 60
    for port in range(1, 50 * seconds):
        node.disco.receive(node.udp.path(f"203.0.113.66:{port}"), heard)
        await asyncio.sleep(0.02)
    sent = node.sent("203.0.113.66")
    assert len(sent) <= PEER_BURST + PEER_RATE * seconds + PING_BURST + PING_RATE * seconds
    assert sum(map(len, sent)) < len(heard) * 50 * seconds


@simulated
async def test_authentic_packets_that_somebody_sends_on_from_elsewhere_lead_no_data_there(kit: Any) -> None:
    """A source proves nothing: whoever takes a datagram out of the network may send it on in any address's name."""
    node = Target(kit)
    node.director.awake(ALICE)
    for port in range(1, 300):
        node.director.authenticated(ALICE, node.udp.path(f"198.51.100.66:{port}"))
        await asyncio.sleep(0.2)
    await node.go_direct()
    for port in range(300, 600):
        node.director.authenticated(ALICE, node.udp.path(f"198.51.100.66:{port}"))
        await node.live(0.2)
    assert {text for text in node.ever if "/" not in text} == {HOME}


@simulated
async def test_pongs_that_are_late_repeated_or_anothers_count_for_nothing(kit: Any) -> None:
    node = Target(kit)
    node.endpoints[ALICE] = (Endpoint("udp", HOME),)
    node.endpoints[MALLORY] = (Endpoint("udp", "203.0.113.3:7"),)
    node.director.awake(ALICE)
    node.director.awake(MALLORY)
    path = node.udp.path(HOME)
    (ping,) = (node.alice.open(node.key, each) for each in path.sent)
    assert isinstance(ping, wire.Ping)
    pong = node.alice.seal(node.key, wire.Pong(ping.transaction, ""))
    node.disco.receive(path, node.mallory.seal(node.key, wire.Pong(ping.transaction, "")))
    node.disco.receive(node.relay(node.alice), pong)
    node.disco.receive(path, node.alice.seal(node.key, wire.Pong(bytes(12), "")))
    assert all(each.answered is None for each in node.choice(node.alice).candidates)
    await asyncio.sleep(6)
    node.disco.receive(path, pong)
    assert all(each.answered is None for each in node.choice(node.alice).candidates)
    assert node.state(node.alice) is State.SEARCHING


# An enrolled peer


@simulated
async def test_calls_that_name_others_addresses_have_these_pinged_only_so_often(kit: Any) -> None:
    node, seconds = Target(kit), 120
    for second in range(seconds):
        endpoints = [f"198.51.{second % 250}.{each}:53" for each in range(1, 33)]
        node.disco.receive(node.relay(node.mallory), node.call(node.mallory, *endpoints))
        await asyncio.sleep(1)
    sent = node.sent("198.51.")
    assert PING_BURST <= len(sent) <= PING_BURST + PING_RATE * seconds
    assert max(map(len, sent)) == wire.PING_BYTES
    assert len(list(node.choice(node.mallory).candidates)) <= MOST


@simulated
async def test_a_call_names_few_ports_of_one_address(kit: Any) -> None:
    node = Target(kit)
    endpoints = [f"198.51.100.66:{port}" for port in range(1, 33)]
    node.disco.receive(node.relay(node.mallory), node.call(node.mallory, *endpoints))
    assert len(list(node.choice(node.mallory).candidates)) == MAX_PER_ADDRESS


@simulated
async def test_one_call_costs_little_and_is_forgotten(kit: Any) -> None:
    node = Target(kit)
    endpoints = [f"198.51.100.{each}:53" for each in range(1, 33)]
    node.disco.receive(node.relay(node.mallory), node.call(node.mallory, *endpoints))
    await asyncio.sleep(400)
    assert len(node.sent("198.51.")) <= PING_BURST
    assert node.state(node.mallory) is State.ASLEEP
    assert node.attached[MALLORY] == (node.relay(node.mallory),)


@simulated
async def test_pings_from_ten_thousand_sources_are_bounded_in_all_they_cost(kit: Any) -> None:
    node, seconds = Target(kit), 10
    node.director.awake(MALLORY)
    for port in range(10_000):
        node.disco.receive(node.udp.path(f"203.0.113.66:{port + 1}"), node.ping(node.mallory))
        await asyncio.sleep(seconds / 10_000)
    sent = node.sent("203.0.113.66")
    assert len(sent) <= PEER_BURST + PEER_RATE * seconds + PING_BURST + PING_RATE * seconds
    assert len(list(node.choice(node.mallory).candidates)) <= MOST
    assert node.disco.counters.limited >= 10_000 - PEER_BURST - PEER_RATE * seconds
    assert {text for text in node.ever if "/" not in text} == set()


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:22",
        "[::1]:22",
        "[::ffff:127.0.0.1]:22",
        "169.254.169.254:80",
        "[fe80::1]:7",
        "224.0.0.251:5353",
        "[ff02::fb]:5353",
        "255.255.255.255:67",
        "0.0.0.0:7",
        "[::]:7",
        "240.0.0.1:7",
        "100.64.0.9:41641",
        "[fd00:1:2::6440:9]:41641",
    ],
)
@simulated
async def test_a_peer_leads_no_packet_into_the_machine_its_link_or_the_mesh(kit: Any, endpoint: str) -> None:
    node = Target(kit)
    node.candidates.avoid((ip_network("100.64.0.0/10"), ip_network("fd00:1:2::/48")))
    node.disco.receive(node.relay(node.mallory), node.call(node.mallory, endpoint, "203.0.113.3:7"))
    node.director.peer_endpoints(MALLORY, (Endpoint("udp", endpoint),))
    assert [text for text, path in node.udp.paths.items() if path.sent] == ["203.0.113.3:7"]
    assert node.candidates.refused + node.disco.counters.refused_endpoints >= 2


@simulated
async def test_a_peer_that_flaps_between_two_paths_is_remembered_in_few_words(kit: Any) -> None:
    node, places = Target(kit), ("203.0.113.3:7", "203.0.113.3:8")
    node.director.awake(MALLORY)
    for turn in range(400):
        node.last = Activity(sent=running_clock().now())
        node.director.called(MALLORY, places)
        node.answer(node.mallory, places[turn // 20 % 2])
        await asyncio.sleep(0.1)
    choice = node.choice(node.mallory)
    assert len(choice.history) <= 16
    assert len(node.director._paths._timers) < 200
    assert {each.path.endpoint for each in choice.candidates} == set(places)


# A relay


@simulated
async def test_a_relay_that_repeats_everybodys_calls_makes_a_node_ping_only_so_many(kit: Any) -> None:
    node = Target(kit)
    people = [Person(id_, kit) for id_ in range(10, 200)]
    node.network.nodes |= {each.id: each.node for each in people}
    node.disco.follow(None)
    calls = {each: node.call(each, *(f"198.51.{each.id}.{number}:53" for number in range(1, 33))) for each in people}
    for _ in range(10):
        for person, call in calls.items():
            node.disco.receive(node.relay(person), call)
        await asyncio.sleep(1)
    rate, burst = GUESSES
    assert burst <= len(node.sent("198.51.")) <= burst + 10 * rate


@simulated
async def test_a_relay_that_floods_in_a_peers_name_takes_no_path_away(kit: Any) -> None:
    node = Target(kit)
    await node.go_direct()
    forged = node.ping(node.alice)[:-1] + b"?"

    def noise() -> None:
        for _ in range(100):
            node.disco.receive(node.relay(node.alice), forged)

    for _ in range(100):
        await node.live(0.1, noise=noise)
        assert node.state(node.alice) is State.DIRECT
