"""Local addresses and link changes, in a network namespace of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ghostwire import NetworkConfig
from ghostwire_net_linux import netlink

from .conftest import ip, make_platform


def link(name: str, *addresses: str, up: bool = True) -> None:
    """A veth of this name with these addresses; its other end is up as well, so that it carries."""
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
    for address in addresses:
        ip("addr", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    if up:
        ip("link", "set", f"{name}-far", "up")
        ip("link", "set", name, "up")


@pytest.mark.lab
def test_local_addresses_are_those_that_peers_might_reach(in_namespace):
    async def work() -> None:
        link("eth9", "192.0.2.1/24", "2001:db8::1/64")
        link("down0", "198.51.100.1/24", up=False)
        ip("addr", "add", "203.0.113.1/32", "dev", "lo")
        ip("addr", "add", "169.254.7.7/16", "dev", "eth9", "scope", "link")
        ip("addr", "add", "2001:db8::dead/64", "dev", "eth9", "preferred_lft", "0", "nodad")
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(NetworkConfig("gwt0", 1280, ("100.64.0.2/32",)))
        assert list(platform.local_addresses()) == ["192.0.2.1", "2001:db8::1"]
        device.close()

    in_namespace(work)


@pytest.mark.lab
def test_a_tentative_address_is_not_told_until_it_is_known_to_be_ours(in_namespace):
    async def work() -> None:
        Path("/proc/sys/net/ipv6/conf/default/dad_transmits").write_text("100")
        link("eth9")
        ip("addr", "add", "2001:db8::1/64", "dev", "eth9")
        assert [each.address for each in netlink.addresses() if each.address == "2001:db8::1"]
        assert list(make_platform().local_addresses()) == []

    in_namespace(work)


@pytest.mark.lab
def test_many_addresses_fit_through_the_dump(in_namespace):
    async def work() -> None:
        wanted = [f"10.{number >> 8}.{number & 255}.1" for number in range(400)]
        link("eth9")
        batch = "".join(f"addr add {address}/32 dev eth9\n" for address in wanted)
        process = await asyncio.create_subprocess_exec("ip", "-batch", "-", stdin=asyncio.subprocess.PIPE)
        await process.communicate(batch.encode())
        assert list(make_platform().local_addresses()) == wanted

    in_namespace(work)


@pytest.mark.lab
def test_changes_of_links_and_addresses_are_told_once_they_settled(in_namespace):
    async def work() -> None:
        calls = 0
        told = asyncio.Event()

        def changed() -> None:
            nonlocal calls
            calls += 1
            told.set()

        stop = make_platform(settle=0.05).watch_links(changed)
        link("eth9", "192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24")
        await asyncio.wait_for(told.wait(), 5)
        assert calls == 1
        told.clear()
        ip("addr", "del", "192.0.2.3/24", "dev", "eth9")
        await asyncio.wait_for(told.wait(), 5)
        stop()
        stop()

    in_namespace(work)


@pytest.mark.lab
def test_another_router_is_told_but_no_other_route(in_namespace):
    async def work() -> None:
        told = asyncio.Event()
        link("eth9", "192.0.2.1/24")
        platform = make_platform(settle=0.05)
        stop = platform.watch_links(told.set)
        for change in (("add", "192.0.2.2"), ("replace", "192.0.2.3"), ("del", "192.0.2.3")):
            ip("route", change[0], "default", "via", change[1])
            await asyncio.wait_for(told.wait(), 5)
            told.clear()
            assert platform.gateway() == (None if change[0] == "del" else change[1])
        ip("route", "add", "198.51.100.0/24", "via", "192.0.2.9")
        monitor = netlink.open_monitor()
        ip("route", "add", "203.0.113.0/24", "via", "192.0.2.9")
        assert netlink.changed_interfaces(monitor) == set()
        monitor.close()
        stop()

    in_namespace(work)


@pytest.mark.lab
def test_what_happens_on_our_own_interface_is_not_told(in_namespace):
    async def work() -> None:
        told = asyncio.Event()
        platform = make_platform(settle=0.0)
        device = await platform.open_device("gwt0", 1280)
        stop = platform.watch_links(told.set)
        await platform.configure(NetworkConfig("gwt0", 1280, ("100.64.0.2/32",)))
        assert not told.is_set()
        link("eth9", "192.0.2.1/24")
        await asyncio.wait_for(told.wait(), 5)
        stop()
        device.close()

    in_namespace(work)


@pytest.mark.lab
def test_a_stopped_watch_is_silent(in_namespace):
    async def work() -> None:
        told = asyncio.Event()
        make_platform(settle=0.0).watch_links(told.set)()
        heard = asyncio.Event()
        stop = make_platform(settle=0.0).watch_links(heard.set)
        link("eth9", "192.0.2.1/24")
        await asyncio.wait_for(heard.wait(), 5)
        assert not told.is_set()
        stop()

    in_namespace(work)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 15,
        b"\x00" * 16,
        b"\xff" * 64,
        (17).to_bytes(4, "little") + bytes(12),
        (20).to_bytes(4, "little") + (20).to_bytes(2, "little") + bytes(10) + b"\x02\x20\x00\x00",
    ],
)
def test_truncated_netlink_messages_end_the_parsing(data):
    assert all(len(payload) <= len(data) for _, payload in netlink.messages(data))


def test_messages_from_other_processes_are_not_believed():
    class Forged:
        def __init__(self) -> None:
            self.queue = [((32).to_bytes(4, "little") + bytes(28), (4711, 0))]

        def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
            if self.queue:
                return self.queue.pop()
            raise BlockingIOError

    forged = Forged()
    assert netlink.changed_interfaces(forged) == set()  # type: ignore[arg-type]


def test_lost_messages_count_as_a_change_of_everything():
    class Overrun:
        def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
            raise OSError(105, "No buffer space available")

    assert netlink.changed_interfaces(Overrun()) is None  # type: ignore[arg-type]


def via(*words: str) -> None:
    ip("route", "add", "default", *words)


@pytest.mark.lab
def test_the_gateway_is_the_router_of_the_preferred_default_route(in_namespace):
    async def work() -> None:
        platform = make_platform()
        assert platform.gateway() is None
        link("eth8", "198.51.100.2/24")
        link("eth9", "192.0.2.2/24")
        ip("route", "add", "203.0.113.0/24", "via", "192.0.2.9")
        via("via", "192.0.2.1", "table", "77")
        assert platform.gateway() is None
        via("via", "198.51.100.1", "metric", "600")
        assert platform.gateway() == "198.51.100.1"
        via("via", "192.0.2.1", "metric", "100")
        assert platform.gateway() == "192.0.2.1"
        ip("link", "set", "eth9", "down")
        assert platform.gateway() == "198.51.100.1"

    in_namespace(work)


@pytest.mark.lab
def test_a_default_route_without_a_router_names_none_and_one_of_several_routers_names_the_first(in_namespace):
    async def work() -> None:
        link("eth9", "192.0.2.2/24")
        via("dev", "eth9", "metric", "5")
        assert make_platform().gateway() is None
        via("metric", "9", "nexthop", "via", "192.0.2.1", "nexthop", "via", "192.0.2.9")
        assert make_platform().gateway() == "192.0.2.1"

    in_namespace(work)


@pytest.mark.lab
def test_a_default_route_through_our_own_device_is_no_way_to_a_router(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(NetworkConfig("gwt0", 1280, ("100.64.0.2/32",), ("100.64.0.0/16",)))
        via("via", "100.64.0.1", "dev", "gwt0")
        assert platform.gateway() is None
        assert make_platform().gateway() == "100.64.0.1"
        device.close()

    in_namespace(work)
