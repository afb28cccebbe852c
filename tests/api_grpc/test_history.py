"""The map over gRPC is the map of the control session: one viewer, one server, a random history of the mesh."""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import Any

import msgspec
import pytest
from grpcclient import Machine
from grpcserver import Running, serving

from ghostwire.keys import ControlKey, DiscoKey, NodeKey, PrivateKey
from ghostwire.model import MapChange, NetworkMap
from ghostwire.system.sockets import SystemSockets
from ghostwire.uplink.channel import connect
from ghostwire.wire.messages import PROTOCOL, Hello, Host, Welcome

OBJECTS = ("nodes", "rules", "sets", "routes", "relays")
POLICIES = [
    '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}',
    '{"tagOwners": {"tag:a": [], "tag:b": []}, "acls":'
    ' [{"action": "accept", "src": ["tag:a"], "dst": ["*:22,80-90"]}]}',
    '{"tagOwners": {"tag:b": []}, "acls": [{"action": "accept", "src": ["*"], "proto": "udp", "dst": ["tag:b:53"]},'
    ' {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}]}',
]


class History:
    """What happens to a mesh, at random."""

    def __init__(self, running: Running, seed: int) -> None:
        self.running, self.random = running, Random(seed)
        self.machines: list[Machine] = []
        self.count = self.reports = 0

    async def step(self) -> None:
        choices = [self.join, self.join, self.rename, self.tag, self.remove, self.route, self.policy, self.report]
        await self.random.choice(choices)()

    async def join(self) -> None:
        self.count += 1
        made = Machine(self.running.server, self.running.token.control_key, f"node{self.count}")
        await made.join(self.running.token.secret)
        await made.until(lambda it: it.map.nodes)
        self.machines.append(made)

    def one(self) -> Machine | None:
        return self.random.choice(self.machines) if self.machines else None

    async def rename(self) -> None:
        if one := self.one():
            self.change(one, {"name": f"named{self.random.randrange(10**6)}"})

    async def tag(self) -> None:
        if one := self.one():
            self.change(one, {"tags": self.random.sample(["tag:a", "tag:b"], self.random.randrange(3))})

    def change(self, one: Machine, what: Any) -> None:
        self.running.api.request("PATCH", f"/api/v1/nodes/{one.id}", what)

    async def remove(self) -> None:
        if one := self.one():
            self.machines.remove(one)
            self.running.api.request("DELETE", f"/api/v1/nodes/{one.id}")
            await one.close()

    async def route(self) -> None:
        if one := self.one():
            prefix = f"10.{self.random.randrange(250)}.0.0/16"
            self.reports += 1
            await one.control.Report(session=1, sequence=self.reports, routes=[prefix])
            async with asyncio.timeout(30):
                while prefix not in [route["prefix"] for route in self.routes(one)]:
                    await asyncio.sleep(0.02)
            self.running.api.post("/api/v1/routes/approve", {"node": str(one.id), "routes": [prefix]})

    def routes(self, one: Machine) -> list[Any]:
        found: list[Any] = self.running.api.get(f"/api/v1/routes?node={one.id}")["routes"]
        return found

    async def policy(self) -> None:
        source = self.random.choice(POLICIES) + " " * self.random.randrange(50)
        self.running.api.request("PUT", "/api/v1/policy?force", {"source": source})

    async def report(self) -> None:
        if one := self.one():
            self.reports += 1
            await one.control.Report(session=1, sequence=self.reports, home=1)

    async def close(self) -> None:
        for each in self.machines:
            await each.close()


def plain(value: Any) -> Any:
    """A map's object of either kind, without what is empty."""
    if isinstance(value, msgspec.Struct):
        return plain({name: getattr(value, name) for name in value.__struct_fields__})
    if hasattr(value, "ListFields"):
        found = {field.name: item for field, item in value.ListFields()}
        return plain([value.first, value.last] if "first" in value.DESCRIPTOR.fields_by_name else found)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if plain(item) not in (0, "", b"", [], None)}
    if isinstance(value, bytes | str | int | None):
        return value
    return value.raw if hasattr(value, "raw") else [plain(item) for item in value]


async def over_the_control_session(one: Machine) -> NetworkMap:
    """The whole map of the same node, by the other way."""
    keys = [PrivateKey(key.raw) for key in (one.machine, one.node, one.disco)]
    machine, node, disco = keys
    url = f"https://127.0.0.1:{one.server.port}"
    channel = await connect(url, machine, ControlKey(one.control_key), SystemSockets(), os.urandom)
    try:
        hello = Hello(
            protocol=PROTOCOL,
            node_key=node.public(NodeKey),
            disco_key=disco.public(DiscoKey),
            proof=channel.prove(node),
            host=Host(one.name, "linux", "test"),
        )
        channel.send(hello)
        assert isinstance(await channel.receive(), Welcome)
        change = await channel.receive()
        assert isinstance(change, MapChange)
        found = NetworkMap()
        found.apply(change)
        return found
    finally:
        await channel.close()


def shown(held: Any) -> dict[str, Any]:
    """All objects of a map of either kind; sets in order."""
    objects: dict[str, Any] = {
        name: {id_: plain(item) for id_, item in getattr(held, name).items()} for name in OBJECTS
    }
    for each in objects["sets"].values():
        each["nodes"] = sorted(each.get("nodes", []))
    return {**objects, "own_labels": sorted(held.own_labels)}


async def told_of_all(history: History, viewer: Machine) -> None:
    """A change of its own record is told to every viewer, after all that came before."""
    name = f"marked{history.random.randrange(10**9)}"
    history.change(viewer, {"name": name})
    await viewer.until(lambda it: it.id in it.map.nodes and it.map.nodes[it.id].name == name)


@pytest.mark.parametrize("seed", range(2))
async def test_both_ways_tell_the_same(tmp_path: Any, seed: int) -> None:
    with serving(tmp_path / "own") as running:
        history = History(running, seed)
        viewer = Machine(running.server, running.token.control_key, "viewer")
        await viewer.join(running.join_token(tags=["a"]).secret)
        for _ in range(10):
            for _ in range(history.random.randrange(1, 6)):
                await history.step()
            if history.random.random() < 0.3:  # it is away meanwhile
                await viewer.hang_up()
                await history.step()
                await viewer.join()
            await told_of_all(history, viewer)
            told = shown(viewer.map)
            other = await over_the_control_session(viewer)
            assert told == shown(other)
            await viewer.hang_up()
            await viewer.join()
        await history.close()
        await viewer.close()
