"""The transport over relays does something wrong: it costs only itself, comes back, and is told where it is at home.

    what it does                             what a user sees                                   state
    raises in create, start; hangs in start  trouble, and other attempts                        failed, then running
    raises in use, watch                     counted; it is told again at the next change       running
    raises in connected, at, heard           counted; its home counts as not connected          running
    raises in send, path, links_changed      counted; too often: another one is started         restarting
    says that it failed                      another one, which is told all that was said       restarting
    hangs or raises in close                 the next one begins 3 s later; down takes as long  restarting
    floods, delivers garbage                 refused and counted; one line, not one each        running

Direct paths go on whatever it does; where there are none, what it carried goes on when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from ghostwire import BURST, TransportContext, relay_endpoint
from ghostwire.keys import NodeKey
from ghostwire.node.transports.report import TransportStatus
from ghostwire.testing import Link, simulated
from ghostwire.testing.members import BARE, MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.pulse import Pulse

NAME = "derp"
BACK = 6.0
"""Seconds without anything where a relay transport that fails is the only one."""

Fault = Callable[[Any], object]


@dataclass
class Scene:
    """Two nodes at home at a relay; ``made`` are the relay transports of alice, the newest last."""

    mesh: MemoryMesh
    alice: MemoryNode
    bob: MemoryNode
    made: list[Any]

    def status(self) -> TransportStatus:
        return next(each for each in self.alice.status.transports if each.name == NAME)

    def count(self, what: str) -> float:
        return self.alice.status.counters[f"ghostwire_node_transport_{NAME}_{what}_total"]

    async def back(self) -> None:
        """Wait until it runs again and is at home."""
        await self.mesh.until(lambda: self.status().state == "running" and bool(self.alice.home), "it is back")


@asynccontextmanager
async def meeting(fault: Fault = lambda transport: None, *, blocked: bool = False) -> AsyncIterator[Scene]:
    """``fault`` is put into every relay transport of alice; with ``blocked`` only streams pass between machines."""
    async with MemoryMesh(relaying=True) as mesh:
        alice, bob = [await mesh.add(name) for name in ("alice", "bob")]
        for node in (alice, bob) if blocked else ():
            for host in mesh.network.hosts.values():
                if host is not node.host:
                    mesh.network.link(node.host, host, Link(datagrams=False))
        made: list[Any] = []
        await tamper(alice, made, fault)
        for node in (alice, bob):
            await node.node.up(await mesh.server.token())
        await mesh.converged()
        yield Scene(mesh, alice, bob, made)


async def tamper(node: MemoryNode, made: list[Any], fault: Fault) -> None:
    """Start its daemon with faults in its relay transports, each of which keeps its context."""
    (honest,) = node._transports

    def create(context: TransportContext) -> Any:
        transport = honest.create(context)
        transport.failed = context.failed
        fault(transport)
        made.append(transport)
        return transport

    await node.stop()
    node._transports = [msgspec.structs.replace(honest, create=create)]
    await node.start()


def boom(*args: object) -> Any:
    raise RuntimeError("boom")


async def hang(*args: object) -> None:
    await asyncio.Event().wait()


def replacing(*methods: str, by: Callable[..., Any] = boom) -> Fault:
    def fault(transport: Any) -> None:
        for method in methods:
            setattr(transport, method, by)

    return fault


def now() -> float:
    return asyncio.get_running_loop().time()


# From the start

BROKEN = 40.0
"""Until then what it does from the start goes wrong."""


def at_first(fault: Fault) -> Fault:
    return lambda transport: fault(transport) if now() < BROKEN else None


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (replacing("start"), "start raised RuntimeError: boom"),
        (replacing("start", by=hang), "start did not return within 10 s"),
    ],
    ids=["raises in start", "hangs in start"],
)
@simulated
async def test_one_that_cannot_start_is_started_later_and_then_at_home(fault: Fault, trouble: str) -> None:
    began = now()
    async with meeting(at_first(fault)) as scene:
        assert now() - began < 10
        await scene.alice.reach(scene.bob)
        await asyncio.sleep(15)
        assert scene.status().state in ("failed", "starting")
        assert (scene.alice.home, scene.alice.via(scene.bob)) == ("", BARE)
        assert trouble in scene.status().trouble
        await asyncio.sleep(BROKEN)
        await scene.back()
        assert scene.status().restarts == scene.count("restarts") > 0


@simulated
async def test_peers_that_only_a_relay_leads_to_are_reached_when_it_runs() -> None:
    async with meeting(at_first(replacing("start")), blocked=True) as scene:
        reached = asyncio.create_task(scene.alice.reach(scene.bob, timeout=200))
        await asyncio.sleep(20)
        assert not reached.done()
        await asyncio.sleep(BROKEN)
        await scene.back()
        await reached
        assert scene.alice.via(scene.bob) == NAME


@simulated
async def test_one_that_cannot_be_made_at_first_needs_a_new_start_and_says_so() -> None:
    async with meeting(at_first(boom)) as scene:
        await scene.alice.reach(scene.bob)
        await asyncio.sleep(2 * BROKEN)
        assert "is of another kind than it was at the start: run gwctl down, gwctl up" in scene.status().trouble
        assert scene.alice.via(scene.bob) == BARE
        await scene.alice.node.down()
        await scene.alice.node.up()
        await scene.back()


@simulated
async def test_one_that_raises_when_it_is_told_where_its_home_is_goes_on_and_hears_of_changes() -> None:
    def deaf(transport: Any) -> None:
        told = transport.use

        def use(*args: Any) -> None:
            if now() < BROKEN:
                boom()
            told(*args)

        transport.use, transport.watch = use, boom

    async with meeting(deaf) as scene:
        await scene.alice.reach(scene.bob)
        assert (scene.status().state, scene.alice.via(scene.bob)) == ("running", BARE)
        assert scene.count("raised") >= 2
        await asyncio.sleep(BROKEN)
        await scene.mesh.relay("far", "far")
        await scene.mesh.until(lambda: bool(scene.alice.home), "alice should be at home", timeout=90)


# While it runs


def fails(transport: Any) -> None:
    transport.failed("the relays are gone")


def raises_in_send(transport: Any) -> None:
    transport._routes.region = boom


def raises_in_send_and_path(transport: Any) -> None:
    raises_in_send(transport)
    transport.path = boom


def flood(transport: Any) -> None:
    source = transport.path(relay_endpoint(1, NodeKey(bytes([9] * 32))))
    for _ in range(BURST * 2):
        transport._receive(source, [b"\x04\0\0\0" + bytes(60)] * BURST)


def garbage(transport: Any) -> None:
    source = transport.path(relay_endpoint(1, NodeKey(bytes([9] * 32))))
    for delivery in ([], [b""], [bytes(70_000)], ["text", None], None, [b"x"] * 1_000):
        transport._receive(source, delivery)
    transport._receive("nowhere", [b"x"])


RUNNING: dict[str, tuple[Fault, str]] = {
    "raises in connected, at and heard": (replacing("connected", "at", "heard"), "raised"),
    "raises in links_changed": (replacing("links_changed"), "raised"),
    "raises in send and path": (raises_in_send_and_path, "raised"),
    "says that it failed": (fails, "restarts"),
    "floods": (flood, "refused"),
    "delivers garbage": (garbage, "refused"),
}


@pytest.mark.parametrize(("fault", "counter"), RUNNING.values(), ids=RUNNING)
@simulated
async def test_direct_paths_go_on_whatever_it_does(
    fault: Fault, counter: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with meeting() as scene:
        await scene.mesh.at_home()
        await scene.alice.reach(scene.bob)
        async with Pulse(scene.alice, scene.bob) as pulse:
            await scene.mesh.direct(scene.alice, scene.bob)
            began = now()
            fault(scene.made[-1])
            for _ in range(10):
                await asyncio.sleep(2)
                scene.alice.node._plane.links_changed()  # type: ignore[union-attr]
            await asyncio.sleep(20)
            assert pulse.gap(began) < 2.5
            assert scene.alice.via(scene.bob) == BARE
        assert not counter or scene.count(counter) > 0
        assert len([record for record in caplog.records if NAME in record.getMessage()]) < 20


@pytest.mark.parametrize("fault", [fails, raises_in_send], ids=["says that it failed", "raises in send"])
@pytest.mark.parametrize("close", [None, boom, hang], ids=["closes", "raises in close", "hangs in close"])
@simulated
async def test_where_it_alone_leads_to_a_peer_what_it_carried_goes_on_when_it_is_back(fault: Fault, close: Any) -> None:
    async with meeting(blocked=True) as scene:
        await scene.mesh.at_home()
        await scene.alice.reach(scene.bob)
        async with Pulse(scene.alice, scene.bob) as pulse:
            await asyncio.sleep(5)
            broken, began = scene.made[-1], now()
            end, broken.close = broken.close, close or broken.close
            fault(broken)
            await asyncio.sleep(1)
            if close is not None:
                await end()  # a connection that stays would bring what is for the new one
            await asyncio.sleep(30)
            assert pulse.gap(began) < BACK
            assert pulse.gap(now() - 10) < 0.5
        assert scene.alice.via(scene.bob) == NAME
        assert (scene.status().state, scene.status().restarts) == ("running", 1)
        assert len(scene.made) == 2


@simulated
async def test_down_waits_for_no_close_that_hangs() -> None:
    async with meeting() as scene:
        await scene.mesh.at_home()
        end, scene.made[-1].close = scene.made[-1].close, hang
        began = now()
        await scene.alice.node.down()
        assert now() - began < 5
        await end()
