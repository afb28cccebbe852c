"""The TUN device in a network namespace of its own: packets both ways."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator, Sequence

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from ghostwire import BURST, Buffer, NetworkConfig
from ghostwire_net_linux.configure import QUEUE
from ghostwire_net_linux.device import LinuxDevice
from ghostwire_net_linux.offload import joined
from ghostwire_net_linux.platform import LinuxPlatform

from .conftest import make_platform

pytestmark = pytest.mark.lab

NETWORK = NetworkConfig("gwt0", 1280, ("100.64.0.2/32", "fd7a::2/128"), ("100.64.0.0/16", "fd7a::/48"))


class Taken:
    """What the device delivered, copied, and how many packets at a time."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.sizes: list[int] = []
        self._news = asyncio.Event()

    def deliver(self, burst: Sequence[Buffer]) -> None:
        self.packets += [bytes(packet) for packet in burst]
        self.sizes.append(len(burst))
        self._news.set()

    async def wait(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5):
            while len(self.packets) < count:
                self._news.clear()
                await self._news.wait()
        return self.packets


async def opened() -> tuple[LinuxPlatform, LinuxDevice, Taken]:
    platform, taken = make_platform(), Taken()
    device = await platform.open_device("gwt0", 1280)
    await platform.configure(NETWORK)
    device.start(taken.deliver)
    assert isinstance(device, LinuxDevice)
    return platform, device, taken


@pytest.mark.parametrize("address", ["100.64.0.9", "fd7a::9"])
def test_what_the_system_sends_into_the_device_is_delivered_whole(in_namespace, address):
    async def work() -> None:
        _, device, taken = await opened()
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(150):
                sender.sendto(bytes([number]) * (number + 1), (address, 9))
        packets = await taken.wait(150)
        parsed = [(IPv6 if ":" in address else IP)(packet) for packet in packets]
        assert [bytes(each[UDP].payload) for each in parsed] == [bytes([n]) * (n + 1) for n in range(150)]
        assert {each.dst for each in parsed} == {address}
        assert max(taken.sizes) <= BURST
        device.close()

    in_namespace(work)


def test_a_burst_that_comes_while_the_program_is_busy_waits_in_the_kernel(in_namespace):
    async def work() -> None:
        _, device, taken = await opened()
        with contextlib.ExitStack() as stack:  # each may have only so much on its way
            senders = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]
            for number in range(QUEUE - 100):
                senders[number % 20].sendto(number.to_bytes(4, "big"), ("100.64.0.9", 9))
        assert len(await taken.wait(QUEUE - 100)) == QUEUE - 100
        device.close()

    in_namespace(work)


@pytest.mark.parametrize("size", [10, 64, 1200])
@pytest.mark.parametrize("version", [4, 6])
def test_what_is_written_reaches_the_system(in_namespace, version, size):
    async def work() -> None:
        _, device, _ = await opened()
        family, own = (socket.AF_INET, "100.64.0.2") if version == 4 else (socket.AF_INET6, "fd7a::2")
        network = IP(src="100.64.0.9", dst=own) if version == 4 else IPv6(src="fd7a::9", dst=own)
        with socket.socket(family, socket.SOCK_DGRAM) as receiver:
            receiver.bind((own, 0))
            receiver.settimeout(5)
            port = receiver.getsockname()[1]
            payloads = [*[bytes([number]) * size for number in range(10)], b"short"]
            burst = [bytes(network / UDP(sport=7, dport=port) / Raw(payload)) for payload in payloads]
            assert device.write([memoryview(packet) for packet in burst]) == len(burst)
            assert [receiver.recv(2000) for _ in burst] == payloads
        assert device.dropped == 0
        device.close()

    in_namespace(work)


def test_packets_that_are_no_ip_are_dropped_and_counted(in_namespace):
    async def work() -> None:
        platform, device, _ = await opened()
        assert device.write([b"", b"\xff" * 40, b"\x00"]) == 0
        assert device.dropped == 3
        assert platform._dropped() == 3
        device.close()

    in_namespace(work)


def test_a_device_that_is_down_drops_what_is_written(in_namespace):
    async def work() -> None:
        device = await make_platform().open_device("gwt0", 1280)
        packet = bytes(IP(src="100.64.0.9", dst="100.64.0.2") / UDP() / Raw(b"x"))
        assert device.write([packet]) == 0
        device.close()

    in_namespace(work)


def test_a_closed_device_takes_and_delivers_nothing_and_its_name_is_free(in_namespace):
    async def work() -> None:
        platform, device, _ = await opened()
        device.close()
        device.close()
        assert device.write([b"late"]) == 0
        assert "gwt0" not in [name for _, name in socket.if_nameindex()]
        again = await platform.open_device("gwt0", 1280)
        await platform.configure(NETWORK)
        again.close()

    in_namespace(work)


@pytest.mark.parametrize("version", [4, 6])
def test_a_tcp_stream_survives_joining_whole(in_namespace, monkeypatch, version):
    """Each packet comes back with its addresses exchanged, so that the system talks to itself through the device."""
    content = random.Random(version).randbytes(4_000_000)
    at, size = (12, 4) if version == 4 else (8, 16)
    own, far = ("100.64.0.2", "100.64.0.9") if version == 4 else ("fd7a::2", "fd7a::9")
    writes: list[int] = []

    def counted(packets: Sequence[Buffer], *, udp: bool) -> Iterator[tuple[int, list[Buffer]]]:
        for count, buffers in joined(packets, udp=udp):
            writes.append(count)
            yield count, buffers

    def exchanged(packet: Buffer) -> bytes:
        source, target = packet[at : at + size], packet[at + size : at + 2 * size]
        return b"".join((packet[:at], target, source, packet[at + 2 * size :]))

    async def work() -> None:
        monkeypatch.setattr("ghostwire_net_linux.device.joined", counted)
        device = await make_platform().open_device("gwt0", 1280)
        await make_platform().configure(NETWORK)
        device.start(lambda burst: device.write([exchanged(each) for each in burst]))
        received = bytearray()
        done = asyncio.Event()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while chunk := await reader.read(65_536):
                received.extend(chunk)
            writer.close()
            done.set()

        server = await asyncio.start_server(take, own, 7000)
        _, writer = await asyncio.open_connection(far, 7000)
        writer.write(content)
        await writer.drain()
        writer.close()
        await done.wait()
        server.close()
        assert bytes(received) == content
        assert max(writes) > 8
        device.close()

    in_namespace(work)
