"""Path decisions carried out: paths attached, pings and calls sent, interests declared, endpoints remembered."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ghostwire import Activity, Path
from ghostwire.model import Endpoint, MapRelay, NetworkMap
from ghostwire.node.candidates import Candidates
from ghostwire.node.director import Director, Endpoints
from ghostwire.testing import SeededEntropy, running_clock, simulated
from ghostwire.wire.messages import Interest

FRA = MapRelay(id=1, name="fra1", region=5, region_name="fra", host="192.0.2.50", stun_port=0)
ENDPOINT = "192.0.2.2:1"
SEEN = "198.51.100.1:70"
"""Where peers see this node's pings come from."""


class Disco:
    """Remembers pings and calls."""

    def __init__(self) -> None:
        self.pings: list[tuple[int, str, bytes, bool]] = []
        self.calls: list[tuple[int, tuple[str, ...]]] = []
        self.callable = True

    def ping(self, peer: int, path: Path, transaction: bytes, *, padded: bool, ttl: int | None = None) -> bool:
        self.pings.append((peer, path.endpoint, transaction, padded))
        return True

    def call_me_maybe(self, peer: int, path: Path, endpoints: Sequence[str]) -> bool:
        assert path.relayed
        self.calls.append((peer, tuple(endpoints)))
        return self.callable


class Whereabouts:
    """A node whose endpoints the test says."""

    def __init__(self) -> None:
        self.fresh = True
        self.known: tuple[str, ...] = ("198.51.100.1:7",)
        self.asked: list[Callable[[], object]] = []
        self.active = False
        self.mapped: list[str] = []

    def addresses(self) -> tuple[str, ...]:
        return self.known

    def refresh(self, then: Callable[[], object]) -> None:
        self.asked.append(then)

    def busy(self, active: bool) -> None:
        self.active = active

    def seen(self, mapped: str) -> None:
        self.mapped.append(mapped)


class Relay:
    """Makes relayed paths."""

    name = "derp"


class Scene:
    """A director with one transport and one relay; it is the tunnel, too."""

    def __init__(self, kit: Any, endpoints: dict[int, Endpoints] | None = None, *, relayed: bool = False) -> None:
        self.transport = kit.Transport()
        self.endpoints: dict[int, Endpoints] = endpoints or {}
        self.declared: list[Interest] = []
        self.moves = 0
        self.attached: dict[int, Sequence[Path]] = {}
        self.tested: list[Path] = []
        self.resting: list[int] = []
        self.last = Activity()
        self.disco, self.whereabouts = Disco(), Whereabouts()
        network = NetworkMap()
        network.nodes[2] = kit.map_node(2, home=5)
        candidates = Candidates([self.transport], network, "udp")
        if relayed:
            network.relays[1] = FRA
            candidates._relaying["derp"] = kit.Transport("derp")
            made = candidates._relaying["derp"].path
            candidates._relaying["derp"].path = lambda text: _relayed(made(text))
        self.director = Director(
            candidates, self.endpoints, running_clock(), SeededEntropy(1), self.declared.append, self.moved
        )
        self.director.direct(self, self.disco, self.whereabouts)  # type: ignore[arg-type]

    def moved(self) -> None:
        self.moves += 1

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        self.attached[peer] = paths

    def test(self, peer: int, path: Path) -> None:
        self.tested.append(path)

    def rest(self, peer: int) -> None:
        self.resting.append(peer)

    def activity(self, peer: int) -> Activity:
        return self.last

    def pong(self, number: int = -1) -> None:
        """Answer a ping, the last one."""
        peer, endpoint, transaction, _ = self.disco.pings[number]
        self.director.ponged(peer, self.transport.path(endpoint), transaction, SEEN)


def _relayed(path: Any) -> Any:
    path.relayed = True
    return path


def udp(*texts: str) -> Endpoints:
    return tuple(Endpoint("udp", text) for text in texts)


@simulated
async def test_a_peer_that_wakes_is_pinged_over_what_is_known_and_the_server_is_told(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1", "192.0.2.2:2")})
    scene.director.awake(2)
    assert [endpoint for _, endpoint, _, _ in scene.disco.pings] == ["192.0.2.2:1", "192.0.2.2:2"]
    assert scene.declared == [Interest(node=2)]
    assert scene.director.path(2) is None
    assert scene.whereabouts.active


@simulated
async def test_however_many_calls_wait_for_where_this_node_is_it_is_found_out_and_said_again_once(kit: Any) -> None:
    scene = Scene(kit, relayed=True)
    scene.whereabouts.fresh = False
    for _ in range(3):
        scene.director.awake(2)
        scene.director.endpoints_changed()
        await asyncio.sleep(2)
    assert len(scene.whereabouts.asked) == 1
    scene.whereabouts.known, before = ("198.51.100.2:9",), len(scene.disco.calls)
    scene.whereabouts.fresh = True
    scene.whereabouts.asked[0]()
    await asyncio.sleep(2)
    assert scene.disco.calls[before] == (2, ("198.51.100.2:9",))
    scene.whereabouts.fresh = False
    scene.director.endpoints_changed()
    await asyncio.sleep(2)
    assert len(scene.whereabouts.asked) == 2


@simulated
async def test_endpoints_that_arrive_during_a_search_are_tried_at_once(kit: Any) -> None:
    scene = Scene(kit)
    scene.director.awake(2)
    scene.director.peer_endpoints(2, udp(ENDPOINT))
    assert [endpoint for _, endpoint, _, _ in scene.disco.pings] == [ENDPOINT]


@simulated
async def test_the_path_that_answers_is_attached_and_remembered_first(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1", "192.0.2.2:2")})
    scene.director.awake(2)
    scene.pong()
    scene.pong()
    answer = scene.transport.path("192.0.2.2:2")
    assert scene.attached[2] == (answer,)
    assert scene.director.path(2) is answer
    assert scene.endpoints[2] == udp("192.0.2.2:2", "192.0.2.2:1")
    assert scene.moves == 1
    assert not scene.whereabouts.active


@simulated
async def test_where_a_peer_sees_this_node_is_told_once_and_only_of_what_was_asked(kit: Any) -> None:
    scene = Scene(kit, {2: udp(ENDPOINT)})
    scene.director.awake(2)
    scene.director.ponged(2, scene.transport.path(ENDPOINT), bytes(12), "198.51.100.66:6")
    scene.pong()
    scene.pong(0)
    assert scene.whereabouts.mapped == [SEEN]


@pytest.mark.parametrize("possible", [True, False])
@simulated
async def test_a_peer_that_could_not_be_called_is_not_waited_for(kit: Any, possible: bool) -> None:
    scene = Scene(kit, {2: udp(ENDPOINT)}, relayed=True)
    scene.disco.callable = possible
    scene.director.awake(2)
    knocks = len(scene.disco.pings)
    await asyncio.sleep(1)
    assert (len(scene.disco.pings) > knocks) is not possible


@simulated
async def test_a_call_goes_over_the_relay_and_again_when_this_node_turns_out_to_be_elsewhere(kit: Any) -> None:
    scene = Scene(kit, relayed=True)
    scene.whereabouts.fresh = False
    scene.director.awake(2)
    assert scene.disco.calls == [(2, ("198.51.100.1:7",))]
    (then,) = scene.whereabouts.asked
    scene.whereabouts.known, scene.whereabouts.fresh = ("198.51.100.1:8",), True
    then()
    await asyncio.sleep(1.1)
    assert scene.disco.calls[:2] == [(2, ("198.51.100.1:7",)), (2, ("198.51.100.1:8",))]


@simulated
async def test_nothing_is_called_where_nothing_is_known_of_this_node(kit: Any) -> None:
    scene = Scene(kit, relayed=True)
    scene.whereabouts.known = ()
    scene.director.awake(2)
    assert scene.disco.calls == []


@simulated
async def test_a_peer_that_calls_is_pinged_where_it_says_but_not_in_the_mesh(kit: Any) -> None:
    scene = Scene(kit, relayed=True)
    scene.director.called(2, ("192.0.2.2:1", "127.0.0.1:1"))
    assert [endpoint for _, endpoint, _, _ in scene.disco.pings if "nodekey" not in endpoint] == ["192.0.2.2:1"]


@simulated
async def test_a_peer_without_data_is_put_to_rest(kit: Any) -> None:
    scene = Scene(kit)
    scene.director.awake(2)
    await asyncio.sleep(46)
    assert scene.resting == [2]
    assert not scene.whereabouts.active


@simulated
async def test_an_interest_is_withdrawn_in_time_though_nothing_happens(kit: Any) -> None:
    scene = Scene(kit)
    scene.director.awake(2)
    await asyncio.sleep(44)
    assert scene.declared == [Interest(node=2)]
    await asyncio.sleep(45)
    assert scene.declared == [Interest(node=2), Interest(node=2, wanted=False)]


@simulated
async def test_a_removed_peer_leaves_nothing_behind(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1"), 3: udp("192.0.2.3:1")})
    scene.director.awake(2)
    scene.director.forget([2])
    assert scene.endpoints == {3: udp("192.0.2.3:1")}
    await asyncio.sleep(60)
    assert scene.declared == [Interest(node=2)]


@simulated
async def test_what_a_relay_brings_in_another_nodes_name_is_counted_and_nothing_else(kit: Any) -> None:
    scene = Scene(kit, relayed=True)
    scene.director.awake(2)
    stranger = _relayed(kit.Path("5/nodekey:00", "derp"))
    scene.director.authenticated(2, stranger)
    assert scene.director.misdirected == 1


@simulated
async def test_after_close_events_attach_nothing(kit: Any) -> None:
    scene = Scene(kit)
    scene.director.close()
    scene.director.awake(2)
    assert scene.attached == {}
