"""The server is gone for days: nodes go on with what they know, and what they did is merged when it is back."""

import asyncio
from functools import partial

import msgspec
import pytest

from ghostwire.engine import SECOND
from ghostwire.model import MapChange, MapNode
from ghostwire.model import Node as NodeRecord
from ghostwire.node import upkeep
from ghostwire.testing import SeededEntropy, running_clock, simulated
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.uplink import control
from ghostwire.uplink.backoff import MOST, Backoff
from ghostwire.wire.messages import Report

DAY = 24 * 3600


@simulated
async def test_nodes_restart_and_talk_for_ten_days_without_the_server_and_merge_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "Backoff", partial(Backoff, most=7200.0))  # ten days of attempts take their time here
    async with MemoryMesh() as mesh:
        alice, bob, carol = await mesh.join("alice"), await mesh.join("bob"), await mesh.join("carol")
        await mesh.converged()
        await alice.ping(bob)
        await carol.ping(bob)
        await mesh.server.kill()
        for day in range(10):
            await asyncio.sleep(DAY)
            if day == 3:
                await carol.restart()
            if day == 6:
                await bob.kill()
                await bob.start()
            if day in (3, 6, 9):
                await alice.reach(bob, timeout=60)
                await carol.reach(bob, timeout=60)
        assert not any(node.connected for node in (alice, bob, carol))
        await mesh.server.start()
        await asyncio.sleep(7500)
        assert all(node.connected for node in (alice, bob, carol))
        dave = await mesh.join("dave")
        await mesh.converged()
        await dave.ping(carol)


@simulated
async def test_a_key_that_ends_while_the_server_is_away_takes_its_own_node_down_and_not_its_peers() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        ends = running_clock().wall() // SECOND + 3600
        await expire(mesh, "bob", ends)
        await mesh.until(lambda: bob.node.status().own.expires == ends, "bob should know", timeout=300)
        await mesh.server.kill()
        await asyncio.sleep(3600 - 300)
        await bob.reach(alice, timeout=30)
        await asyncio.sleep(600)
        assert bob.node.state == "expired"
        assert alice.up
        await mesh.server.start()
        await mesh.until(
            lambda: alice.connected and not alice.sees(), "alice should hear that bob is gone", timeout=300
        )


async def expire(mesh: MemoryMesh, name: str, ends: int) -> None:
    """Let a node's key end at that time, which it hears when it comes next."""
    assert mesh.server.running is not None
    plane = mesh.server.running.plane
    held = next(node for node in plane.mesh.list(NodeRecord) if node.name == name)
    await plane.mesh.write(lambda transaction: transaction.put(msgspec.structs.replace(held, expires=ends)))
    await mesh.server.restart()


@simulated
async def test_of_all_that_a_node_would_have_reported_the_newest_is_told_once() -> None:
    async with MemoryMesh() as mesh:
        alice, bob = await mesh.join("alice"), await mesh.join("bob")
        await mesh.converged()
        await alice.ping(bob)
        await mesh.server.kill()
        for number in range(1, 6):
            bob.host.move(f"203.0.113.{number}")
            await asyncio.sleep(600)
        await bob.reach(alice)
        await mesh.server.start()
        assert mesh.server.running is not None
        reports: list[Report] = []
        presence = mesh.server.running.plane.sessions.presence
        taken = presence.report

        def overheard(node: int, report: Report, *rest: int) -> bool:
            if node == 2:
                reports.append(report)
            return taken(node, report, *rest)

        presence.report = overheard  # type: ignore[method-assign, assignment]
        await mesh.until(lambda: bob.connected, "bob should be back", timeout=300)
        await asyncio.sleep(5)
        assert [each.text.rpartition(":")[0] for report in reports for each in report.endpoints] == ["203.0.113.5"]


@simulated
async def test_a_map_that_came_to_differ_is_put_right_within_two_days_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "DAY", 3600.0)  # a day of keepalives takes its time here
    async with MemoryMesh() as mesh:
        alice, _, carol = await mesh.join("alice"), await mesh.join("bob"), await mesh.join("carol")
        await mesh.converged()
        await compared(alice, 1)
        assert not any(change.full for change in changes(alice)[1:-1])
        assert alice.status.map.divergences == 0
        spoil(alice, carol)
        await compared(alice, 2)
        assert (alice.status.map.divergences, alice.status.map.differed) == (1, "nodes 2, 3")
        assert "the map differed from the server's" in caplog.text
        assert alice.sees() == {"bob", "carol"}
        await alice.ping(carol)
        await compared(alice, 3)
        assert alice.status.map.divergences == 1


async def compared(node: MemoryNode, times: int) -> None:
    """Wait until a node's map was compared so often, for little more than one and a half of `upkeep.DAY`."""
    for _ in range(100):
        if node.status.map.comparisons >= times:
            return
        await asyncio.sleep(60)
    raise AssertionError("the map was not compared in time")


def spoil(node: MemoryNode, other: MemoryNode) -> None:
    """Let a node forget one peer, and take the other for somebody else."""
    held: dict[int, MapNode] = node.node._knowledge.network.nodes
    del held[2]
    held[3] = msgspec.structs.replace(held[3], name=f"not-{other.name}")


def changes(node: MemoryNode) -> list[MapChange]:
    return [message for message in node.heard if isinstance(message, MapChange)]


def attempts(nodes: int, back: float, until: float) -> list[int]:
    """In each second from the server's return on, how many of these nodes try, who lost it all at once."""
    made = [0] * int(until - back)
    for number in range(nodes):
        backoff, at = Backoff(SeededEntropy(number)), 0.0
        while at < back:
            at += backoff.next()
        made[min(int(at - back), len(made) - 1)] += 1
    return made


@pytest.mark.parametrize("away", [30, 3600], ids=["half a minute", "an hour"])
def test_a_thousand_nodes_come_back_within_a_minute_and_not_all_at_once(away: int) -> None:
    made = attempts(1000, away, away + MOST + 1)
    assert sum(made) == 1000
    assert max(made) < 1000 / 10
