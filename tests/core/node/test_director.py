"""Path decisions carried out: paths attached, interests declared, endpoints remembered."""

import asyncio
from collections.abc import Sequence
from typing import Any

from ghostwire import Path
from ghostwire.model import Endpoint, NetworkMap
from ghostwire.node.candidates import Candidates
from ghostwire.node.director import Director, Endpoints
from ghostwire.node.fanout import FanOut
from ghostwire.testing import running_clock, simulated
from ghostwire.wire.messages import Interest

INITIATION = b"\x01\0\0\0first"


class Scene:
    """A director with one transport; ``attached`` holds each peer's paths."""

    def __init__(self, kit: Any, endpoints: dict[int, Endpoints] | None = None) -> None:
        self.transport = kit.Transport()
        self.endpoints: dict[int, Endpoints] = endpoints or {}
        self.declared: list[Interest] = []
        self.moves = 0
        self.attached: dict[int, Sequence[Path]] = {}
        self.director = Director(
            Candidates([self.transport], NetworkMap()),
            self.endpoints,
            running_clock(),
            self.declared.append,
            self.moved,
        )
        self.director.direct(self)  # type: ignore[arg-type]

    def moved(self) -> None:
        self.moves += 1

    def renew(self, peer: int) -> None:
        self.initiate(peer)

    def attach(self, peer: int, paths: Sequence[Path]) -> None:
        self.attached[peer] = paths

    def initiate(self, peer: int) -> None:
        """What a tunnel does: announce, then send over what is attached."""
        self.director.wanted(peer)
        for path in self.attached[peer]:
            path.send([INITIATION])

    def heard(self) -> list[str]:
        return [endpoint for endpoint, path in self.transport.paths.items() if INITIATION in path.sent]


def udp(*texts: str) -> Endpoints:
    return tuple(Endpoint("udp", text) for text in texts)


@simulated
async def test_a_wanted_peer_is_searched_over_what_is_known_and_the_server_is_told(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1", "192.0.2.2:2")})
    scene.initiate(2)
    assert scene.heard() == ["192.0.2.2:1", "192.0.2.2:2"]
    assert scene.declared == [Interest(node=2)]
    assert scene.director.path(2) is None


@simulated
async def test_endpoints_that_arrive_during_a_search_are_tried_at_once(kit: Any) -> None:
    scene = Scene(kit)
    scene.initiate(2)
    scene.director.peer_endpoints(2, udp("192.0.2.2:1"))
    assert scene.heard() == ["192.0.2.2:1"]


@simulated
async def test_the_path_that_answers_replaces_the_search_and_is_remembered_first(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1", "192.0.2.2:2")})
    scene.initiate(2)
    answer = scene.transport.path("192.0.2.2:2")
    scene.director.established(2, answer)
    assert scene.attached[2] == (answer,)
    assert scene.director.path(2) is answer
    assert scene.endpoints[2] == udp("192.0.2.2:2", "192.0.2.2:1")
    assert scene.moves == 1


@simulated
async def test_a_renewal_asks_the_server_nothing_until_it_stays_unanswered(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1")})
    scene.initiate(2)
    scene.director.established(2, scene.transport.path("192.0.2.2:1"))
    await asyncio.sleep(120)
    scene.declared.clear()
    scene.initiate(2)
    assert scene.declared == []
    assert not isinstance(scene.attached[2][0], FanOut)
    await asyncio.sleep(5)
    scene.initiate(2)
    assert scene.declared == [Interest(node=2)]
    assert isinstance(scene.attached[2][0], FanOut)


@simulated
async def test_an_interest_is_withdrawn_in_time_though_nothing_happens(kit: Any) -> None:
    scene = Scene(kit)
    scene.initiate(2)
    await asyncio.sleep(44)
    assert scene.declared == [Interest(node=2)]
    await asyncio.sleep(2)
    assert scene.declared == [Interest(node=2), Interest(node=2, wanted=False)]


@simulated
async def test_what_the_server_knows_newest_does_not_displace_the_path_that_works(kit: Any) -> None:
    scene = Scene(kit)
    scene.director.authenticated(2, scene.transport.path("198.51.100.1:7"))
    scene.director.peer_endpoints(2, udp("192.0.2.2:1"))
    assert scene.endpoints[2] == udp("198.51.100.1:7", "192.0.2.2:1")


@simulated
async def test_a_removed_peer_leaves_nothing_behind(kit: Any) -> None:
    scene = Scene(kit, {2: udp("192.0.2.2:1"), 3: udp("192.0.2.3:1")})
    scene.initiate(2)
    scene.director.forget([2])
    assert scene.endpoints == {3: udp("192.0.2.3:1")}
    await asyncio.sleep(60)
    assert scene.declared == [Interest(node=2)]


@simulated
async def test_after_close_events_attach_nothing(kit: Any) -> None:
    scene = Scene(kit)
    scene.director.close()
    scene.director.wanted(2)
    assert scene.attached == {}
