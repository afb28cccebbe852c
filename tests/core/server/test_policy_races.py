"""Policies, routes, joins and removals at once, and a server that dies in their midst: maps are right in the end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, Person, PolicyEngine, PolicyRule
from ghostwire.errors import Conflict, Finding, NotFound
from ghostwire.model import MapChange, NetworkMap, Node, PolicyVersion, Route
from ghostwire.server.plane import ControlPlane
from ghostwire.server.routes.administration import RouteAdministration
from ghostwire.testing import MemoryDatabase, MemoryStorage, simulated
from ghostwire.wire.messages import Report


class Groups(CompiledPolicy):
    """Whose last address parts are equal modulo ``number`` may speak; everyone may reach what is routed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rules = tuple(PolicyRule(sources=(f"g{each}",), destinations=(f"g{each}",)) for each in range(number))

    def selectors(self, node: Bearer) -> list[str]:
        return [EVERYONE, f"g{int(node.addresses[0]) % self.number}"]

    def route_selectors(self, node: Bearer, route: object) -> list[str]:
        return self.selectors(node)

    def approves(self, node: Bearer, route: Any) -> bool:
        return bool(str(route).startswith("10.1."))


class GroupsEngine(PolicyEngine):
    """Reads a number."""

    name = "groups"

    def compile(self, source: str) -> Groups:
        return Groups(int(source))

    def test(self, policy: CompiledPolicy, people: Sequence[Person], nodes: Sequence[Bearer]) -> Sequence[Finding]:
        return ()


async def work(rig: Any, versions: Sequence[int]) -> int:
    """Set these one by one, as one of several administrators does; how often somebody else was faster."""
    policies, beaten = rig.plane.policies, 0
    for number in versions:
        try:
            await policies.set(f"{number}", "somebody", expected=policies.version.id if policies.version else 0)
        except Conflict:
            beaten += 1
        await asyncio.sleep(0.01)
    return beaten


def remove(rig: Any, id_: int) -> Any:
    def gone(transaction: Any) -> None:
        for route in transaction.find(Route, node=id_):
            transaction.delete(Route, route.id)
        if transaction.get(Node, id_) is not None:
            transaction.delete(Node, id_)

    return rig.plane.mesh.write(gone)


def contents(network: NetworkMap) -> tuple[object, ...]:
    sets = {id_: (each.everyone, frozenset(each.nodes)) for id_, each in network.sets.items()}
    return network.nodes, network.rules, sets, network.routes, network.own_labels


async def whole(rig: Any, client: Any) -> tuple[object, ...]:
    """The map as who has nothing is told it."""
    kept, client.map = client.map, NetworkMap()
    client.connect()
    await client.stream.until(lambda: client.stream.of(MapChange))
    found, client.map = contents(client.read()), kept
    return found


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
@simulated
async def test_whatever_happens_at_once_every_map_is_right_in_the_end(serve, monkeypatch, dies):
    monkeypatch.setitem(ControlPlane.__init__.__kwdefaults__, "engine", GroupsEngine())
    disk = MemoryDatabase()
    async with serve(storage=lambda: MemoryStorage(disk)) as rig:
        clients = await rig.clients(6)
        ids = {name: node.id for name, node in rig.nodes.items()}
        joining = [rig.client(number) for number in range(7, 13)]
        for number, client in enumerate(clients, 1):
            routes = (f"10.{number % 3}.{number}.0/24", "10.1.99.0/24")
            client.stream.say(Report(session=1, sequence=1, routes=routes))
        by_hand = RouteAdministration(rig.plane.mesh, rig.plane.routes, lambda name: rig.nodes[name])
        found = await asyncio.gather(
            work(rig, (2, 3, 1, 4)),
            work(rig, (3, 2, 5, 2)),
            *(client.join() for client in joining),
            *(by_hand.approve(f"host{number}", [f"10.{number % 3}.{number}.0/24"], "ada") for number in (1, 2, 3)),
            remove(rig, ids["host2"]),
            remove(rig, ids["host3"]),
            return_exceptions=True,
        )
        failures = [each for each in found if isinstance(each, BaseException)]
        assert all(isinstance(each, NotFound | Conflict) for each in failures), failures
        versions = rig.plane.mesh.list(PolicyVersion)
        assert [version.id for version in versions] == list(range(1, len(versions) + 1))
        dead = rig.plane
        if dies:
            last = asyncio.create_task(work(rig, (7, 8, 9)))
            await asyncio.sleep(0.015)
            last.cancel()
            await asyncio.wait([last])
            disk.locked = False  # as that of a process is that was killed
            await rig.start()
            await dead.close()
            disk.locked = True
            clients = [client for client in clients if client.number not in (2, 3)]
        await rig.settle()
        alive = [client for client in (*clients, *joining) if f"host{client.number}" in rig.nodes]
        assert len(alive) == 10
        nodes = {node.id for node in rig.plane.mesh.list(Node)}
        assert {route.node for route in rig.plane.mesh.list(Route)} <= nodes
        for client in alive:
            if dies:
                client.connect()
                await client.stream.until(lambda client=client: client.stream.of(MapChange))
            await rig.settle()
            client.read()
            await rig.settle()
            held = contents(client.read())
            assert not client.map.lacking
            assert held == await whole(rig, client)
            assert {route.router for route in client.map.routes.values()} <= client.map.nodes.keys()
            assert client.map.nodes.keys() <= nodes
