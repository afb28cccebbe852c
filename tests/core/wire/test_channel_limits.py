"""The control channel over a simulated network: what each side may make the other keep."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.capabilities.telemetry import Metrics
from ghostwire.errors import Unavailable
from ghostwire.server.channel import BURST, MAX_PENDING, RATE, REPORT_COST, ControlStream, Limits
from ghostwire.testing import simulated
from ghostwire.wire import messages
from ghostwire.wire.messages import Interest, PeerEndpoints, Refused, Report
from ghostwire.wire.stream import HIGH_WATER

MakeRig = Any


@simulated
async def test_a_node_that_does_not_take_its_messages_stops_the_server(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    (stream,) = rig.streams
    drained: list[int] = []
    stream.on_drained(lambda: drained.append(stream.pending))
    number = 0
    frame = messages.encode(Refused(code="x", message="y" * 10_000))
    while stream.send(frame):
        number += 1
        await asyncio.sleep(0.1)
    assert MAX_PENDING < stream.pending < MAX_PENDING + 2 * len(frame)
    assert drained == []
    for _ in range(number):
        await channel.receive()
    assert drained
    assert stream.pending <= HIGH_WATER
    assert stream.send(frame)


@simulated
async def test_a_server_that_does_not_read_stops_the_node(make_rig: MakeRig) -> None:
    rig = make_rig(on_stream=lambda stream: None)
    channel = await rig.join()
    for _ in range(10_000):
        if not channel.send(Interest(node=1)):
            break
    assert channel.pending < 300_000


@simulated
async def test_messages_wait_for_a_server_that_still_thinks_about_the_hello(make_rig: MakeRig) -> None:
    waiting: list[ControlStream] = []
    rig = make_rig(on_stream=waiting.append)
    channel = await rig.join()
    for number in range(50):
        channel.send(Interest(node=number + 1))
        await asyncio.sleep(0.1)
    (stream,) = waiting
    assert len(stream._held or ()) == 1  # nothing more was read
    stream.on_message(rig.inbox.append)
    await asyncio.sleep(1)
    assert [message.node for message in rig.inbox] == list(range(1, 51))


@simulated
async def test_a_node_that_floods_is_slowed_down_and_loses_nothing(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw_member()
    node.say(*(Interest(node=number) for number in range(BURST + 1000)))
    await asyncio.sleep(1)
    assert BURST <= len(rig.inbox) <= BURST + 3 * RATE
    node.say(*(Interest(node=number) for number in range(BURST + 1000, BURST + 1100)))
    await asyncio.sleep(10)
    assert BURST + 9 * RATE <= len(rig.inbox) <= BURST + 13 * RATE
    await asyncio.sleep(1100 / RATE)
    assert [message.node for message in rig.inbox] == list(range(BURST + 1100))
    assert rig.ended == []


@simulated
async def test_reports_which_many_may_hear_of_are_slowed_down_sooner(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw_member()
    node.say(*(Report(session=1, sequence=number) for number in range(BURST)))
    await asyncio.sleep(1)
    assert len(rig.inbox) <= BURST / REPORT_COST + 3


@simulated
async def test_a_node_that_floods_and_goes_is_not_waited_for(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw_member()
    node.say(*(Interest(node=number) for number in range(BURST + 1000)))
    await asyncio.sleep(1)
    rig.upgrade.close()
    heard = len(rig.inbox)
    await asyncio.sleep(100)
    assert (len(rig.inbox), len(rig.ended)) == (heard, 1)


@simulated
async def test_a_stranger_has_ten_seconds_for_his_handshake(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    await asyncio.sleep(9)
    assert not node.lost.done()
    await asyncio.wait_for(node.lost, 2)
    assert (rig.upgrade.counters.timed_out, rig.upgrade.unfinished.count, rig.upgrade.streams) == (1, 0, set())


@simulated
async def test_one_address_has_only_so_many_unfinished_handshakes(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(unfinished_per_address=3))
    for _ in range(3):
        await rig.raw()
    with pytest.raises(Unavailable, match="busy"):
        await rig.connect()
    assert rig.upgrade.counters.refused == 1
    await asyncio.sleep(11)
    await rig.join()


@simulated
async def test_what_strangers_did_wrong_can_be_read_off_the_metrics(make_rig: MakeRig) -> None:
    rig, metrics = make_rig(limits=Limits(unfinished_per_address=1)), Metrics()
    rig.upgrade.register(metrics)
    await rig.raw()
    with pytest.raises(Unavailable, match="busy"):
        await rig.connect()
    await asyncio.sleep(11)
    await rig.join()
    assert metrics.values() == {
        "server_control_streams": 1,
        "server_control_refused_total": 1,
        "server_control_timed_out_total": 1,
        "server_control_violations_total": 0,
    }


@simulated
async def test_one_address_has_only_so_many_streams(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(per_address=2))
    channels = [await rig.join(), await rig.join()]
    await asyncio.sleep(1)
    with pytest.raises(Unavailable, match="busy"):
        await rig.connect()
    await channels[0].close()
    await asyncio.sleep(1)
    await rig.join()


@simulated
async def test_frames_of_one_pass_leave_in_one_write(make_rig: MakeRig) -> None:
    rig = make_rig()
    await rig.join()
    await asyncio.sleep(1)
    (stream,) = rig.streams
    written: list[bytes] = []
    write = stream._transport.write
    stream._transport.write = lambda data: (written.append(data), write(data))[1]
    for number in range(20):
        stream.send(messages.encode(PeerEndpoints(node=number + 1)))
    await asyncio.sleep(1)
    assert len(written) == 1
