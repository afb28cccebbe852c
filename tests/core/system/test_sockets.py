"""Sockets, on the real system."""

import asyncio

import pytest

from ghostwire.errors import PlatformError, Unavailable
from ghostwire.system.sockets import SystemSockets
from ghostwire.system.tls import system_roots


def test_a_udp_socket_is_bound_and_does_not_block() -> None:
    with SystemSockets().udp("127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] > 0
        assert bound.gettimeout() == 0
        with pytest.raises(PlatformError, match=r"UDP port \d+ is in use"):
            SystemSockets().udp("127.0.0.1", bound.getsockname()[1])


def test_both_families_may_have_the_same_port() -> None:
    with SystemSockets().udp("0.0.0.0", 0) as four, SystemSockets().udp("::", four.getsockname()[1]) as six:
        assert four.getsockname()[1] == six.getsockname()[1]


async def test_a_stream_reaches_who_listens_and_says_where_nobody_does() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await SystemSockets().connect(asyncio.Protocol, "127.0.0.1", port)
    transport.close()
    server.close()
    await server.wait_closed()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}: nobody listens there"):
        await SystemSockets().connect(asyncio.Protocol, "127.0.0.1", port)


async def test_a_name_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"no-such-host\.invalid:80: the name is not known"):
        await SystemSockets().connect(asyncio.Protocol, "no-such-host.invalid", 80)


@pytest.mark.parametrize("name", [".relay.example", "relay..example", f"{'x' * 64}.example"])
async def test_what_can_be_no_name_is_unavailable_too(name: str) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Unavailable, match="not the name of a host"):
        await SystemSockets().connect(asyncio.Protocol, "127.0.0.1", port, tls=system_roots(), server_name=name)
    server.close()


async def test_a_stream_is_accepted_where_one_listens_until_the_door_is_closed():
    class Greets(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"hello")
            transport.close()

    listening = await SystemSockets().listen(Greets, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    assert await reader.read() == b"hello"
    writer.close()
    with pytest.raises(PlatformError, match=f"TCP port {listening.port} is in use"):
        await SystemSockets().listen(Greets, "127.0.0.1", listening.port)
    listening.close()
    with pytest.raises(Unavailable):
        await SystemSockets().connect(Greets, "127.0.0.1", listening.port)
