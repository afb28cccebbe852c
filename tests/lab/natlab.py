"""An "internet" of hosts, routers and NATs of every kind, in network namespaces (driven by `ip` and `nft` alone).

    with Lab() as lab:                        # root; every name gets a prefix of this process
        lab.host("control", "10.50.0.1", v6="fd50::1")
        lab.site("a", "port_restricted", clients=2)
        lab.build()                           # about 0.1 s and 15 ms a site
        daemon = lab.popen("a1", ["ghostwire", "client"])          # a process in client a1
        sock = lab.socket("a2")                                    # a socket in a2, in this process

Addresses: internet 10.50.0.0/16 and fd50::/64 on one bridge; site N: outside 10.50.1.N, inside 10.60.N.0/24 (double
NAT: the carrier's 10.61.N.0/24 between); IPv6 site: fd60:N::/64 routed, no IPv4 at all. Kinds of site: ``none`` (no
router), ``ipv6_only``, ``double_nat`` and those of `nats.NATS`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats import firewall_rules, nat_rules
from netns import RESOLVERS, in_netns, remove, sh

GATEWAY, GATEWAY6 = "10.50.255.254", "fd50::ffff"
_BRIDGE = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
_FORWARD = {"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1}
_BRIDGED = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")
"""Whether packets that a bridge passes on go through the rules for routed ones; no switch does that to a LAN."""
# Packets to private addresses get lost in the internet, and so does what has but four hops left: it is as many
# routers, else a knock (see the node's `rounds`) of a host without a router would reach the far side's.
_INTERNET_RULES = """
table inet f {
  chain forward { type filter hook forward priority 0
    ip daddr 10.60.0.0/15 drop
  }
}
table bridge f {
  chain forward { type filter hook forward priority 0
    ip ttl < 5 drop
  }
}
"""


@dataclass
class Member:
    """One namespace: lines for ``ip -batch``, sysctls and nftables rules."""

    name: str
    links: list[str] = field(default_factory=lambda: ["link set lo up"])
    sysctls: dict[str, Any] = field(
        default_factory=lambda: {"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0}
    )
    rules: str = ""


class Lab:
    """Describe with `host` and `site`, then `build`; leaving the context takes everything away."""

    _ids = itertools.count()

    def __init__(self, prefix: str | None = None, *, ipv6: bool = True) -> None:
        self.prefix = prefix or f"gwp{os.getpid()}x{next(self._ids)}-"
        self.ipv6 = ipv6
        self.members: dict[str, Member] = {}
        self.addresses: dict[str, str] = {}
        self.outside: dict[str, tuple[str, ...]] = {}
        """Where the internet sees a member's packets come from."""
        self.processes: list[subprocess.Popen[Any]] = []
        self._cables: list[tuple[str, str, str, str]] = []  # member, interface, member, interface
        self._ports = itertools.count()
        self._sites = itertools.count(1)
        self._impaired: set[str] = set()
        self._wires: dict[str, subprocess.Popen[str]] = {}
        self._internet()

    def ns(self, name: str) -> str:
        """The namespace's name on this machine."""
        return self.prefix + name

    # -- description

    def host(self, name: str, *v4: str, v6: str | None = None, wire: bool = False) -> None:
        """A host with public addresses; ``wire`` puts a wire.py on its uplink (see `impair`)."""
        if wire:
            self._impaired.add(name)
        self._member(name)
        self._uplink(name, "eth0", v4, v6)
        self.addresses[name] = v4[0] if v4 else v6 or ""
        self.outside[name] = (*v4, v6) if v6 and self.ipv6 else v4

    def site(self, name: str, kind: str, clients: int = 1, *, udp_timeout: int = 0, wire: bool = False) -> None:
        """A router NAME-r of this kind with clients NAME1..n behind it; kind ``none``: the clients alone."""
        if wire:
            self._impaired |= {f"{name}1", f"{name}-r", f"{name}-cgn"}
        number = next(self._sites)
        if kind == "none":
            for client in range(1, clients + 1):
                self.host(f"{name}{client}", f"10.50.{1 + client}.{number}", v6=f"fd50::{1 + client}:{number}")
            return
        router = self._router(f"{name}-r")
        if udp_timeout:
            for timer in ("udp_timeout", "udp_timeout_stream"):
                router.sysctls[f"net/netfilter/nf_conntrack_{timer}"] = udp_timeout
        inside = self._inside6 if kind == "ipv6_only" else self._inside4
        inside(router, name, kind, number)
        for client in range(1, clients + 1):
            self._client(router, f"{name}{client}", client, number, v6=kind == "ipv6_only")

    def _internet(self) -> None:
        internet = self._member("inet")
        internet.links += [
            f"link add br0 {_BRIDGE}",
            "link set br0 up",
            f"addr add {GATEWAY}/16 dev br0",
            f"addr add {GATEWAY6}/64 dev br0 nodad",
        ]
        internet.sysctls |= _FORWARD
        internet.rules = _INTERNET_RULES

    def _member(self, name: str) -> Member:
        member = self.members[name] = Member(name)
        return member

    def _router(self, name: str) -> Member:
        router = self._member(name)
        router.sysctls |= _FORWARD
        return router

    def _inside4(self, router: Member, name: str, kind: str, number: int) -> None:
        wan, lan = f"10.50.1.{number}", f"10.60.{number}"
        router.links += [f"link add lan {_BRIDGE}", "link set lan up", f"addr add {lan}.1/24 dev lan"]
        if kind == "double_nat":
            wan = self._carrier(router, f"{name}-cgn", wan, number)
            kind = "port_restricted"
        else:
            self._uplink(router.name, "wan", [wan], None)
        router.rules = nat_rules(kind, wan=wan, lan=f"{lan}.0/24", client=f"{lan}.2")

    def _carrier(self, router: Member, name: str, wan: str, number: int) -> str:
        carrier, net = self._router(name), f"10.61.{number}"
        self._uplink(name, "wan", [wan], None)
        self._cables.append((name, "lan", router.name, "wan"))
        carrier.links += ["link set lan up", f"addr add {net}.1/24 dev lan"]
        carrier.rules = nat_rules("port_restricted", wan=wan, lan=f"{net}.0/24", client=f"{net}.2")
        router.links += ["link set wan up", f"addr add {net}.2/24 dev wan", f"route add default via {net}.1"]
        return f"{net}.2"

    def _inside6(self, router: Member, name: str, kind: str, number: int) -> None:
        router.links += [f"link add lan {_BRIDGE}", "link set lan up"]
        self._uplink(router.name, "wan", [], f"fd50::1:{number}")
        router.links.append(f"addr add fd60:{number}::1/64 dev lan nodad")
        self.members["inet"].links.append(f"route add fd60:{number}::/64 via fd50::1:{number}")
        router.rules = firewall_rules()

    def _client(self, router: Member, name: str, client: int, number: int, *, v6: bool) -> None:
        member = self._member(name)
        self._cables.append((router.name, f"c{client}", name, "eth0"))
        router.links += [f"link set c{client} master lan", f"link set c{client} up"]
        net, width, flag = (f"fd60:{number}::", 64, " nodad") if v6 else (f"10.60.{number}.", 24, "")
        address = self.addresses[name] = f"{net}{1 + client}"
        self.outside[name] = (address if v6 else f"10.50.1.{number}",)
        member.links += [
            "link set eth0 up",
            f"addr add {address}/{width} dev eth0{flag}",
            f"route add default via {net}1",
        ]

    def _uplink(self, name: str, interface: str, v4: Sequence[str], v6: str | None) -> None:
        port = f"p{next(self._ports)}"
        self.members["inet"].links += [f"link set {port} master br0", f"link set {port} up"]
        if name in self._impaired:  # inet -- wa [wire.py] wb -- member
            self._cables += [("inet", port, f"{name}-w", "wa"), (f"{name}-w", "wb", name, interface)]
            wire = self._member(f"{name}-w")
            wire.sysctls = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}
            wire.links += ["link set wa up", "link set wb up"]
        else:
            self._cables.append(("inet", port, name, interface))
        links = self.members[name].links
        links.append(f"link set {interface} up")
        links += [f"addr add {address}/16 dev {interface}" for address in v4]
        links += [f"route add default via {GATEWAY}"] if v4 else []
        if v6 and self.ipv6:
            links += [f"addr add {v6}/64 dev {interface} nodad", f"route add default via {GATEWAY6}"]

    # -- making it

    def build(self) -> None:
        """Make what was described; RuntimeError says which command failed."""
        sh(["ip", "-batch", "-"], "".join(f"netns add {self.ns(name)}\n" for name in self.members))
        for member in self.members.values():  # before any interface is there: conf/default is copied
            self._set_sysctls(member)
        sh(["ip", "-batch", "-"], "".join(map(self._cable_line, self._cables)))
        started = [work for member in self.members.values() for work in self._configure(member)]
        for name, worker in started:
            _, errors = worker.communicate()
            if worker.returncode:
                raise RuntimeError(f"{worker.args} in {name}: {errors}")
        for name in [name for name in self.members if name.endswith("-w")]:
            self._start_wire(name)
        self._wait_for_links()

    def _cable_line(self, cable: tuple[str, str, str, str]) -> str:
        a, a_interface, b, b_interface = cable
        return f"link add {a_interface} netns {self.ns(a)} type veth peer name {b_interface} netns {self.ns(b)}\n"

    def _set_sysctls(self, member: Member) -> None:
        with in_netns(self.ns(member.name)):
            for key, value in member.sysctls.items():
                Path("/proc/sys", key).write_text(str(value))
            for path in (Path("/proc/sys", key) for key in _BRIDGED):
                if path.exists():
                    path.write_text("0")

    def _configure(self, member: Member) -> Iterable[tuple[str, subprocess.Popen[str]]]:
        lines = "".join(f"{line}\n" for line in [*member.links, *self._quick_discovery(member)])
        yield member.name, self._feed(member, ["ip", "-batch", "-"], lines)
        if member.rules:
            yield member.name, self._feed(member, ["nft", "-f", "-"], member.rules)

    def _feed(self, member: Member, command: list[str], text: str) -> subprocess.Popen[str]:
        with in_netns(self.ns(member.name)):  # children inherit the thread's namespace
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert worker.stdin is not None
        worker.stdin.write(text)
        worker.stdin.close()
        worker.stdin = None
        return worker

    def _quick_discovery(self, member: Member) -> Iterable[str]:
        """The first multicast of a fresh link is often lost (linkwatch: 1 s), so neighbours are asked again soon."""
        interfaces = {i for a, i, _, _ in self._cables if a == member.name}
        interfaces |= {i for _, _, b, i in self._cables if b == member.name}
        interfaces |= {line.split()[2] for line in member.links if " type bridge" in line}
        for interface in sorted(i for i in interfaces if not i[1:].isdigit()):
            for cache in ("ndisc_cache", "arp_cache"):
                yield f"ntable change name {cache} dev {interface} retrans 50"

    def _start_wire(self, name: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("wire.py")), "wa", "wb"]
        wire = self.popen(name, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._wires[name[:-2]] = wire
        assert wire.stdout.readline() == "ready\n"

    def _wait_for_links(self, limit: float = 10.0) -> None:
        """A fresh link loses packets for up to a second: wait until everybody's gateway has answered him.

        Nothing listens on the gateways' port 9, so an answer is ICMP's "port unreachable".
        """
        with contextlib.ExitStack() as stack:
            waiting = {stack.enter_context(sock): name for name, sock in self._askers()}
            end = time.monotonic() + limit
            while waiting:
                _knock(waiting)
                if time.monotonic() > end:
                    raise RuntimeError(f"no link to the gateway of {sorted(waiting.values())} after {limit} s")

    def _askers(self) -> Iterable[tuple[str, socket.socket]]:
        for name, member in self.members.items():
            for line in member.links:
                if line.startswith("route add default via "):
                    gateway = line.split()[-1]
                    sock = self.socket(name, socket.AF_INET6 if ":" in gateway else socket.AF_INET)
                    sock.connect((gateway, 9))
                    yield name, sock

    # -- using it

    def impair(self, name: str, **values: Any) -> None:
        """impair("port-r", delay=40, loss=5), impair("port-r", a2b={"loss": 100}): a2b is towards the member."""
        wire = self._wires[name]
        assert wire.stdin is not None
        assert wire.stdout is not None
        wire.stdin.write(json.dumps(values) + "\n")
        wire.stdin.flush()
        assert wire.stdout.readline() == "ok\n"

    def socket(self, name: str, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """A socket in a member's namespace, usable from here."""
        with in_netns(self.ns(name)):
            return socket.socket(family, kind)

    def popen(self, name: str, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """A process in a member, in its own session, ended with the lab."""
        process = subprocess.Popen([*self._enter(name), *command], start_new_session=True, **options)
        self.processes.append(process)
        return process

    def run(self, name: str, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in a member to its end; look at ``returncode``, ``stdout`` and ``stderr``."""
        return subprocess.run([*self._enter(name), *command], text=True, capture_output=True, **options)

    def ip(self, name: str, *commands: str) -> None:
        """Run ``ip`` commands in a member; RuntimeError where one fails."""
        sh(["ip", "-n", self.ns(name), "-batch", "-"], "".join(f"{command}\n" for command in commands))

    def _enter(self, name: str) -> list[str]:
        """``ip netns exec`` also lays /etc/netns/NAME over /etc (see `resolv` and `hosts`)."""
        return ["ip", "netns", "exec", self.ns(name)]

    def resolv(self, name: str, text: str) -> None:
        """Give a member a resolv.conf of its own."""
        self._file(name, "resolv.conf", text)

    def hosts(self, names: Mapping[str, Sequence[str]]) -> None:
        """Let all members know these hosts' addresses by name."""
        text = "".join(f"{address} {name}\n" for name, addresses in names.items() for address in addresses)
        for member in self.members:
            self._file(member, "hosts", f"127.0.0.1 localhost\n::1 localhost\n{text}")

    def _file(self, member: str, name: str, text: str) -> None:
        folder = RESOLVERS / self.ns(member)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def close(self) -> None:
        """End the processes, those that carry the others' goodbyes last, and take the namespaces away."""
        wires = list(self._wires.values())
        _end([process for process in self.processes if process not in wires])
        _end(wires)
        remove([self.ns(name) for name in self.members])

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _end(processes: Sequence[subprocess.Popen[Any]]) -> None:
    for process in processes:
        _signal(process, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _knock(waiting: dict[socket.socket, str]) -> None:
    """Everybody asks; whoever was answered leaves ``waiting``."""
    for sock in [sock for sock in waiting if _refused(lambda sock=sock: sock.send(b"?"))]:
        del waiting[sock]
    ready, _, _ = select.select(list(waiting), [], [], 0.02)
    for sock in [sock for sock in ready if _refused(lambda sock=sock: sock.recv(1, socket.MSG_DONTWAIT))]:
        del waiting[sock]


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def standard_lab(lab: Lab) -> Lab:
    """Every kind of site once, and three public hosts."""
    lab.host("control", "10.50.0.1", v6="fd50::1")
    lab.host("relay1", "10.50.0.11", "10.50.0.111", v6="fd50::11")
    lab.host("relay2", "10.50.0.12", v6="fd50::12")
    for name, kind, clients in (
        ("pub", "none", 1),
        ("one", "one_to_one", 1),
        ("full", "full_cone", 2),
        ("addr", "address_restricted", 2),
        ("port", "port_restricted", 2),
        ("phr", "port_restricted_hairpin", 2),
        ("sym", "symmetric", 2),
        ("cgn", "double_nat", 2),
        ("opn", "open_input", 1),
        ("noudp", "udp_blocked", 1),
        ("six", "ipv6_only", 1),
    ):
        lab.site(name, kind, clients)
    lab.build()
    return lab
