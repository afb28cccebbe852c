"""The operating system in memory and the tiny host behind its device."""

import asyncio

import pytest

from ghostwire import NetworkConfig
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.testing import MemoryDevice, MemoryPlatform, Network, packets, simulated
from ghostwire.testing.packets import Datagram, Echo, Packet

ROUTES = ("100.64.0.0/16", "fd00::/64")


async def opened(number: int) -> tuple[MemoryPlatform, MemoryDevice]:
    platform = MemoryPlatform()
    device = await platform.open_device("gw0", 1280)
    await platform.configure(NetworkConfig("gw0", 1280, (f"100.64.0.{number}/32", f"fd00::{number}/128"), ROUTES))
    return platform, device


async def joined() -> tuple[MemoryDevice, MemoryDevice]:
    """Two devices with a wire between them instead of a mesh."""
    (_, one), (_, two) = await opened(2), await opened(3)
    one.start(lambda burst: two.write(burst) and None)
    two.start(lambda burst: one.write(burst) and None)
    return one, two


@simulated
@pytest.mark.parametrize("address", ["100.64.0.3", "fd00::3"])
async def test_the_host_answers_echo_requests(address: str) -> None:
    one, _ = await joined()
    assert await one.ping(address, size=1000) >= 0


@simulated
async def test_a_ping_that_nobody_answers_ends_in_time() -> None:
    _, device = await opened(2)
    with pytest.raises(Unavailable, match=r"100\.64\.0\.9 did not answer"):
        await device.ping("100.64.0.9", timeout=2)


@simulated
@pytest.mark.parametrize(("mine", "yours"), [("100.64.0.2", "100.64.0.3"), ("fd00::2", "fd00::3")])
async def test_udp_payloads_go_both_ways(mine: str, yours: str) -> None:
    one, two = await joined()
    one.udp(5000).send(yours, 53, b"question")
    two.udp(53)
    question = await two.udp(53).receive()
    assert (question.source, question.port, question.data) == (mine, 5000, b"question")
    two.udp(53).send(question.source, question.port, b"answer")
    assert (await one.udp(5000).receive()).data == b"answer"


@simulated
async def test_what_has_no_route_is_refused_with_the_routes_there_are() -> None:
    _, device = await opened(2)
    with pytest.raises(PlatformError, match=r"no route to 192\.0\.2\.1; it has 100\.64"):
        device.udp(1).send("192.0.2.1", 1, b"")


@simulated
async def test_packets_that_no_host_would_take_are_refused_with_the_reason() -> None:
    _, device = await opened(2)
    good = packets.udp_packet("100.64.0.3", "100.64.0.2", Datagram(1, 2, b"data"))
    wrong = bytearray(good)
    wrong[-1] ^= 1
    other = packets.encode(Packet("100.64.0.3", "100.64.0.77", 99, b""))
    long = packets.udp_packet("100.64.0.3", "100.64.0.2", Datagram(1, 2, bytes(1280)))
    assert device.write([good, bytes(wrong), good + b"\0" * 8, other, long, b"", b"\x45"]) == 1
    reasons = ["checksum", "says 32", "not this host", "1308 bytes", "not an IP", "shorter"]
    assert all(reason in text for reason, text in zip(reasons, device.refused, strict=True))


@simulated
async def test_the_queue_into_the_program_is_bounded_and_comes_in_bursts() -> None:
    _, device = await opened(2)
    bursts: list[int] = []
    for _ in range(1100):
        device.send_echo("100.64.0.3")
    assert device.dropped == 1100 - 1024
    device.start(lambda burst: bursts.append(len(burst)))
    await asyncio.sleep(0)
    await asyncio.sleep(1)
    assert (max(bursts), sum(bursts)) == (64, 1024)


@simulated
async def test_configuring_twice_changes_nothing_and_restoring_undoes_all() -> None:
    platform, device = await opened(2)
    done = list(platform.changes)
    assert done == [
        "add link gw0 mtu 1280",
        "add address 100.64.0.2/32 on gw0",
        "add address fd00::2/128 on gw0",
        "add route 100.64.0.0/16 on gw0",
        "add route fd00::/64 on gw0",
    ]
    await platform.configure(NetworkConfig("gw0", 1280, ("100.64.0.2/32", "fd00::2/128"), ROUTES))
    assert platform.changes == done
    await platform.restore()
    await platform.restore()
    assert platform.changes[len(done) :] == [line.replace("add", "remove", 1) for line in done]
    assert device.addresses == []


@simulated
async def test_a_device_is_opened_once_and_must_exist_to_be_configured() -> None:
    platform, device = await opened(2)
    with pytest.raises(PlatformError, match="gw0 exists"):
        await platform.open_device("gw0", 1280)
    device.close()
    device.close()
    with pytest.raises(PlatformError, match="no interface gw0"):
        await platform.configure(NetworkConfig("gw0", 1280, ()))
    await platform.open_device("gw0", 1280)


@simulated
async def test_local_addresses_and_link_changes_come_from_the_network() -> None:
    host = Network().host("laptop", "192.0.2.7")
    platform, told = MemoryPlatform(host), []
    stop = platform.watch_links(lambda: told.append(platform.local_addresses()))
    host.move("198.51.100.7")
    stop()
    host.move("198.51.100.8")
    assert told == [["198.51.100.7"]]


def test_packets_agree_with_another_implementation() -> None:
    scapy = pytest.importorskip("scapy.layers.inet")
    six = pytest.importorskip("scapy.layers.inet6")
    echo = packets.echo_packet("10.0.0.1", "10.0.0.2", Echo(False, 5, 6, b"data"))
    other = scapy.IP(src="10.0.0.1", dst="10.0.0.2", ttl=64, id=0) / scapy.ICMP(id=5, seq=6) / b"data"
    assert echo == bytes(other)
    echo = packets.echo_packet("fd00::1", "fd00::2", Echo(True, 5, 6, b"data"))
    assert echo == bytes(
        six.IPv6(src="fd00::1", dst="fd00::2", hlim=64) / six.ICMPv6EchoReply(id=5, seq=6, data=b"data")
    )
    head = six.IPv6(src="fd00::1", dst="fd00::2", hlim=64)
    datagram = packets.udp_packet("fd00::1", "fd00::2", Datagram(1, 2, b"odd"))
    assert datagram == bytes(head / scapy.UDP(sport=1, dport=2) / b"odd")
