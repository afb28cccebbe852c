"""Netcheck in a running node: who asks for a look gets one, or hears why not."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ghostwire.errors import Unavailable
from ghostwire.model import MapChange, MapRelay
from ghostwire.testing import simulated

SILENT = MapRelay(id=1, name="r1", region=5, region_name="fra", host="192.0.2.50")


async def no_names(host: str) -> Sequence[str]:
    raise UnicodeError("encoding with 'idna' codec failed (UnicodeError: label empty or too long)")


class Answering(asyncio.Transport):
    """A stream to a relay that answers whatever is asked."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self._protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def abort(self) -> None: ...


async def joined(kit: Any, *relays: MapRelay, **overrides: Any) -> Any:
    def answer(hello: Any) -> Sequence[Any]:
        whole = kit.full_map(hello)
        told = MapChange(cursor=whole.cursor, relays=relays or (SILENT,))
        return kit.welcome(hello), whole, told

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
async def test_a_relay_that_is_silent_keeps_no_other_of_its_region_from_being_measured(kit: Any) -> None:
    tried: list[str] = []

    class OneIsSilent(kit.NoWayOut):
        async def connect(self, protocol: Any, host: str, port: int, **options: Any) -> Any:
            tried.append(host)
            await asyncio.sleep(60 if host == SILENT.host else 0)
            made = protocol()
            transport = Answering(made)
            made.connection_made(transport)
            return transport, made

    second = msgspec.structs.replace(SILENT, id=2, name="r2", host="192.0.2.51", tls=False)
    node = await joined(kit, SILENT, second, sockets=OneIsSilent())
    tried.clear()
    (region,) = (await node.netcheck()).regions
    assert (tried[:2], region.https_ms is not None, region.trouble) == ([SILENT.host, second.host], True, "")
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
