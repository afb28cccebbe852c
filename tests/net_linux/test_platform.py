"""The Linux platform in a network namespace of its own: interfaces, addresses, routes and what goes wrong."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import pytest

from ghostwire import NetworkConfig
from ghostwire.errors import PermissionDenied, PlatformError
from ghostwire_net_linux import plugin
from ghostwire_net_linux.command import run_child
from ghostwire_net_linux.configure import Request

from .conftest import STATE, bare_context, ip, make_platform

pytestmark = pytest.mark.lab

FIRST = NetworkConfig("gwt0", 1280, ("100.64.0.2/32", "fd7a::2/128"), ("100.64.0.0/16", "fd7a::/48"))
SECOND = NetworkConfig("gwt0", 1300, ("100.64.0.3/32", "fd7a::2/128"), ("100.64.0.0/16", "100.70.0.0/16"))
PIPE = asyncio.subprocess.PIPE
VICTIM = (sys.executable, str(Path(__file__).with_name("victim.py")), STATE.name)


def request(network: NetworkConfig) -> Request:
    return Request(network.interface, network.mtu, network.addresses, network.routes, network.lan)


def addresses(interface: str) -> set[str]:
    lines = ip("-o", "addr", "show", "dev", interface).splitlines()
    return {line.split()[3] for line in lines}


def routes(interface: str) -> set[str]:
    lines = ip("route", "show", "table", "all", "dev", interface).splitlines()
    return {line.split()[0] for line in lines if "proto 71" in line}


def test_an_interface_gets_exactly_what_was_asked_for(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        assert addresses("gwt0") == set()
        await platform.configure(FIRST)
        assert addresses("gwt0") == set(FIRST.addresses)
        assert routes("gwt0") == set(FIRST.routes)
        assert "mtu 1280" in ip("link", "show", "gwt0")
        assert ",UP" in ip("link", "show", "gwt0")
        device.close()

    in_namespace(work)


def test_a_later_configuration_removes_what_it_no_longer_holds(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(FIRST)
        await platform.configure(SECOND)
        assert addresses("gwt0") == set(SECOND.addresses)
        assert routes("gwt0") == set(SECOND.routes)
        assert "mtu 1300" in ip("link", "show", "gwt0")
        device.close()

    in_namespace(work)


def test_configuring_the_same_again_changes_nothing(in_namespace):
    async def work() -> None:
        device = await make_platform().open_device("gwt0", 1280)
        assert (await run_child(request(FIRST))).changes
        assert (await run_child(request(FIRST))).changes == ()
        device.close()

    in_namespace(work)


def test_what_others_put_on_the_machine_is_not_touched(in_namespace):
    async def work() -> None:
        platform = make_platform()
        ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        ip("addr", "add", "192.0.2.1/24", "dev", "veth0")
        ip("link", "set", "veth0", "up")
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(FIRST)
        ip("route", "add", "198.51.100.0/24", "dev", "gwt0")
        ip("route", "add", "203.0.113.0/24", "via", "192.0.2.9", "proto", "71")
        await platform.configure(SECOND)
        await platform.restore()
        assert "192.0.2.1/24" in addresses("veth0")
        assert "203.0.113.0/24" in ip("route")
        device.close()

    in_namespace(work)


@pytest.mark.parametrize("prefix", ["100.64.0.0/16", "fd7a::/48"])
def test_a_prefix_that_another_interface_has_is_refused_by_name(in_namespace, prefix):
    async def work() -> None:
        platform = make_platform()
        first, second = [await platform.open_device(name, 1280) for name in ("gwt0", "gwt1")]
        await platform.configure(NetworkConfig("gwt0", 1280, ("100.64.0.2/32", "fd7a::2/128"), (prefix,)))
        with pytest.raises(PlatformError, match=f"interface gwt1: {prefix} is routed to another one already"):
            await platform.configure(NetworkConfig("gwt1", 1280, ("100.64.0.3/32", "fd7a::3/128"), (prefix,)))
        assert routes("gwt0") == {prefix}
        first.close()
        second.close()

    in_namespace(work)


def test_a_route_that_others_hold_already_is_added_on_our_interface_alone(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(FIRST)
        ip("route", "add", "198.51.100.0/24", "dev", "gwt0")
        await platform.configure(SECOND)
        assert "198.51.100.0/24" in ip("route", "show", "dev", "gwt0")
        device.close()

    in_namespace(work)


def test_restoring_takes_back_everything_and_twice_does_no_harm(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(FIRST)
        await platform.restore()
        assert addresses("gwt0") == routes("gwt0") == set()
        assert "UP" not in ip("link", "show", "gwt0").partition(">")[0]
        await platform.restore()
        await platform.configure(FIRST)
        assert addresses("gwt0") == set(FIRST.addresses)
        device.close()
        await platform.restore()
        assert "gwt0" not in ip("link")

    in_namespace(work)


def test_a_killed_process_leaves_no_interface_address_or_route(in_namespace):
    async def work() -> None:
        victim = await asyncio.create_subprocess_exec(*VICTIM, msgspec.json.encode(FIRST), stdin=PIPE, stdout=PIPE)
        assert victim.stdout is not None
        assert await victim.stdout.readline() == b"configured\n"
        assert addresses("gwt0") == set(FIRST.addresses)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
        assert ip("route") + ip("-6", "route") == ""

    in_namespace(work)


def test_without_ipv6_the_rest_is_configured_and_a_line_says_so(in_namespace, caplog):
    async def work() -> None:
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        device = await make_platform().open_device("gwt0", 1280)
        answer = await run_child(request(FIRST))
        assert addresses("gwt0") == {"100.64.0.2/32"}
        assert any("fd7a::2" in text for text in answer.skipped)
        device.close()

    in_namespace(work)


@pytest.mark.parametrize("kind", ["tun", "foreign"])
def test_a_name_that_is_taken_is_refused_in_one_clear_line(in_namespace, kind):
    async def work() -> None:
        first = await make_platform().open_device("gwt0", 1280) if kind == "tun" else None
        if kind == "foreign":
            ip("link", "add", "gwt0", "type", "veth", "peer", "name", "veth1")
        with pytest.raises(PlatformError, match=r"^interface gwt0 exists already: .* set interface in \[node\]$"):
            await make_platform().open_device("gwt0", 1280)
        assert "gwt0" in ip("link")
        if first:
            first.close()

    in_namespace(work)


def test_an_interface_that_vanished_is_an_error(in_namespace):
    async def work() -> None:
        with pytest.raises(PlatformError, match="interface gwt0 does not exist"):
            await make_platform().configure(FIRST)

    in_namespace(work)


def test_without_the_right_to_make_interfaces_the_person_is_told_to_be_root(in_namespace):
    async def work() -> None:
        _drop_net_admin()
        with pytest.raises(PermissionDenied, match="run as root"):
            await make_platform().open_device("gwt0", 1280)

    in_namespace(work)


def _drop_net_admin() -> None:
    """Leave CAP_NET_ADMIN (12) out of the effective and permitted sets, by capset(2), keeping the others."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, os.getpid())
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for at in (0, 1):
        data[at] &= ~(1 << 12)
    assert libc.capset(header, data) == 0


async def test_a_missing_tun_device_node_says_how_to_get_it(tmp_path):
    with pytest.raises(
        PlatformError, match="is missing: run modprobe tun, or in a container add --device /dev/net/tun"
    ):
        await make_platform(tun=str(tmp_path / "tun")).open_device("gwt0", 1280)


@pytest.mark.parametrize("name", ["", "a" * 16, "gw/0", "gw 0", "tun%d", "..", "gw\x000"])
async def test_an_impossible_interface_name_is_refused(name):
    with pytest.raises(PlatformError, match="interface name"):
        await make_platform().open_device(name, 1280)


def test_the_daemon_itself_never_loads_the_netlink_library(in_namespace):
    async def work() -> None:
        platform = make_platform()
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(FIRST)
        platform.local_addresses()
        platform.watch_links(lambda: None)()
        device.close()
        assert not [name for name in sys.modules if name.startswith("pyroute2")]

    in_namespace(work)


def test_the_plugin_offers_one_platform_named_linux():
    offers = list(plugin.ghostwire_platforms())
    assert [offer.name for offer in offers] == ["linux"]
    assert isinstance(make_platform(), type(offers[0].create(bare_context())))
