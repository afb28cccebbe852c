"""What a node does with relay transports: who logs in, what they are told, which paths go over them."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire import (
    Identity,
    Metrics,
    Path,
    RelayTransport,
    TransportContext,
    parse_relay_endpoint,
    relay_endpoint,
)
from ghostwire.errors import Refused
from ghostwire.keys import NodeKey, PrivateKey, RelayKey
from ghostwire.model import Endpoint, MapChange, MapRelay, NetworkMap
from ghostwire.node.candidates import Candidates
from ghostwire.node.relays import Relays
from ghostwire.node.status import path_status, region_of
from ghostwire.node.transports.keeper import Keeper, Origin
from ghostwire.node.transports.supervised import supervise
from ghostwire.testing import running_clock, simulated
from ghostwire.wire.messages import HomeRelay, Report

FRA1 = MapRelay(id=1, name="fra1", region=5, region_name="fra", host="192.0.2.50", stun_port=0)
FRA2 = MapRelay(id=2, name="fra2", region=5, region_name="fra", host="192.0.2.51", stun_port=0)
NYC = MapRelay(id=3, name="nyc1", region=6, region_name="nyc", host="192.0.2.60", stun_port=0)


class FakeRelay(RelayTransport):
    """Remembers what it was told; its paths to one peer are equal whatever home they name."""

    def __init__(self, kit: Any, name: str = "derp") -> None:
        self._kit, self.name = kit, name
        self.told: list[tuple[list[int], int | None, int | None]] = []
        self.made: list[Any] = []
        self.here: set[int] = set()
        self.connections: dict[int, int] = {}

    async def start(self, receive: Any) -> None:
        self.receive = receive

    def endpoints(self) -> Sequence[str]:
        return ()

    def path(self, endpoint: str) -> Any:
        found = self._kit.Path(endpoint, self.name)
        found.relayed = True
        self.made.append(found)
        return found

    def use(self, relays: Sequence[MapRelay], home: int | None, assigned: int | None) -> None:
        self.told.append(([relay.id for relay in relays], home, assigned))

    def links_changed(self) -> None:
        pass

    def connected(self, region: int) -> bool:
        return region in self.here

    def at(self, region: int) -> int | None:
        return self.connections.get(region)

    def heard(self, region: int) -> int | None:
        return None

    async def close(self) -> None:
        pass


@pytest.fixture
def relay(kit: Any) -> FakeRelay:
    return FakeRelay(kit)


def mapped(kit: Any, *relays: MapRelay, home: int | None = 5) -> NetworkMap:
    """A map with peer 2."""
    network = NetworkMap()
    network.nodes[2] = kit.map_node(2, home=home)
    network.relays = {each.id: each for each in relays}
    return network


# Who logs in


@simulated
async def test_the_transport_named_derp_alone_gets_an_identity_and_that_is_no_oracle(kit: Any) -> None:
    rig = kit.rig()
    rig.transports = [kit.Transport("udp"), FakeRelay(kit, "derp"), FakeRelay(kit, "another")]
    node = await rig.joined()
    contexts = rig.contexts
    assert all(isinstance(context, TransportContext) for context in contexts)
    held = [getattr(context, name) for context in contexts for name in type(context).__struct_fields__]
    assert not any(isinstance(each, PrivateKey) for each in held)
    plain, identity, another = (context.identity for context in contexts)
    assert (plain, another) == (None, None)
    assert isinstance(identity, Identity)
    foreign = [NodeKey(bytes([2] * 32)).raw, kit.CONTROL_KEY.raw, identity.node_key.raw]
    for key in foreign:
        with pytest.raises(Refused):
            identity.derp_login(RelayKey(key))
    relay_key = PrivateKey.generate().public(RelayKey)
    assert identity.derp_login(relay_key)[:32] == identity.node_key.raw
    await node.close()


# What relay transports are told


def test_transports_are_told_what_is_news_alone(kit: Any, relay: FakeRelay) -> None:
    network = mapped(kit, FRA1)
    relays = Relays(network, None)
    relays.carried_by(relay)
    relays.update()
    relays.move(5)
    relays.move(5)
    relays.assign(5, 1)
    relays.assign(6, 3)
    network.relays[3] = NYC
    assert relays.update()
    assert not relays.update()
    assert relay.told == [([1], None, None), ([1], 5, None), ([1], 5, 1), ([1], 5, None), ([1, 3], 5, None)]


def test_an_assignment_counts_only_in_the_home_region_and_for_a_relay_that_is_there(kit: Any, relay: FakeRelay) -> None:
    relays = Relays(mapped(kit, FRA1, NYC), 5)
    relays.carried_by(relay)
    for region, number in ((6, 3), (5, 3), (5, 99)):
        relays.assign(region, number)
        assert relays.relay is None
    relays.assign(5, 1)
    assert relays.relay == FRA1
    relays.move(6)
    assert relays.relay is None


def test_a_home_needs_a_region_that_exists_and_a_transport(kit: Any, relay: FakeRelay) -> None:
    network = mapped(kit, FRA1)
    relays = Relays(network, 5)
    assert relays.home is None
    relays.carried_by(relay)
    assert relays.home == 5
    network.relays.clear()
    assert relays.home is None


@simulated
async def test_map_and_assignment_reach_the_transport_of_a_running_node(kit: Any) -> None:
    rig, relay = kit.rig(overrides={"sockets": kit.NoWayOut()}), FakeRelay(kit)
    rig.transports.append(relay)
    rig.server.answer = lambda hello: (kit.welcome(hello), _with_relays(kit.full_map(hello), FRA1, FRA2))
    node = await rig.joined()
    await asyncio.sleep(10)  # nothing answers STUN or HTTPS here: a home is drawn
    assert relay.told[-1] == ([1, 2], 5, None)
    assert rig.server.channel.heard(Report)[-1].home == 5
    rig.server.channel.say(HomeRelay(region=5, relay=2))
    await asyncio.sleep(1)
    assert relay.told[-1] == ([1, 2], 5, 2)
    relay.here.add(5)
    home = node.status().home
    assert home is not None
    assert (home.region, home.name, home.relay, home.connected) == (5, "fra", "fra2", True)
    await node.close()


def _with_relays(change: MapChange, *relays: MapRelay) -> MapChange:
    return MapChange(
        cursor=change.cursor, full=True, nodes=change.nodes, rules=change.rules, sets=change.sets, relays=relays
    )


# Which paths go over relays


def test_every_peer_is_reached_at_its_home(kit: Any, relay: FakeRelay) -> None:
    candidates = Candidates([kit.Transport(), relay], mapped(kit, FRA1), "udp")
    found = candidates.relayed(2)
    key = NodeKey(bytes([2] * 32))
    assert found is not None
    assert found.endpoint == f"5/{key}"
    assert relay_endpoint(5, key) == f"5/{key}"
    assert candidates.refused == 0


def test_a_peer_whose_home_is_not_known_is_in_region_0_and_without_relays_none_is(kit: Any, relay: FakeRelay) -> None:
    path = Candidates([relay], mapped(kit, FRA1, home=None), "udp").relayed(2)
    assert path is not None
    assert path.endpoint.startswith("0/nodekey:")
    assert Candidates([relay], mapped(kit), "udp").relayed(2) is None
    assert Candidates([kit.Transport()], mapped(kit, FRA1), "udp").relayed(2) is None
    assert Candidates([relay], mapped(kit, FRA1), "udp").relayed(99) is None


def test_a_peer_cannot_say_where_relays_find_it(kit: Any, relay: FakeRelay) -> None:
    candidates = Candidates([relay], mapped(kit, FRA1), "udp")
    assert candidates.paths([Endpoint("derp", f"6/{NodeKey(bytes(32))}")]) == ()


@simulated
async def test_a_relay_transport_that_runs_comes_before_one_that_does_not(kit: Any, relay: FakeRelay) -> None:
    made: Any = lambda metrics, failed: FakeRelay(kit, "away")  # noqa: E731
    away = supervise(Keeper(Origin("away"), made, Metrics(), running_clock(), logging.getLogger("ghostwire.node")))
    candidates = Candidates([away, relay], mapped(kit, FRA1), "udp")

    def transport() -> str:
        found = candidates.relayed(2)
        return found.transport if found is not None else ""

    assert transport() == "derp"
    assert Candidates([away], mapped(kit, FRA1), "udp").relayed(2) is not None  # it may run again
    await away.start(lambda source, datagrams: None)
    assert transport() == "away"
    for path in ("raises", "makes no sense"):
        away.keeper.transport.path = lambda text, path=path: 1 / 0 if path == "raises" else path  # type: ignore[union-attr, assignment, misc]
        away.keeper.table.recent.clear()
        assert transport() == "derp"
    await away.close()


def test_what_a_relay_brings_in_another_nodes_name_leads_nowhere(kit: Any, relay: FakeRelay) -> None:
    candidates = Candidates([kit.Transport(), relay], mapped(kit, FRA1), "udp")
    own = relay.path(f"6/{NodeKey(bytes([2] * 32))}")
    source = candidates.source(2, own)
    assert source is not None
    assert source.endpoint.startswith("5/")
    assert candidates.source(2, relay.path(f"6/{NodeKey(bytes([3] * 32))}")) is None


# What people see


def test_a_relayed_paths_region_and_relay_have_names(kit: Any, relay: FakeRelay) -> None:
    relays = Relays(mapped(kit, FRA1, FRA2, NYC), 5)
    relays.carried_by(relay)
    path: Path = relay.path(f"6/{NodeKey(bytes([2] * 32))}")
    shown = path_status(path, relays)
    assert shown is not None
    assert (shown.relayed, shown.region, shown.relay) == (True, "nyc", "nyc1")
    assert relays.relay_name(5) == ""  # one of two, not known which
    relays.assign(5, 2)
    assert relays.relay_name(5) == "fra2"
    relay.connections[5] = 1
    assert relays.relay_name(5) == "fra1"  # not moved there yet
    relay.connections[5] = 99
    assert relays.relay_name(5) == "fra2"  # connected to one that the map no longer has


@pytest.mark.parametrize(("home", "region"), [(5, 5), (0, None)])
def test_the_region_is_read_from_an_endpoint(home: int, region: int | None) -> None:
    key = NodeKey(bytes([2] * 32))
    assert parse_relay_endpoint(relay_endpoint(home, key)) == (home, key)
    assert region_of(relay_endpoint(home, key)) == region


def test_what_is_no_relays_endpoint_has_no_region() -> None:
    with pytest.raises(ValueError, match="REGION/nodekey:HEX expected"):
        parse_relay_endpoint("5/nodekey:00")
    assert region_of("192.0.2.1:41641") is None
