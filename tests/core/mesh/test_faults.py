"""One transport does something wrong, and the tunnel goes on over another.

    what it does                            what a user sees                                    state
    raises in create, start                 trouble, and other attempts; peers by another way   failed, then running
    hangs in start                          the same after 10 s; up waits no longer than 3 s    failed
    raises in send, knock                   counted; too often: another one is started          restarting
    raises in path, endpoints               counted: no peer is reached over it                 running
    raises in its own task                  counted and told; asyncio's handler has it          running
    hangs or raises in close                down takes 3 s longer                               -
    floods, delivers garbage                refused and counted; one line, not one each         running
    advertises nonsense                     left out and counted                                running
    says that it failed                     another one after 1 s, 2 s ... 60 s                 restarting
    fails at every second start             the same                                            restarting, running
    answers disco and drops data            path choice leaves it, whatever its rank            running

Everything is in `gwctl status`, in the metrics ``ghostwire_node_transport_NAME_{restarts,raised,refused}_total`` and
in the log.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ghostwire import BURST, Buffer, Provider, Receive, TransportContext
from ghostwire.node.transports.report import TransportStatus
from ghostwire.testing import MemoryPath, MemoryTransport, simulated
from ghostwire.testing.members import BARE, MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.pulse import Pulse
from ghostwire.testing.trace import describe

NAME = "stranger"
PORT = 4_433
SWITCH = 2.5
"""Seconds that the way to another transport may take."""


class Stranger(MemoryTransport):
    """A transport of a third party: sound, until a fault is put into it."""

    def __init__(self, context: TransportContext, host: Any) -> None:
        super().__init__(host, PORT, name=NAME)
        self.context = context
        self.told: Receive = lambda source, datagrams: None

    async def start(self, receive: Receive) -> None:
        self.told = receive
        await super().start(receive)

    def path(self, endpoint: str) -> MemoryPath:
        found = super().path(endpoint)
        return StrangePath(self, found._target)


class StrangePath(MemoryPath):
    """Asks its transport, in which there may be a fault."""


@dataclass
class Scene:
    """Two nodes with a stream of requests; both have the stranger, which ``fault`` may have changed."""

    mesh: MemoryMesh
    alice: MemoryNode
    bob: MemoryNode
    pulse: Pulse
    strangers: list[Stranger]

    def status(self, node: MemoryNode | None = None) -> TransportStatus:
        return next(each for each in (node or self.alice).status.transports if each.name == NAME)

    def count(self, what: str) -> float:
        return self.alice.status.counters[f"ghostwire_node_transport_{NAME}_{what}_total"]

    @property
    def mine(self) -> Stranger:
        """Alice's, the newest."""
        return [each for each in self.strangers if each._host is self.alice.host][-1]


Fault = Callable[[Stranger], object]


@asynccontextmanager
async def talking(fault: Fault = lambda stranger: None, *, rank: int = -1) -> AsyncIterator[Scene]:
    strangers: list[Stranger] = []

    async with MemoryMesh() as mesh:
        nodes: list[MemoryNode] = []
        for name in ("alice", "bob"):
            nodes.append(await add(mesh, name, strangers, fault, rank))
        await mesh.converged()
        await nodes[0].reach(nodes[1], timeout=30)
        async with Pulse(*nodes) as pulse:
            await asyncio.sleep(5)
            yield Scene(mesh, nodes[0], nodes[1], pulse, strangers)


async def add(mesh: MemoryMesh, name: str, strangers: list[Stranger], fault: Fault, rank: int) -> MemoryNode:
    """A machine whose daemon has one transport more."""
    node = await mesh.add(name)
    await node.stop()

    def create(context: TransportContext) -> Stranger:
        stranger = Stranger(context, node.host)
        strangers.append(stranger)
        fault(stranger)
        return stranger

    node._transports = [Provider[Any](NAME, create, rank)]
    await node.start()
    await node.node.up(await mesh.server.token())
    return node


def boom(*args: object, **options: object) -> Any:
    raise RuntimeError("boom")


async def hang(*args: object) -> None:
    await asyncio.Event().wait()


def replacing(method: str, by: Callable[..., Any]) -> Fault:
    return lambda stranger: setattr(stranger, method, by)


async def settled(scene: Scene, since: float) -> None:
    """The stream goes on over the other transport, and nothing was interrupted for long."""
    await asyncio.sleep(20)
    assert scene.pulse.gap(since) < SWITCH
    assert scene.pulse.gap(asyncio.get_running_loop().time() - 10) < 0.3


def now() -> float:
    return asyncio.get_running_loop().time()


# From the start


@pytest.mark.parametrize("rank", [-1, 10], ids=["better", "worse"])
@pytest.mark.parametrize(
    ("method", "by", "trouble"),
    [
        ("start", boom, "start raised RuntimeError: boom"),
        ("start", hang, "start did not return within 10 s"),
    ],
    ids=["raises in start", "hangs in start"],
)
@simulated
async def test_one_that_cannot_start_costs_only_itself(
    method: str, by: Callable[..., Any], trouble: str, rank: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(replacing(method, by), rank=rank) as scene:
        await asyncio.sleep(20)
        await settled(scene, now())
        status = scene.status()
        assert trouble in status.trouble
        assert status.restarts == scene.count("restarts") > 0
        assert scene.alice.via(scene.bob) == BARE
        assert trouble in caplog.text


@simulated
async def test_one_that_cannot_be_made_is_made_later() -> None:
    async with talking(lambda stranger: boom() if now() < 30 else None) as scene:
        assert scene.status().state == "failed"
        assert "create raised RuntimeError: boom" in scene.status().trouble
        await scene.mesh.until(lambda: scene.status().state == "running", "the stranger should run", timeout=90)
        await scene.mesh.until(lambda: scene.alice.via(scene.bob) == NAME, "the better one is used", timeout=90)


@simulated
async def test_with_none_that_can_start_up_fails_and_says_why() -> None:
    async with MemoryMesh() as mesh:
        node = await mesh.add("alice")
        await node.stop()
        node.host.bind(41641, lambda source, burst: None)
        await node.start()
        with pytest.raises(Exception, match="41641"):
            await node.node.up(await mesh.server.token())
        assert node.status.transports == ()


@simulated
async def test_up_does_not_wait_for_one_that_hangs_where_another_runs() -> None:
    async with MemoryMesh() as mesh:
        began = now()
        node = await add(mesh, "alice", [], replacing("start", hang), 10)
        assert now() - began < 5
        assert [each.state for each in node.status.transports] == ["running", "starting"]


# While it carries the stream


@simulated
async def test_peers_learn_where_one_that_was_started_again_is_found() -> None:
    ports = itertools.count(PORT)
    async with talking(lambda stranger: setattr(stranger, "_number", next(ports))) as scene:
        began, old = now(), scene.mine._number
        fails(scene.mine)
        await scene.mesh.until(lambda: scene.mine._number != old, "another one should be made")

        def found() -> bool:
            path = scene.bob.peer("alice").path
            return path is not None and path.endpoint.endswith(f":{scene.mine._number}")

        await scene.mesh.until(found, "bob should use the new port", timeout=90)
        assert scene.pulse.gap(began) < SWITCH


def fails(stranger: Stranger) -> None:
    stranger.context.failed("the modem hung up")


def raises_in_send(stranger: Stranger) -> None:
    stranger.send = boom  # type: ignore[method-assign]


def raises_everywhere(stranger: Stranger) -> None:
    async def close() -> None:
        await MemoryTransport.close(stranger)
        boom()

    stranger.send = stranger.endpoints = stranger.path = boom  # type: ignore[method-assign, assignment]
    stranger.close = close  # type: ignore[method-assign]


def goes_silent(stranger: Stranger) -> None:
    stranger.send = lambda *args, **options: True  # type: ignore[method-assign]
    stranger.told = lambda source, datagrams: None


@pytest.mark.parametrize(
    ("fault", "trouble", "counter"),
    [
        (fails, "the modem hung up", "restarts"),
        (raises_in_send, "in send: RuntimeError: boom", "raised"),
        (raises_everywhere, "RuntimeError: boom", "raised"),
        (goes_silent, "", ""),
    ],
    ids=["fails", "raises in send", "raises everywhere", "goes silent"],
)
@simulated
async def test_one_that_breaks_while_it_carries_the_stream(
    fault: Fault, trouble: str, counter: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking() as scene:
        assert scene.alice.via(scene.bob) == NAME
        began = now()
        fault(scene.mine)
        await settled(scene, began)
        assert trouble in scene.status().trouble
        assert trouble in caplog.text
        assert not counter or scene.count(counter) > 0


@simulated
async def test_its_own_task_that_raises_is_told_as_its_own() -> None:
    async with talking() as scene:

        async def reader() -> None:
            raise RuntimeError("its reader died")

        asyncio.get_running_loop().create_task(reader())
        await asyncio.sleep(1)
        gc.collect()
        await asyncio.sleep(1)
        trouble = scene.status().trouble
        assert re.fullmatch(r"raised in its own task: RuntimeError: its reader died \(test_faults\.py:\d+\)", trouble)
        assert scene.count("raised") == 1
        await settled(scene, now())


def flood(stranger: Stranger) -> None:
    """As much as it can, at every pass of the loop, for two seconds."""
    source, loop = stranger.path("192.0.2.99:9"), asyncio.get_running_loop()
    end = loop.time() + 2

    def again() -> None:
        for _ in range(BURST * 2):
            stranger.told(source, [b"\x04\0\0\0" + bytes(60)] * BURST)
        if loop.time() < end:
            loop.call_later(0.2, again)

    again()


def garbage(stranger: Stranger) -> None:
    source: Any = stranger.path("192.0.2.99:9")
    for delivery in ([], [b""], [bytes(70_000)], ["text", None], None, [b"x"] * 1_000):
        stranger.told(source, delivery)  # type: ignore[arg-type]
    stranger.told("nowhere", [b"x"])  # type: ignore[arg-type]


def nonsense(stranger: Stranger) -> None:
    stranger.endpoints = lambda: ["x" * 5_000, "\ud800", 5, *(f"192.0.2.{n}:1" for n in range(100))]  # type: ignore[method-assign, assignment, list-item]


@pytest.mark.parametrize("fault", [flood, garbage, nonsense])
@simulated
async def test_what_it_brings_too_much_or_badly_is_refused(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    async with talking() as scene:
        began = now()
        fault(scene.mine)
        scene.alice.node._plane.endpoints()  # type: ignore[union-attr]
        await settled(scene, began)
        assert (scene.status().state, scene.alice.via(scene.bob)) == ("running", NAME)
        assert scene.count("refused") > 0
        assert len([record for record in caplog.records if NAME in record.getMessage()]) < 10


@simulated
async def test_one_that_flaps_is_used_while_it_runs_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[Stranger] = []

    def every_second(stranger: Stranger) -> None:
        starts.append(stranger)
        if len(starts) % 2 == 0 and len(starts) > 2:
            stranger.start = boom  # type: ignore[method-assign]
        else:
            asyncio.get_running_loop().call_later(20, stranger.context.failed, "lost its line")

    async with talking(every_second) as scene:
        began = now()
        await asyncio.sleep(120)
        assert scene.pulse.gap(began) < SWITCH
        assert scene.status().restarts > 2
        assert len([record for record in caplog.records if NAME in record.getMessage()]) < 40


@pytest.mark.parametrize("by", [hang, boom], ids=["hangs", "raises"])
@simulated
async def test_a_close_that_never_ends_ends(by: Callable[..., Any]) -> None:
    async with talking(replacing("close", by)) as scene:
        began = now()
        await scene.alice.node.down()
        assert now() - began < 5
        assert scene.alice.status.transports == ()
        for stranger in scene.strangers:
            await MemoryTransport.close(stranger)


# Hostile


def lies(stranger: Stranger) -> None:
    honest = stranger.send

    def send(target: Any, datagrams: Sequence[Buffer], *options: Any) -> bool:
        passing = [each for each in datagrams if describe(bytes(each)) not in ("data", "keepalive", "initiation")]
        return honest(target, passing, *options) if passing else True

    stranger.send = send  # type: ignore[method-assign]


@pytest.mark.parametrize("rank", [-1, 10], ids=["better", "worse"])
@simulated
async def test_one_that_answers_disco_and_drops_data_does_not_hold_the_path(rank: int) -> None:
    async with talking(rank=rank) as scene:
        began = now()
        for stranger in scene.strangers:
            lies(stranger)
        await asyncio.sleep(120)
        assert scene.pulse.gap(began) < 2 * SWITCH
        assert scene.pulse.lost < 0.1 * scene.pulse.asked
        assert scene.pulse.gap(now() - 20) < SWITCH
