"""A whole node in virtual time: what the system or a plugin refuses."""

import asyncio
from typing import Any

import pytest

from ghostwire import Provider, Service
from ghostwire.errors import GhostwireError, PermissionDenied, PlatformError
from ghostwire.testing import simulated


@simulated
async def test_a_missing_right_fails_up_with_its_reason_and_is_tried_again(kit: Any) -> None:
    rig = kit.rig()
    node = await rig.joined()
    await node.down()
    opened, reason = rig.platform.open_device, PermissionDenied("interface gw0: run as root")

    async def refuse(name: str, mtu: int) -> Any:
        raise reason

    rig.platform.open_device = refuse
    with pytest.raises(PermissionDenied, match="run as root"):
        await node.up()
    assert (node.state, node.status().trouble) == ("starting", "interface gw0: run as root")
    rig.platform.open_device = opened
    await asyncio.sleep(120)
    assert (node.state, node.status().trouble) == ("running", "")
    await node.close()


@simulated
async def test_a_machine_that_lets_no_node_run_spends_no_token(kit: Any) -> None:
    rig = kit.rig()

    async def refuse(name: str, mtu: int) -> Any:
        raise PlatformError("/dev/net/tun is missing")

    rig.platform.open_device = refuse
    node = rig.node()
    await node.start()
    with pytest.raises(PlatformError, match="is missing"):
        await node.up(rig.token)
    assert node.state == "needs-login"
    assert not rig.server.channels
    await node.close()


@simulated
async def test_a_start_that_fails_half_way_leaves_nothing_behind(kit: Any) -> None:
    rig = kit.rig(transports=[kit.Transport(fails="UDP port 41641 is in use")])
    node = rig.node()
    await node.start()
    with pytest.raises(PlatformError, match="UDP port 41641 is in use"):
        await node.up(rig.token)
    assert rig.platform.devices["gw0"].closed
    assert rig.platform.config is None
    await node.close()


@simulated
async def test_a_transport_that_fails_costs_only_itself(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig = kit.rig(transports=[kit.Transport("broken", fails="no such modem"), kit.Transport("udp")])
    node = await rig.joined()
    broken, udp = node.status().transports
    assert (udp.name, udp.state, broken.name, broken.trouble) == ("udp", "running", "broken", "no such modem")
    assert "transport broken: no such modem" in caplog.text
    await node.close()


@simulated
async def test_a_plugins_bug_is_reported_and_survived(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    rig = kit.rig()
    rig.transports[0].start = lambda receive: 1 / 0
    node = rig.node()
    await node.start()
    with pytest.raises(GhostwireError, match="start raised ZeroDivisionError"):
        await node.up(rig.token)
    assert rig.platform.devices["gw0"].closed
    del rig.transports[0].start
    await node.up()
    assert node.state == "running"
    await node.close()


class Beacon(Service):
    """A plugin's service."""

    name = "beacon"

    def __init__(self, events: list[str], fails: bool = False) -> None:
        self.events, self.fails = events, fails

    async def start(self) -> None:
        self.events.append("start")
        if self.fails:
            raise PlatformError("no lamp")

    async def close(self) -> None:
        self.events.append("close")


@simulated
async def test_services_run_while_the_node_does_and_one_that_fails_costs_only_itself(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good: list[str] = []
    bad: list[str] = []
    rig = kit.rig()
    rig.overrides = {
        "services": (
            Provider("broken", lambda context: Beacon(bad, fails=True)),
            Provider("beacon", lambda context: Beacon(good)),
        )
    }
    node = await rig.joined()
    assert (node.state, good) == ("running", ["start"])
    assert "service broken: no lamp" in caplog.text
    await node.down()
    assert (good, bad) == (["start", "close"], ["start", "close"])
    await node.close()
