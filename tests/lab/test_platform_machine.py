"""The Linux platform on machines that lack something, lose something, or carry two nodes."""

from __future__ import annotations

import ctypes
import errno
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from test_platform import EXIT, MESH, OWN, PEER, ip, lan, make_platform, nft, until, way
from test_platform_firewall import family, machine, passes

from ghostwire import FirewallRule, Forwarding, NetworkConfig
from ghostwire.capabilities.platform import PLUGIN_MARK, SOCKET_MARK
from ghostwire.errors import PlatformError
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing.namespace import in_namespace

SETTINGS = Path("/proc/sys/net")
FORWARD = SETTINGS / "ipv4/ip_forward"
VICTIM = Path(__file__).parents[1] / "net_linux" / "victim.py"
BEHIND = Forwarding(("192.0.2.0/24", "2001:db8::/64"))
SECOND = NetworkConfig("gwt1", 1280, ("100.65.0.2/32",), ("100.65.0.0/24",))


def changed(network: NetworkConfig, **what: Any) -> NetworkConfig:
    return msgspec.structs.replace(network, **what)


@contextmanager
def another_node(folder: Path, network: NetworkConfig) -> Iterator[subprocess.Popen[bytes]]:
    """Configured in a process of its own, until its stdin is closed."""
    words = [sys.executable, str(VICTIM), str(folder), msgspec.json.encode(network).decode()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"configured\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_strict_reverse_path_filter_is_loosened_while_routes_lead_beyond_the_mesh(tmp_path):
    async def work() -> None:
        filters = [SETTINGS / f"ipv4/conf/{name}/rp_filter" for name in ("all", "default", "eth0")]
        with machine("eth0", ("192.0.2.2/24",), ("192.0.2.9/24", "198.51.100.9/24")) as there:
            for path in filters:
                path.write_text("1")
            ip("route", "add", "default", "via", "192.0.2.9")
            platform = make_platform(tmp_path)
            device = await platform.open_device("gwt0", 1280)
            await platform.configure(MESH)
            assert [path.read_text() for path in filters] == ["1\n"] * 3, "the mesh alone needs no loosening"
            await platform.configure(EXIT)
            assert way("198.51.100.9") == "gwt0"
            assert [path.read_text() for path in filters] == ["1\n", "2\n", "2\n"]
            with there():
                far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                far.bind(("198.51.100.9", 7))
            with far, SystemSockets(SOCKET_MARK).udp("0.0.0.0", 0) as own:
                own.connect(("198.51.100.9", 7))
                own.send(b"x")
                far.connect(far.recvfrom(9)[1])
                assert passes(far, own), "an answer to the node's own socket is filtered away"
            await platform.restore()
            assert [path.read_text() for path in filters] == ["1\n"] * 3
            device.close()

    in_namespace(work)


def test_settings_that_cannot_be_changed_are_named_once_with_what_to_do(tmp_path, caplog):
    async def work() -> None:
        lan()
        _mount_settings_read_only()
        platform = make_platform(tmp_path)
        device = await platform.open_device("gwt0", 1280)
        for _ in range(2):
            await platform.configure(changed(MESH, forwarding=Forwarding(("192.0.2.0/24",))))
        said = (
            "net.ipv4.ip_forward cannot be set to 1 (Read-only file system): have it set from outside; in a container"
        )
        assert caplog.text.count(said) == 1
        assert (FORWARD.read_text(), way(PEER)) == ("0\n", "gwt0")
        assert not (tmp_path / "sysctls.json").exists()
        await platform.restore()
        device.close()

    in_namespace(work)


def _mount_settings_read_only() -> None:
    assert ctypes.CDLL(None).unshare(0x00020000) == 0  # CLONE_NEWNS
    for words in ("--make-rprivate /", "--bind /proc/sys /proc/sys", "-o remount,bind,ro /proc/sys"):
        subprocess.run(["mount", *words.split()], check=True)


def test_a_kernel_without_rules_is_named():
    async def work() -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        from ghostwire_net_linux import routes

        def refuse(family: int) -> None:
            raise NetlinkError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

        with pytest.raises(PlatformError, match=r"no ip rules \(CONFIG_IP_MULTIPLE_TABLES\)"):
            routes.held_rules(SimpleNamespace(get_rules=refuse))

    in_namespace(work)


def test_a_network_is_reached_while_its_link_carries_and_no_longer(tmp_path):
    async def work() -> None:
        platform, near, beyond = make_platform(tmp_path), ("192.0.2.0/24", "2001:db8::/64"), ("198.51.100.0/24", "::/0")
        lan()
        await until(lambda: all(map(platform.reaches, (*near, *beyond))))
        ip("link", "set", "far0", "down")
        assert not any(map(platform.reaches, (*near, *beyond)))
        ip("link", "set", "far0", "up")
        await until(lambda: all(map(platform.reaches, near)))
        ip("route", "add", "blackhole", "192.0.2.128/25")
        assert not platform.reaches("192.0.2.128/25"), "a route that leads nowhere counts"

    in_namespace(work)


def test_forwarding_that_another_node_needs_outlives_the_first_node_and_is_put_back_by_a_cleanup(tmp_path):
    async def work() -> None:
        lan()
        (tmp_path / "second").mkdir()
        first, second = make_platform(tmp_path), make_platform(tmp_path / "second")
        devices = [await first.open_device("gwt0", 1280), await second.open_device("gwt1", 1280)]
        await first.configure(changed(MESH, routes=("100.64.0.0/24",), forwarding=BEHIND))
        await second.configure(changed(SECOND, forwarding=BEHIND))
        assert sorted(_tables()) == ["ghostwire_gwt0", "ghostwire_gwt1"]
        await first.configure(MESH)
        assert FORWARD.read_text() == "1\n", "one node's change of mind takes another's forwarding away"
        await first.restore()
        devices[0].close()
        assert (SETTINGS / "ipv6/conf/eth0/accept_ra").read_text() == "2\n"
        assert (FORWARD.read_text(), _tables()) == ("1\n", ["ghostwire_gwt1"])
        assert way("100.65.0.9") == "gwt1"
        assert not await make_platform(tmp_path).cleanup(), "what another node needs is taken away"
        await second.restore()
        devices[1].close()
        removed = await make_platform(tmp_path).cleanup()
        settings = ("ipv4.ip_forward", "ipv6.conf.all.forwarding", "ipv6.conf.eth0.accept_ra")
        assert {f"put net.{each} back to {int('ra' in each)}" for each in settings} <= set(removed)
        assert FORWARD.read_text() == "0\n"

    in_namespace(work)


def _tables() -> list[str]:
    listed = json.loads(nft("-j", "list", "tables"))["nftables"]
    return [each["table"]["name"] for each in listed if "table" in each]


@pytest.mark.parametrize("routes", [MESH.routes, EXIT.routes], ids=["mesh", "exit"])
def test_what_a_killed_node_leaves_matches_nothing_and_goes_by_cleanup(tmp_path, routes):
    async def work() -> None:
        with (
            machine("eth0", ("192.0.2.1/24", "2001:db8::1/64"), ("192.0.2.9/24", "2001:db8::9/64")) as lan_host,
            machine("eth1", ("198.51.100.1/24", "fd99::1/64"), ("198.51.100.9/24", "fd99::9/64")) as stranger,
        ):
            network = changed(MESH, routes=routes, forwarding=BEHIND, isolated=True)
            with another_node(tmp_path, network) as node:
                assert {"check", "postrouting", "clamp", "output"} <= _chains()
                node.send_signal(signal.SIGKILL)
                node.wait()
            assert _tables() == ["ghostwire_gwt0"]
            assert ("No route to host" in way("198.51.100.9")) == (routes == EXIT.routes)
            if routes == MESH.routes:
                for near, far in (("192.0.2.9", "198.51.100.9"), ("2001:db8::9", "fd99::9")):
                    _is_left_alone(lan_host, stranger, near, far)
            platform = make_platform(tmp_path)
            removed = await platform.cleanup()
            assert "remove nftables table inet ghostwire_gwt0" in removed
            assert "put net.ipv4.ip_forward back to 0" in removed
            assert ("remove route unreachable 0.0.0.0/0" in removed) == (routes == EXIT.routes)
            assert (_tables(), FORWARD.read_text(), "52" in ip("rule")) == ([], "0\n", False)
            assert not await platform.cleanup()

    in_namespace(work)


def _chains() -> set[str]:
    listed = json.loads(nft("-j", "list", "table", "inet", "ghostwire_gwt0"))["nftables"]
    return {each["chain"]["name"] for each in listed if "chain" in each}


def _is_left_alone(lan_host: Any, stranger: Any, near: str, far: str) -> None:
    """What crosses this machine between others keeps its address, and local sockets get through."""
    gateway = {"192.0.2.9": ("192.0.2.1", "198.51.100.1"), "2001:db8::9": ("2001:db8::1", "fd99::1")}[near]
    with lan_host():
        ip("route", "add", "default", "via", gateway[0])
        service = socket.create_server((near, 7), family=family(near))
    with stranger():
        ip("route", "add", "default", "via", gateway[1])
        client = socket.create_connection((near, 7), 3)
    with service, client, service.accept()[0] as accepted:
        assert accepted.getpeername()[0] == far
        assert passes(client, accepted)
    local = "::1" if ":" in near else "127.0.0.1"
    with socket.create_server((local, 0), family=family(local)) as here:
        socket.create_connection(here.getsockname()[:2], 3).close()


def test_a_node_that_starts_again_after_a_kill_takes_over_what_it_left(tmp_path):
    async def work() -> None:
        lan()
        network = changed(EXIT, forwarding=BEHIND, isolated=True)
        with another_node(tmp_path, network) as node:
            node.send_signal(signal.SIGKILL)
            node.wait()
        platform = make_platform(tmp_path)
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(MESH)
        assert (_tables(), FORWARD.read_text(), way("198.51.100.1"), way(PEER)) == ([], "0\n", "eth0", "gwt0")
        await platform.restore()
        device.close()
        assert "52" not in ip("rule") + ip("-6", "rule")

    in_namespace(work)


def test_what_a_plugin_sends_over_ipv6_reaches_neither_this_machine_nor_the_mesh(tmp_path):
    async def work() -> None:
        lan()
        platform = make_platform(tmp_path)
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(changed(MESH, isolated=True))
        link = socket.if_nametoindex("eth0")
        with SystemSockets(PLUGIN_MARK).udp("::", 0) as plugin, SystemSockets().udp("::", 0) as service:
            port = service.getsockname()[1]
            targets = [(each, port) for each in ("::1", "fd7a::2", "2001:db8::2", "fd00:ec2::254")]
            for target in (*targets, ("fe80::1", port, 0, link), ("ff02::1", port, 0, link)):
                with pytest.raises(PermissionError):
                    plugin.sendto(b"let me in", target)
            into = bytes(16) + socket.if_nametoindex("gwt0").to_bytes(4, sys.byteorder)
            with pytest.raises(OSError):
                plugin.sendmsg(
                    [b"into the mesh"], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, into)], 0, ("fd7a::3", 9)
                )
            assert plugin.sendto(b"out", ("2001:db8:1::1", 9)) == 3
            service.sendto(b"x", ("::1", port))
            assert service.recv(9) == b"x", "others' packets are dropped"
        await platform.restore()
        device.close()

    in_namespace(work)


def test_nft_that_goes_away_leaves_what_is_in_force_and_says_so(tmp_path, caplog, monkeypatch):
    async def work() -> None:
        lan()
        platform = make_platform(tmp_path)
        device = await platform.open_device("gwt0", 1280)
        await platform.configure(MESH)
        await platform.firewall("gwt0", [FirewallRule((f"{PEER}/32",), (f"{OWN}/32",))])
        with monkeypatch.context() as without:
            without.setattr("ghostwire_net_linux.command.nft_path", lambda: None)
            with pytest.raises(PlatformError, match="nft is missing; install nftables"):
                await platform.firewall("gwt0", ())
            assert "check" in _chains()
            await platform.configure(changed(MESH, routes=("100.64.0.0/16",)))
            assert "the system's firewall may lack the latest rules, or be gone: nft is missing" in caplog.text
            assert (way(PEER), way("100.65.0.1")) == ("gwt0", "eth0")
            await platform.restore()
            assert "nftables table inet ghostwire_gwt0 stays" in caplog.text
        device.close()
        assert await make_platform(tmp_path).cleanup() == ["remove nftables table inet ghostwire_gwt0"]

    in_namespace(work)
