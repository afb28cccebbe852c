"""Netcheck in a running node: who asks for a look gets one, or hears why not."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire.errors import Unavailable
from ghostwire.model import MapChange, MapRelay
from ghostwire.testing import simulated

SILENT = MapRelay(id=1, name="r1", region=5, region_name="fra", host="192.0.2.50")


async def no_names(host: str) -> Sequence[str]:
    raise UnicodeError("encoding with 'idna' codec failed (UnicodeError: label empty or too long)")


async def joined(kit: Any, relay: MapRelay = SILENT, **overrides: Any) -> Any:
    def answer(hello: Any) -> Sequence[Any]:
        whole = kit.full_map(hello)
        relays = MapChange(cursor=whole.cursor, relays=(relay,))
        return kit.welcome(hello), whole, relays

    rig = kit.rig(overrides={"sockets": kit.NoWayOut(), **overrides})
    rig.server.answer = answer
    node = await rig.joined()
    await asyncio.sleep(60)
    return node


@simulated
async def test_who_waits_for_a_look_is_told_that_the_node_goes_down(kit: Any) -> None:
    node = await joined(kit)
    early, late = asyncio.ensure_future(node.netcheck()), asyncio.ensure_future(node.netcheck())
    await asyncio.sleep(0.01)
    queued = asyncio.ensure_future(node.netcheck())
    await asyncio.sleep(0.01)
    await node.down()
    for waiting in (early, late, queued):
        with pytest.raises(Unavailable, match="the node was taken down"):
            await asyncio.wait_for(waiting, 60)
    await node.close()


@simulated
async def test_the_report_says_why_a_region_is_not_reached(kit: Any) -> None:
    class Silence(kit.NoWayOut):
        async def connect(self, *arguments: Any, **options: Any) -> Any:
            await asyncio.sleep(60)

    for sockets, trouble in ((kit.NoWayOut(), "no way to 192.0.2.50"), (Silence(), "no answer in time")):
        node = await joined(kit, sockets=sockets)
        report = await node.netcheck()
        assert [each.trouble for each in report.regions] == [trouble]
        await node.close()


@simulated
async def test_a_relay_whose_name_can_be_none_costs_itself_alone(kit: Any) -> None:
    surfaced: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: surfaced.append(context))
    odd = MapRelay(id=1, name="r1", region=5, region_name="fra", host="relay..example")
    node = await joined(kit, odd, lookup=no_names)
    report = await node.netcheck()
    assert [each.latency_ms for each in report.regions] == [None]
    await node.close()
    gc.collect()
    assert surfaced == []
