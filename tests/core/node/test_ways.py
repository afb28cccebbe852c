"""What a node tells of the ways to its peers: in its status, after an echo, and when asked to explain."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ghostwire import Path, PeerStats, relay_endpoint
from ghostwire.errors import NotFound, Unavailable, UsageError
from ghostwire.keys import NodeKey
from ghostwire.model import MapRelay, NetworkMap, to_json
from ghostwire.node.dataplane import Dataplane
from ghostwire.node.node import Node
from ghostwire.node.paths.report import CandidateReport, PathsReport
from ghostwire.node.relays import Relays
from ghostwire.node.routes import routes
from ghostwire.node.status import name_relays
from ghostwire.testing import simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh

NORTH = MapRelay(id=4, region=900, region_name="north", name="north-1", host="r.example", port=443)
SEARCHING = PathsReport(peer=2, name="node2", state="searching", why="a packet waits", using=("udp 192.0.2.2:7",))
LOST = PathsReport(peer=2, name="node2", state="searching", why="the server has not told where it is")


class Explaining:
    """Stands in for the path choice of every dataplane."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.report, self.asked = SEARCHING, list[int]()
        monkeypatch.setattr(Dataplane, "explain", lambda plane, peer: self._explain(peer))

    def _explain(self, peer: int) -> PathsReport:
        self.asked.append(peer)
        return self.report


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> Explaining:
    return Explaining(monkeypatch)


def hear(rig: Any, path: Path) -> None:
    """The tunnel heard peer 2 last over this path."""
    rig.tunnel.stats = lambda: [PeerStats(3, 0, 0, 0, None), PeerStats(2, 0, 0, 0, None, heard_over=path)]


# Asked to explain


@simulated
async def test_a_peers_paths_are_explained_by_its_name_and_by_its_addresses(kit: Any, choice: Explaining) -> None:
    node = await kit.rig().joined()
    post = routes(node)["POST", "/v1/paths"]
    for target in ("node2", "Node2.mesh.local", "100.64.0.2", "fd00:1:2::6440:2"):
        answer = await post(msgspec.json.encode({"target": target}))
        assert msgspec.json.decode(to_json(answer), type=PathsReport) == SEARCHING
    assert choice.asked == [2] * 4
    await node.close()


@simulated
async def test_nobody_and_oneself_have_no_paths(kit: Any, choice: Explaining) -> None:
    node: Node = await kit.rig().joined()
    with pytest.raises(NotFound, match="no node named ghost is in the mesh"):
        node.paths("ghost")
    with pytest.raises(UsageError, match="node1 is this node itself"):
        node.paths("node1")
    assert choice.asked == []
    await node.close()


@simulated
async def test_a_node_that_is_down_has_no_paths(kit: Any) -> None:
    node: Node = await kit.rig().joined()
    await node.down()
    with pytest.raises(Unavailable, match="the node is not up; run: gwctl up"):
        node.paths("node2")
    await node.close()


def test_relayed_candidates_are_named_by_region_and_relay_the_others_left_alone() -> None:
    network = NetworkMap()
    network.relays = {NORTH.id: NORTH}
    fields: dict[str, Any] = {"learned": "map", "state": "connected"}
    key = NodeKey(bytes([2] * 32))
    derp = CandidateReport(transport="derp", endpoint=relay_endpoint(900, key), relayed=True, **fields)
    udp = CandidateReport(transport="udp", endpoint="192.0.2.2:7", relayed=False, **fields)
    report = msgspec.structs.replace(SEARCHING, candidates=(udp, derp))
    named = name_relays(report, Relays(network, None))
    assert named.candidates[0] == udp
    assert (named.candidates[1].region, named.candidates[1].relay) == ("north", "north-1")


# After an echo


@simulated
async def test_an_answer_is_shown_with_the_path_over_which_the_peer_was_heard(kit: Any) -> None:
    rig = kit.rig()
    node: Node = await rig.joined()
    hear(rig, rig.transports[0].path("192.0.2.2:7"))
    answer = await node.ping("node2")
    assert answer.path is not None
    assert (answer.path.transport, answer.path.endpoint, answer.path.relayed) == ("udp", "192.0.2.2:7", False)
    await node.close()


@simulated
async def test_an_echo_without_an_answer_says_what_path_choice_knows(kit: Any, choice: Explaining) -> None:
    rig = kit.rig()

    async def silence(address: str, timeout: float) -> float:
        raise Unavailable(f"{address}: no answer")

    rig.overrides["echo"] = silence
    node: Node = await rig.joined()
    with pytest.raises(Unavailable, match=r"^100\.64\.0\.2: no answer; searching: a packet waits$"):
        await node.ping("node2")
    choice.report = msgspec.structs.replace(choice.report, state="direct", why="it answers")
    with pytest.raises(Unavailable, match=r"; direct: it answers; as the path works, perhaps the policy there lets no"):
        await node.ping("node2")
    choice.report = LOST
    with pytest.raises(Unavailable, match=r"^no path to node2: the server has not told where it is$"):
        await node.ping("node2")
    with pytest.raises(Unavailable, match=r"^100\.64\.0\.1: no answer$"):
        await node.ping("node1")
    await node.close()


# In its status


@simulated
async def test_each_peers_latency_is_shown_where_it_is_known(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dataplane, "latency", lambda plane, peer: {2: 3.14}.get(peer))
    node: Node = await kit.rig().joined()
    assert [(peer.id, peer.latency_ms) for peer in node.status().peers] == [(2, 3.14), (3, None)]
    await node.close()


# In a mesh


@simulated
async def test_what_is_told_of_a_way_is_the_way_that_packets_go() -> None:
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.until(lambda: all(map(_at_home, (alice, bob))), "both should be at a relay", timeout=200)
        relayed = (await alice.node.ping("bob")).path
        assert relayed is not None
        assert (relayed.transport, relayed.region, relayed.relay) == ("derp", "home", "embedded")
        await mesh.until(lambda: alice.node.paths("bob").state == "direct", "there should be a direct path")
        direct = (await alice.node.ping("bob")).path
        assert direct is not None
        assert direct == alice.peer("bob").path
        report = alice.node.paths("bob")
        assert (report.name, report.state) == ("bob", "direct")
        assert (alice.peer("bob").state, alice.peer("bob").latency_ms) == ("direct", report.latency_ms)
        assert report.using == (f"{direct.transport} {direct.endpoint}",)
        assert {(each.state, each.region) for each in report.candidates if each.relayed} == {("connected", "home")}


def _at_home(node: MemoryNode) -> bool:
    home = node.status.home
    return home is not None and home.connected
