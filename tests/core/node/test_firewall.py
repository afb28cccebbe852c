"""Handing the rules to the system's firewall: written out, in line with the map, taken back where it cannot."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire.capabilities.platform import FirewallRule
from ghostwire.errors import PlatformError
from ghostwire.model import Cursor, LabelSet, MapChange, MapRoute, NetworkMap, Rule
from ghostwire.node.filter import MapFilter
from ghostwire.node.firewall import PAUSE, Firewall, firewall_rules
from ghostwire.testing import ManualClock, MemoryPlatform, simulated

WEB = Rule(id=2, sources=(20,), destinations=(10,), protocols=(6,), ports=((443, 443), (80, 80)))
LAN = Rule(id=1, sources=(0,), destination_prefixes=("10.0.0.0/8",))
ROUTES = (MapRoute(id=1, prefix="10.1.0.0/16", router=1), MapRoute(id=2, prefix="10.9.0.0/24", router=3))
EXIT = MapRoute(id=3, prefix="0.0.0.0/0", router=2)


def mesh(kit: Any, *rules: Rule) -> NetworkMap:
    network = NetworkMap()
    change = MapChange(
        cursor=Cursor(1, b"m"),
        full=True,
        nodes=tuple(kit.map_node(id_) for id_ in (1, 2, 3)),
        rules=rules,
        sets=(LabelSet(id=0, everyone=True), LabelSet(id=20, nodes=(2, 3))),
        routes=(*ROUTES, EXIT),
        own_labels=(10,),
    )
    network.apply(change)
    return network


class Recording(MemoryPlatform):
    """Remembers what its firewall was told; refuses where it ``cannot``."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock())
        self.told: list[Sequence[FirewallRule]] = []
        self.cannot = ""

    async def firewall(self, interface: str, rules: Sequence[FirewallRule]) -> None:
        if self.cannot:
            raise PlatformError(self.cannot)
        self.told.append(rules)


def test_sets_are_written_out_as_few_prefixes_in_order(kit: Any) -> None:
    network = mesh(kit, WEB, LAN)
    assert firewall_rules(network, network.nodes[1]) == (
        FirewallRule(("10.9.0.0/24", "100.64.0.2/31", "fd00:1:2::6440:2/127"), ("10.1.0.0/16",)),
        FirewallRule(
            ("100.64.0.2/31", "fd00:1:2::6440:2/127"),
            ("100.64.0.1/32", "fd00:1:2::6440:1/128"),
            (6,),
            ((80, 80), (443, 443)),
        ),
    )


def test_what_nobody_may_use_or_leads_elsewhere_is_no_rule(kit: Any) -> None:
    network = mesh(
        kit,
        Rule(id=1, sources=(99,), destinations=(10,)),
        Rule(id=2, sources=(20,), destinations=(11,)),
        Rule(id=3, source_prefixes=("8.0.0.0/8", "nonsense"), destinations=(10,)),
    )
    assert firewall_rules(network, network.nodes[1]) == ()


@simulated
async def test_many_changes_are_one_change_of_the_firewall(kit: Any) -> None:
    network, platform, filter_ = mesh(kit, WEB), Recording(), MapFilter(ManualClock())
    firewall = Firewall(platform, "gw0", filter_, logging.getLogger("test"))
    await firewall.start(network, network.nodes[1])
    assert filter_.delegated
    assert len(platform.told) == 1
    for number in range(2, 12):
        network.apply(MapChange(cursor=Cursor(number, b"m"), rules=(LAN,), removed_rules=(2,)))
        firewall.follow(network, network.nodes[1])
    await asyncio.sleep(3 * PAUSE)
    assert platform.told[1:] == [firewall_rules(network, network.nodes[1])]
    firewall.follow(network, network.nodes[1])
    await asyncio.sleep(3 * PAUSE)
    assert len(platform.told) == 2
    await firewall.close()
    await firewall.close()


@simulated
async def test_where_the_system_cannot_this_program_filters_and_says_so_once(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    network, platform, filter_ = mesh(kit, WEB), Recording(), MapFilter(ManualClock())
    firewall = Firewall(platform, "gw0", filter_, logging.getLogger("test"))
    platform.cannot = "nft is missing"
    await firewall.start(network, network.nodes[1])
    firewall.follow(network, network.nodes[1])
    await asyncio.sleep(3 * PAUSE)
    assert not filter_.delegated
    assert [record.getMessage() for record in caplog.records] == [
        "the system's firewall does not filter, so this program does: nft is missing"
    ]
    platform.cannot = ""
    firewall.follow(network, network.nodes[1])
    await asyncio.sleep(3 * PAUSE)
    assert filter_.delegated
    assert not firewall.trouble
    await firewall.close()


@simulated
async def test_a_node_asks_the_system_only_where_it_is_to(kit: Any) -> None:
    for kernel in (False, True):
        rig, platform = kit.rig(), Recording()
        rig.overrides = {"kernel_filter": kernel, "platform": platform}
        node = await rig.joined()
        assert bool(platform.told) is kernel
        await node.close()


@simulated
async def test_the_status_says_where_the_system_does_not_filter(kit: Any) -> None:
    rig, platform = kit.rig(), Recording()
    platform.cannot = "nft is missing"
    rig.overrides = {"kernel_filter": True, "platform": platform}
    node = await rig.joined()
    assert node.status().filter_trouble == "nft is missing"
    await node.close()
