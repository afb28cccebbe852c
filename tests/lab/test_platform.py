"""The Linux platform in real namespaces: routes, marks, masquerade and the firewall, with real sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ghostwire import Forwarding, Metrics, NetworkConfig
from ghostwire.capabilities.platform import PLUGIN_MARK, SOCKET_MARK
from ghostwire.errors import PlatformError
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing.namespace import in_namespace
from ghostwire_net_linux import command
from ghostwire_net_linux.platform import LinuxPlatform
from ghostwire_net_linux.settings import Settings

OWN, PEER, OWN6 = "100.64.0.2", "100.64.0.3", "fd7a::2"
MESH = NetworkConfig("gwt0", 1280, (f"{OWN}/32", f"{OWN6}/128"), ("100.64.0.0/10", "fd7a::/48"))
EXIT = NetworkConfig("gwt0", 1280, MESH.addresses, (*MESH.routes, "0.0.0.0/0"))


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def make_platform(folder: Path) -> LinuxPlatform:
    context = SimpleNamespace(settings=Settings(), log=logging.getLogger("test"), metrics=Metrics(), state=folder)
    return LinuxPlatform(context)  # type: ignore[arg-type]


def lan() -> None:
    """eth0, with a router for both families that never answers."""
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    for name in ("eth0", "far0"):
        ip("link", "set", name, "up")
    ip("addr", "add", "192.0.2.2/24", "dev", "eth0")
    ip("addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
    ip("route", "add", "default", "via", "192.0.2.1")
    ip("route", "add", "default", "via", "2001:db8::1")


def way(address: str, mark: int = 0) -> str:
    """The interface that packets with this mark leave by; what the kernel says where they leave by none."""
    extra = ["mark", hex(mark)] if mark else []
    done = subprocess.run(["ip", "route", "get", address, *extra], capture_output=True, text=True)
    words = (done.stdout or done.stderr).split()
    return words[words.index("dev") + 1] if "dev" in words else " ".join(words)


async def until(true: Callable[[], bool]) -> None:
    """Wait for what the platform does by itself; the namespace's 30 s are the limit."""
    while not true():
        await asyncio.sleep(0.05)


def nft(*arguments: str) -> str:
    return subprocess.run(["nft", *arguments], check=True, capture_output=True, text=True).stdout


def test_packets_of_marked_sockets_alone_bypass_a_default_route_into_the_device(tmp_path):
    async def work() -> None:
        lan()
        platform = make_platform(tmp_path)
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(EXIT)
        assert [way(address) for address in ("198.51.100.1", "192.0.2.9", PEER)] == ["gwt0"] * 3
        assert "No route to host" in way("2001:db8:1::1"), "IPv6 leaves beside an exit node for IPv4"
        assert [way(address, SOCKET_MARK) for address in ("198.51.100.1", "2001:db8:1::1")] == ["eth0"] * 2
        assert way("198.51.100.1", PLUGIN_MARK) == "eth0"
        with SystemSockets(SOCKET_MARK).udp("0.0.0.0", 0) as marked, SystemSockets().udp("0.0.0.0", 0) as plain:
            for each in (marked, plain):
                each.connect(("198.51.100.1", 9))
            assert (marked.getsockname()[0], plain.getsockname()[0]) == ("192.0.2.2", OWN)
        device.close()
        assert "No route to host" in way("198.51.100.1"), "packets leave another way once the device is gone"
        assert way("198.51.100.1", SOCKET_MARK) == "eth0"
        await platform.restore()
        assert way("198.51.100.1") == "eth0"

    in_namespace(work)


def test_networks_that_the_machine_is_on_keep_their_way_where_asked_and_as_they_change(tmp_path):
    async def work() -> None:
        lan()
        platform = make_platform(tmp_path)
        await platform.open_device("gwt0", 1280)
        await platform.configure(NetworkConfig(**{**_fields(EXIT), "lan": True}))
        assert (way("192.0.2.9"), way("198.51.100.1")) == ("eth0", "gwt0")
        ip("addr", "add", "203.0.113.2/24", "dev", "eth0")
        await until(lambda: way("203.0.113.9") == "eth0")
        await platform.configure(NetworkConfig(**{**_fields(MESH), "routes": (*MESH.routes, "192.0.0.0/16")}))
        assert (way("192.0.2.9"), way("192.0.3.9"), way(PEER)) == ("eth0", "gwt0", "gwt0")
        await platform.restore()

    in_namespace(work)


def test_rules_and_tables_that_others_take_away_come_back(tmp_path):
    async def work() -> None:
        platform = make_platform(tmp_path)
        await platform.open_device("gwt0", 1280)
        await platform.configure(NetworkConfig(**{**_fields(MESH), "isolated": True}))
        before = ip("rule")
        ip("rule", "del", "priority", "5210")
        await until(lambda: ip("rule") == before)
        nft("flush", "ruleset")
        await until(lambda: "ghostwire_gwt0" in nft("list", "tables"))
        await platform.restore()
        assert "ghostwire_gwt0" not in nft("list", "tables")
        assert "52" not in ip("rule")

    in_namespace(work)


def test_forwarding_is_turned_on_and_put_back_and_ipv6_keeps_its_router_advertisements(tmp_path):
    async def work() -> None:
        lan()
        settings = [Path("/proc/sys/net", name) for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]
        advertised = Path("/proc/sys/net/ipv6/conf/eth0/accept_ra")
        platform = make_platform(tmp_path)
        await platform.open_device("gwt0", 1280)
        forwarding = Forwarding(("192.0.2.0/24", "2001:db8::/64"))
        await platform.configure(NetworkConfig(**{**_fields(MESH), "forwarding": forwarding}))
        assert [each.read_text() for each in (*settings, advertised)] == ["1\n", "1\n", "2\n"]
        await platform.configure(MESH)
        assert [each.read_text() for each in (*settings, advertised)] == ["0\n", "0\n", "1\n"]
        await platform.restore()

    in_namespace(work)


def test_what_a_plugin_sends_reaches_neither_this_machine_nor_the_mesh(tmp_path):
    async def work() -> None:
        lan()
        platform = make_platform(tmp_path)
        await platform.open_device("gwt0", 1280)
        await platform.configure(NetworkConfig(**{**_fields(MESH), "isolated": True}))
        with SystemSockets(PLUGIN_MARK).udp("0.0.0.0", 0) as plugin, SystemSockets().udp("127.0.0.1", 0) as service:
            for target in ("127.0.0.1", OWN, "192.0.2.2", "169.254.169.254", "100.100.100.200"):
                with pytest.raises(OSError) as refused:
                    plugin.sendto(b"let me in", (target, service.getsockname()[1]))
                assert refused.value.errno == errno.EPERM
            into = socket.if_nametoindex("gwt0").to_bytes(4, "little") + bytes(8)
            with pytest.raises(PermissionError):
                plugin.sendmsg([b"into the mesh"], [(socket.IPPROTO_IP, 8, into)], 0, (PEER, 9))
            assert plugin.sendto(b"out", ("198.51.100.1", 9)) == 3
        await platform.restore()

    in_namespace(work)


def test_without_nft_routes_work_and_the_firewall_says_what_to_install(tmp_path, caplog, monkeypatch):
    async def work() -> None:
        monkeypatch.setattr(command, "NFT_PLACES", "")
        monkeypatch.setattr(command.shutil, "which", lambda name, path=None: None)
        platform = make_platform(tmp_path)
        monkeypatch.setattr("ghostwire_net_linux.platform.nft_path", lambda: None)
        await platform.open_device("gwt0", 1280)
        await platform.configure(NetworkConfig(**{**_fields(MESH), "forwarding": Forwarding(("192.0.2.0/24",))}))
        assert way(PEER) == "gwt0"
        assert "forwarded packets keep their mesh addresses: nft is missing; install nftables" in caplog.text
        with pytest.raises(PlatformError, match=r"install nftables, or set \[node\] filter to userspace"):
            await platform.firewall("gwt0", ())
        await platform.restore()

    in_namespace(work)


def _fields(network: NetworkConfig) -> dict[str, object]:
    return {name: getattr(network, name) for name in network.__struct_fields__}
