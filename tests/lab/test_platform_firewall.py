"""The Linux platform's firewall and masquerade between real namespaces: a peer beyond the interface gwt0."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from test_platform import ip, make_platform

from ghostwire import FirewallRule, Forwarding
from ghostwire.testing.namespace import in_namespace
from ghostwire_net_linux.command import nft
from ghostwire_net_linux.nft import Wanted, transaction

OWN, PEER = ("100.64.0.2", "fd7a::2"), ("100.64.0.3", "fd7a::3")
BOTH = tuple(zip(OWN, PEER, strict=True))
EVERYONE = ("0.0.0.0/0", "::/0")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

Enter = Callable[[], AbstractContextManager[None]]


@contextmanager
def machine(ours: str, addresses: Iterable[str], theirs: Iterable[str]) -> Iterator[Enter]:
    """Another machine at the end of a link; entering it, sockets are made there."""
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo there; exec sleep 60"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        ip("link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _bring_up(ours, addresses)
        with _inside(holder.pid):
            _bring_up("lo", ())
            _bring_up("eth0", theirs)
        yield lambda: _inside(holder.pid)
    finally:
        holder.kill()
        holder.wait()


def _bring_up(name: str, addresses: Iterable[str]) -> None:
    for address in addresses:
        ip("addr", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    ip("link", "set", name, "up")


@contextmanager
def _inside(pid: int) -> Iterator[None]:
    here, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        assert _libc.setns(there, _CLONE_NEWNET) == 0
        yield
    finally:
        assert _libc.setns(here, _CLONE_NEWNET) == 0
        os.close(here)
        os.close(there)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def passes(sender: socket.socket, receiver: socket.socket, patience: float = 3.0) -> bool:
    sender.send(b"x")
    receiver.settimeout(patience)
    try:
        return receiver.recv(100) == b"x"
    except TimeoutError:
        return False


def pings(address: str) -> bool:
    return subprocess.run(["ping", "-c", "1", "-W", "1", address], capture_output=True).returncode == 0


def test_the_firewall_lets_in_what_it_says_and_a_change_cuts_live_streams(tmp_path):
    async def work() -> None:
        addresses = (f"{OWN[0]}/24", f"{OWN[1]}/64"), (f"{PEER[0]}/24", f"{PEER[1]}/64")
        with machine("gwt0", *addresses) as there:
            _know(there, "gwt0")
            platform = make_platform(tmp_path)
            rules = [FirewallRule((peer,), (own,), (6, 17), ((7, 7),)) for own, peer in BOTH]
            await platform.firewall("gwt0", rules)
            streams = [_stream(there, own) for own in OWN]
            for own, peer in BOTH:
                assert _datagram(there, own, 7)
                assert not _datagram(there, own, 8)
                assert _begun_here(there, peer), "an answer to what this machine began is dropped"
                with there():
                    assert not pings(own)
            begin = time.monotonic()
            await platform.firewall("gwt0", [FirewallRule(EVERYONE, OWN, (1, 58))])
            assert time.monotonic() - begin < 1
            for (client, accepted), own in zip(streams, OWN, strict=True):
                assert not passes(client, accepted, 1.0), "a stream outlives the rule that allowed it"
                with there():
                    assert pings(own)
            await platform.restore()
            assert passes(*_stream(there, OWN[0]))

    in_namespace(work)


def _know(there: Enter, ours: str) -> None:
    """Each other's link addresses, which a TUN device has none of: the firewall would drop what asks for them."""
    with there():
        theirs = _link_address("eth0")
        ip("neigh", "add", OWN[1], "lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent")
    ip("link", "set", ours, "address", "02:00:00:00:00:01")
    ip("neigh", "add", PEER[1], "lladdr", theirs, "dev", ours, "nud", "permanent")


def _link_address(name: str) -> str:
    words = ip("link", "show", name).split()
    return words[words.index("link/ether") + 1]


def _stream(there: Enter, own: str) -> tuple[socket.socket, socket.socket]:
    with socket.create_server((own, 7), family=family(own)) as listener:
        with there():
            client = socket.create_connection((own, 7), 3)
        accepted = listener.accept()[0]
    assert passes(client, accepted)
    return client, accepted


def _datagram(there: Enter, own: str, port: int) -> bool:
    """Large enough to come in fragments."""
    with socket.socket(family(own), socket.SOCK_DGRAM) as service:
        service.bind((own, port))
        service.settimeout(0.5)
        with there(), socket.socket(family(own), socket.SOCK_DGRAM) as client:
            client.sendto(bytes(4000), (own, port))
        try:
            return len(service.recv(9000)) == 4000
        except TimeoutError:
            return False


def _begun_here(there: Enter, peer: str) -> bool:
    with there():
        listener = socket.create_server((peer, 9), family=family(peer))
    with listener, socket.create_connection((peer, 9), 3) as client:
        return passes(listener.accept()[0], client)


BEHIND = {
    4: ("100.64.0.0/24", OWN[0], PEER[0], ("192.0.2.0/24", "192.0.2.1", "192.0.2.9"), ("198.51.100.1", "198.51.100.9")),
    6: ("fd7a::/64", OWN[1], PEER[1], ("2001:db8::/64", "2001:db8::1", "2001:db8::9"), ("fd99::1", "fd99::9")),
}
"""By IP version: the mesh, this machine and a peer in it; a network offered with us and a host on it; another such."""
DEVICE_MTU, HEADERS = 1280, {4: 20 + 20, 6: 40 + 20}
TIMESTAMPS = 12
"""Bytes of TCP's option, which TCP_MAXSEG leaves out."""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("masquerade", [True, False])
def test_a_host_behind_sees_the_router_alone_where_packets_are_masqueraded(masquerade, version):
    async def work() -> None:
        mesh, own, ours, (offered, inner, host_address), (beside, unoffered) = BEHIND[version]
        bits = mesh.rpartition("/")[2]
        near, far = (
            [f"{each}/{bits}" for each in (inner, beside)],
            [f"{each}/{bits}" for each in (host_address, unoffered)],
        )
        with machine("gwt0", (f"{own}/{bits}",), (f"{ours}/{bits}",)) as peer, machine("lan0", near, far) as host:
            ip("link", "set", "gwt0", "mtu", str(DEVICE_MTU))
            for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", name).write_text("1")
            await nft(("-f", "-"), transaction(Wanted("gwt0", None, Forwarding((offered,), masquerade))))
            with host():
                ip("route", "add", mesh, "via", inner)
                services = [socket.create_server((each, 7), family=family(each)) for each in (host_address, unoffered)]
            with peer():
                ip("route", "add", "default", "via", own)
                client = socket.create_connection((host_address, 7), 3)
                with pytest.raises(TimeoutError):
                    socket.create_connection((unoffered, 7), 0.5)
            accepted, (source, *_) = services[0].accept()
            assert source == (inner if masquerade else ours)
            assert passes(client, accepted)
            segment = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) + TIMESTAMPS
            assert segment == DEVICE_MTU - HEADERS[version], "segments from behind do not fit into the device"

    in_namespace(work)


def test_two_thousand_sources_are_swapped_at_once():
    async def work() -> None:
        many = tuple(f"100.64.{number >> 8}.{number & 255}" for number in range(0, 4000, 2))
        for sources in (many, many[1:]):
            begin = time.monotonic()
            await nft(("-f", "-"), transaction(Wanted("gwt0", (FirewallRule(sources, OWN),))))
            print(f"{len(sources)} sources: {(time.monotonic() - begin) * 1000:.0f} ms")
            listed = (await nft(("list", "table", "inet", "ghostwire_gwt0"))).decode()
            assert (many[0] in listed, many[-1] in listed) == (sources[0] == many[0], True)

    in_namespace(work)
