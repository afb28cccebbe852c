"""Real UDP ports, on loopback."""

from __future__ import annotations

import asyncio

import pytest

from ghostwire.errors import PlatformError, Unavailable
from ghostwire.node.portmap.udp import LONGEST, SystemPorts
from ghostwire.system.sockets import SystemSockets


async def test_datagrams_come_and_go_with_their_source_until_the_port_is_closed():
    ports, arrived = SystemPorts(SystemSockets()), asyncio.Queue()
    port = ports.open(0, lambda source, data: arrived.put_nowait((source, data)), local="127.0.0.1")
    number = port._socket.getsockname()[1]
    port.send(("127.0.0.1", number), b"x" * 3000)
    port.send(("127.0.0.1", number), b"hello")
    assert await arrived.get() == (("127.0.0.1", number), b"x" * LONGEST)
    assert await arrived.get() == (("127.0.0.1", number), b"hello")
    port.close()
    port.close()


async def test_a_port_that_closes_itself_while_it_reads_reads_no_more():
    arrived = asyncio.Queue()

    def received(source: tuple[str, int], data: bytes) -> None:
        port.close()
        arrived.put_nowait(data)

    port = SystemPorts(SystemSockets()).open(0, received)
    number = port._socket.getsockname()[1]
    for _ in range(3):
        port.send(("127.0.0.1", number), b"hello")
    await arrived.get()
    assert arrived.empty()


async def test_what_cannot_be_sent_is_lost_without_a_word():
    port = SystemPorts(SystemSockets()).open(0, lambda source, data: None)
    port.send(("127.0.0.1", 9), b"x" * 70_000)
    port.close()


async def test_our_address_is_the_one_towards_the_router_and_the_unreachable_has_none():
    ports = SystemPorts(SystemSockets())
    assert ports.local("127.0.0.1") == "127.0.0.1"
    with pytest.raises(Unavailable, match="cannot be reached"):
        ports.local("255.255.255.255")


async def test_a_port_in_use_is_refused():
    ports = SystemPorts(SystemSockets())
    first = ports.open(0, lambda source, data: None)
    with pytest.raises(PlatformError):
        ports.open(first._socket.getsockname()[1], lambda source, data: None)
    first.close()
