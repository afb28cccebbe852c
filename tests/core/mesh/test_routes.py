"""Routes beyond the mesh, in memory: a network behind routers, an exit node, and what happens when either is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ghostwire.errors import Unavailable
from ghostwire.testing import simulated
from ghostwire.testing.lan import Lan
from ghostwire.testing.members import MemoryNode
from ghostwire.testing.mesh import MemoryMesh
from ghostwire.testing.platform import UdpPort

NET, NET6 = "10.1.0.0/16", "fd00:77::/64"
HOST, HOST6 = "10.1.0.9", "fd00:77::9"
INTERNET = "203.0.113.77"
BOTH = ("0.0.0.0/0", "::/0")


async def offer(mesh: MemoryMesh, router: MemoryNode, *prefixes: str) -> None:
    """The router offers these prefixes, and the administrator approves them."""
    for prefix in prefixes:
        await router.node.routes.advertise(prefix)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while True:
        listed = (await mesh.server.request("GET", "/api/v1/routes"))["routes"]
        ids = [str(each["id"]) for each in listed if each["node"]["name"] == router.name]
        if len(ids) >= len(prefixes):
            break
        assert loop.time() < deadline, listed
        await asyncio.sleep(0.1)
    await mesh.server.request("POST", "/api/v1/routes/approve", {"node": router.name, "routes": ids})


def state(node: MemoryNode, router: MemoryNode, prefix: str = NET) -> str:
    for each in node.status.routing.routes:
        if (each.router, each.prefix) == (router.name, prefix):
            return each.state
    return ""


async def pair(mesh: MemoryMesh) -> tuple[MemoryNode, MemoryNode, MemoryNode, Lan]:
    """Alice, whose packets go through berlin, and hamburg, which stands by for it."""
    alice, berlin, hamburg = [await mesh.join(name) for name in ("alice", "berlin", "hamburg")]
    for router in (berlin, hamburg):
        await offer(mesh, router, NET, NET6)
    await mesh.until(lambda: state(alice, hamburg, NET6) == "standby", "alice should know both routers")
    await mesh.until(
        lambda: berlin.platform.config.forwarding is not None and hamburg.platform.config.forwarding is not None,
        "both should pass packets on",
    )
    return alice, berlin, hamburg, Lan({HOST, HOST6}, berlin, hamburg)


async def until_answered(port: UdpPort, host: str, *, timeout: float = 60) -> float:
    """Ask a host ten times a second until it answers; seconds waited."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    port.waiting()
    while loop.time() - began < timeout:
        port.send(host, 7, b"hello")
        try:
            await port.receive(0.1)
        except Unavailable:
            continue
        return loop.time() - began
    raise AssertionError(f"{host} does not answer")


@simulated
async def test_hosts_behind_a_router_are_reached_over_both_families() -> None:
    async with MemoryMesh() as mesh:
        alice, berlin, _, lan = await pair(mesh)
        await until_answered(alice.device.udp(4000), HOST)
        assert await alice.device.ping(HOST6) > 0
        assert set(lan.came_by) == {"berlin"}
        assert berlin.platform.config is not None
        assert berlin.platform.config.forwarding is not None
        assert berlin.platform.config.forwarding.masquerade
        assert NET not in berlin.platform.config.routes, "it is a router of it itself"


@simulated
async def test_a_host_behind_a_router_reaches_a_node_on_its_own_account() -> None:
    async with MemoryMesh() as mesh:
        alice, berlin, hamburg, lan = await pair(mesh)
        await until_answered(alice.device.udp(4000), HOST)
        port = alice.device.udp(7)
        for router in (berlin, hamburg):
            port.waiting()
            lan.send(HOST, alice.addresses[0], b"hi", router)
            assert (await port.receive()).source == HOST, "through a router that stands by, too"
        lan.send("10.2.0.9", alice.addresses[0], b"from nowhere", berlin)
        with pytest.raises(Unavailable):
            await port.receive(2)


Break = Callable[[MemoryMesh, MemoryNode, MemoryNode], object]


def cut(mesh: MemoryMesh, alice: MemoryNode, berlin: MemoryNode) -> None:
    """Their packets get lost, though each reaches all others."""
    mesh.network.cut(alice.host, berlin.host)


async def kill(mesh: MemoryMesh, alice: MemoryNode, berlin: MemoryNode) -> None:
    await berlin.kill()


def unplug(mesh: MemoryMesh, alice: MemoryNode, berlin: MemoryNode) -> None:
    """Its way to the hosts is gone."""
    berlin.platform.unreachable |= {NET, NET6}
    berlin.device.beyond = lambda raw, packet: None


@pytest.mark.parametrize("relaying", [False, True], ids=["without a relay", "with a relay"])
@pytest.mark.parametrize("broken", [cut, kill, unplug], ids=["its path", "its program", "its network"])
@simulated
async def test_what_a_router_loses_another_carries_within_ten_seconds(
    broken: Break, relaying: bool, record_property: Callable[[str, object], None]
) -> None:
    async with MemoryMesh(relaying=relaying) as mesh:
        alice, berlin, hamburg, lan = await pair(mesh)
        port = alice.device.udp(4000)
        await until_answered(port, HOST)
        done = broken(mesh, alice, berlin)
        if asyncio.iscoroutine(done):
            await done
        took = await until_answered(port, HOST)
        record_property("table fail-over in memory", {"lost": broken.__name__, "relay": relaying, "s": round(took, 1)})
        assert took < 10
        if not (broken is cut and relaying):  # then the relay carries what the path does not
            assert lan.came_by[-1] == "hamburg"
            await mesh.until(lambda: state(alice, hamburg) == "in use", "alice should show it")


@simulated
async def test_packets_go_back_to_the_first_router_once_it_was_well_for_thirty_seconds() -> None:
    async with MemoryMesh() as mesh:
        alice, berlin, hamburg, lan = await pair(mesh)
        port = alice.device.udp(4000)
        await until_answered(port, HOST)
        await berlin.kill()
        await until_answered(port, HOST)
        assert state(alice, hamburg) == "in use"
        await berlin.start()
        await mesh.until(lambda: berlin.up, "berlin should be back")
        lan.attach()
        began = asyncio.get_running_loop().time()
        while lan.came_by[-1] != "berlin":
            await until_answered(port, HOST)
            await asyncio.sleep(0.5)
            assert asyncio.get_running_loop().time() - began < 180
        assert asyncio.get_running_loop().time() - began >= 30
        assert state(alice, hamburg) == "standby"


@simulated
async def test_an_idle_node_sends_its_routers_nothing() -> None:
    async with MemoryMesh() as mesh:
        alice, *_ = await pair(mesh)
        await until_answered(alice.device.udp(4000), HOST)
        await asyncio.sleep(300)
        sent: list[object] = []
        mesh.network.taps.append(lambda host, target, payload: sent.append(target) if host is alice.host else None)
        await asyncio.sleep(600)
        assert sent == []


@simulated
async def test_an_exit_node_carries_the_internet_and_what_it_loses_goes_nowhere() -> None:
    async with MemoryMesh() as mesh:
        alice, berlin, hamburg = [await mesh.join(name) for name in ("alice", "berlin", "hamburg")]
        for router in (berlin, hamburg):
            await offer(mesh, router, "exit")
        await mesh.until(lambda: len(alice.node.routes.exits()) == 2, "alice should know both")
        internet = Lan({INTERNET}, berlin, hamburg)
        port = alice.device.udp(4000)
        await alice.node.routes.use("berlin", lan=None)
        await until_answered(port, INTERNET)
        await berlin.kill()
        assert alice.platform.config is not None
        for _ in range(20):
            port.send(INTERNET, 7, b"lost")
            await asyncio.sleep(1)
        assert set(internet.came_by) == {"berlin"}
        assert set(BOTH) <= set(alice.platform.config.routes)
        chosen = alice.status.routing.exit_node
        assert chosen is not None
        assert "goes nowhere" in chosen.trouble or "go nowhere" in chosen.trouble
        await alice.node.routes.use("hamburg", lan=None)
        await until_answered(port, INTERNET)
        await alice.kill()
        await alice.start()
        await mesh.until(lambda: alice.up, "alice should be back")
        internet.came_by.clear()
        await until_answered(alice.device.udp(4000), INTERNET)
        assert set(internet.came_by) == {"hamburg"}
        await alice.node.routes.off()
        assert alice.platform.config is not None
        assert not set(BOTH) & set(alice.platform.config.routes)
