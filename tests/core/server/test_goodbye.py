"""A thousand nodes that lose their server at once come back one after another, whether it said goodbye or died."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ghostwire.errors import Unavailable
from ghostwire.server.nodes import sessions
from ghostwire.testing import SeededEntropy, running_clock, simulated
from ghostwire.uplink.control import Control
from ghostwire.wire.messages import Refused

NODES = 1000


class Welcome:
    """What lets a node in."""


class Channel:
    """To a server that is there until it says goodbye, or dies (None)."""

    def __init__(self, goodbye: asyncio.Future[Refused | None]) -> None:
        self._goodbye, self._welcomed = goodbye, False

    def send(self, message: Any) -> bool:
        return True

    async def receive(self) -> Any:
        if not self._welcomed:
            self._welcomed = True
            return Welcome()
        refused = await asyncio.shield(self._goodbye)
        if refused is None:
            raise Unavailable("the server is gone")
        return refused

    def prove(self, key: object) -> bytes:
        return b""

    async def close(self) -> None:
        """Nothing to close."""


class Node:
    """Its control session, and when it tried to connect (seconds)."""

    def __init__(self, number: int, connect: Callable[["Node"], Awaitable[Channel]]) -> None:
        self.control = Control(lambda: connect(self), self, Welcome, running_clock(), SeededEntropy(number))
        self.attempts: list[float] = []

    def hello(self, channel: object) -> object:
        return None

    def welcomed(self, welcome: object) -> None:
        """It is in."""

    received = refused = failed = welcomed


async def comes_back(goodbyes: list[Refused | None], away: float) -> Counter[int]:
    """In which second after the server's return how many nodes try to connect; it is ``away`` for so long."""
    loop = asyncio.get_running_loop()
    words: list[asyncio.Future[Refused | None]] = [loop.create_future() for _ in goodbyes]
    left, back = 0.0, 0.0

    async def connect(node: Node) -> Channel:
        node.attempts.append(loop.time())
        if left and loop.time() < back:
            raise Unavailable("connection refused")
        word = loop.create_future() if left else words[nodes.index(node)]
        return Channel(word)

    nodes: list[Node] = []
    for number in range(len(goodbyes)):
        nodes.append(Node(number, connect))
        nodes[-1].control.start()
    await asyncio.sleep(100)
    left = loop.time()
    back = left + away
    for word, goodbye in zip(words, goodbyes, strict=True):
        word.set_result(goodbye)
    await asyncio.sleep(away + 61)
    assert all(node.control.connected for node in nodes)
    tried = Counter(int(node.attempts[-1] - back) for node in nodes)
    for node in nodes:
        await node.control.close()
    return tried


@simulated
async def test_a_goodbye_sends_nodes_away_for_longer_the_more_there_are(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BACK", 10)
    async with serve() as rig:
        clients = await rig.clients(30)
        rig.plane.hang_up()
        await rig.settle()
        said = [client.stream.of(Refused)[-1] for client in clients]
    assert {each.code for each in said} == {"busy"}
    assert Counter(each.retry_after for each in said) == {1: 10, 2: 10, 3: 10}


@simulated
async def test_a_thousand_nodes_whom_the_server_sent_away_come_back_evenly() -> None:
    goodbyes = [
        Refused(code="busy", message="the server is shutting down", retry_after=1 + n // 500) for n in range(NODES)
    ]
    tried = await comes_back(goodbyes, 0.5)
    assert set(tried) == {0, 1, 2}
    assert max(tried.values()) < 0.6 * NODES


@pytest.mark.parametrize(("away", "most"), [(3, 0.4), (30, 0.1)], ids=["three seconds", "half a minute"])
@simulated
async def test_a_thousand_nodes_whose_server_died_come_back_apart(away: int, most: float) -> None:
    tried = await comes_back([None] * NODES, away)
    assert max(tried.values()) < most * NODES
