"""The node's and the server's channel, joined by a simulated network: talking, falling silent, ending."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ghostwire.errors import RemoteProtocolError, Unavailable
from ghostwire.keys import MachineKey, NodeKey
from ghostwire.server.channel import SWEEP, ControlStream
from ghostwire.testing import simulated
from ghostwire.wire import messages
from ghostwire.wire.messages import IDLE_TIMEOUT, Interest, Leave, PeerEndpoints, Ping, Pong, Refused
from ghostwire.wire.stream import CLOSE_GRACE

MakeRig = Any


@simulated
async def test_a_node_says_hello_and_both_sides_talk(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    channel.send(Interest(node=7))
    await asyncio.sleep(1)
    (stream,) = rig.streams
    assert stream.machine_key == rig.machine.public(MachineKey)
    assert stream.client == "192.0.2.2"
    assert stream.verify(rig.node_key.public(NodeKey), stream.hello.proof)
    assert rig.inbox == [Interest(node=7)]
    assert stream.send(messages.encode(PeerEndpoints(node=7)))
    assert await channel.receive() == PeerEndpoints(node=7)


@simulated
async def test_an_idle_session_lives_by_pings_nobody_sees(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(3600)
    assert rig.inbox == []
    assert rig.ended == []
    rig.streams[0].send(messages.encode(PeerEndpoints(node=1)))
    assert await channel.receive() == PeerEndpoints(node=1)


@simulated
async def test_a_ping_is_answered_with_its_number_and_not_shown(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session), Ping(number=41))
    await asyncio.sleep(1)
    assert node.heard == [Pong(number=41)]
    assert rig.inbox == []


@simulated
async def test_the_server_pings_a_node_it_had_nothing_to_tell(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(messages.KEEPALIVE + SWEEP + 1)
    assert node.heard == [Ping()]


@simulated
async def test_a_silent_node_is_given_up(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.say(rig.hello(node.session))
    await asyncio.sleep(IDLE_TIMEOUT - 1)
    assert rig.ended == []
    await asyncio.wait_for(node.lost, SWEEP + 3)
    assert rig.ended == ["the other side was silent for 90 s"]


@simulated
async def test_a_silent_server_is_given_up(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    rig.network.cut(rig.server, rig.host)
    with pytest.raises(Unavailable, match="silent for 90 s"):
        await channel.receive()
    assert not channel.send(Ping())


@simulated
async def test_what_came_before_the_end_is_still_received(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    rig.streams[0].send(messages.encode(Refused(code="removed", message="gone")))
    rig.streams[0].close()
    await asyncio.sleep(1)
    assert await channel.receive() == Refused(code="removed", message="gone")
    with pytest.raises(Unavailable, match="the other side closed the connection"):
        await channel.receive()
    assert rig.ended == ["closed by the server"]


@simulated
async def test_a_broken_connection_says_so(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    rig.network.sever(rig.host, rig.server)
    with pytest.raises(Unavailable, match="the connection broke"):
        await channel.receive()
    await asyncio.sleep(1)
    assert rig.ended[0].startswith("the connection broke")


@simulated
async def test_close_delivers_what_was_sent_and_may_be_called_twice(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    channel.send(Leave())
    await channel.close()
    await channel.close()
    await asyncio.sleep(1)
    assert rig.inbox == [Leave()]
    assert rig.ended == ["the other side closed the connection"]
    with pytest.raises(Unavailable, match="closed"):
        await channel.receive()
    assert rig.upgrade.streams == set()


@simulated
async def test_close_does_not_wait_for_a_server_that_is_cut_off(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    rig.network.cut(rig.server, rig.host)
    began = asyncio.get_running_loop().time()
    await channel.close()
    assert asyncio.get_running_loop().time() - began <= CLOSE_GRACE


@simulated
async def test_a_cancelled_receive_loses_no_message(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(channel.receive(), 1)
    rig.streams[0].send(messages.encode(PeerEndpoints(node=1)))
    await asyncio.sleep(1)
    rig.streams[0].send(messages.encode(PeerEndpoints(node=2)))
    assert [await channel.receive(), await channel.receive()] == [PeerEndpoints(node=1), PeerEndpoints(node=2)]


@simulated
async def test_who_asks_too_late_is_still_told_of_the_end(make_rig: MakeRig) -> None:
    waiting: list[ControlStream] = []
    rig = make_rig(on_stream=waiting.append)
    channel = await rig.join()
    await channel.close()
    await asyncio.sleep(1)
    assert waiting[0].closed
    waiting[0].on_closed(lambda: rig.ended.append("told"))
    await asyncio.sleep(0)
    assert rig.ended == ["told"]


@simulated
async def test_a_handler_may_refuse_what_a_message_says(make_rig: MakeRig) -> None:
    def object_(message: Any) -> None:
        raise RemoteProtocolError(f"no node {message.node}")

    rig = make_rig(on_stream=lambda stream: stream.on_message(object_))
    channel = await rig.join()
    channel.send(Interest(node=9))
    assert await channel.receive() == Refused(code="protocol", message="no node 9")
    with pytest.raises(Unavailable):
        await channel.receive()


@simulated
async def test_a_server_that_breaks_the_protocol_is_left(make_rig: MakeRig) -> None:
    rig = make_rig()
    channel = await rig.join()
    await asyncio.sleep(1)
    rig.streams[0].send(b"\xc1 not a message")
    with pytest.raises(Unavailable, match="broke the protocol"):
        await channel.receive()


@simulated
async def test_closing_the_upgrade_ends_every_stream(make_rig: MakeRig) -> None:
    rig = make_rig()
    channels = [await rig.join() for _ in range(3)]
    await asyncio.sleep(1)
    rig.upgrade.close()
    for channel in channels:
        with pytest.raises(Unavailable):
            await channel.receive()
    assert rig.upgrade.admission.count == 0


@simulated
async def test_bytes_in_any_chopping_make_the_same_conversation(make_rig: MakeRig) -> None:
    rig = make_rig()
    node = await rig.raw()
    node.session.send(messages.encode(rig.hello(node.session)))
    node.session.send(messages.encode(Interest(node=5)))
    for byte in node.session.outgoing():
        node.transport.write(bytes([byte]))
    await asyncio.sleep(1)
    assert rig.inbox == [Interest(node=5)]
