"""A stranger's plugin in real daemons: it carries the mesh, and finds no plaintext, no key, no name, no way in."""

from __future__ import annotations

import json
import signal
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from natlab import Lab
from netns import in_netns, sh
from programs import CROWDED, Mesh, Node, transfer, wait_for

from ghostwire.keys import NodeKey, load_private_key

MOLE = '''
import asyncio, json, os, socket, sys
import msgspec
from ghostwire import Path, Provider, Transport, hookimpl

class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    orders: str = ""

class MolePath(Path):
    transport, relayed = "mole", False
    def __init__(self, owner, address):
        self.owner, self.address = owner, address
        self.endpoint = f"{address[0]}:{address[1]}"
    def send(self, datagrams):
        self.owner.record(*map(bytes, datagrams))
        try:
            return bool([self.owner.socket.sendto(each, self.address) for each in datagrams])
        except OSError:
            return False
    def __eq__(self, other):
        return isinstance(other, MolePath) and self.address == other.address
    def __hash__(self):
        return hash(self.address)

class Mole(Transport):
    name = "mole"
    def __init__(self, context):
        self.context, self.kept = context, None
    def record(self, *received):
        self.kept = self.kept or open("received", "ab")
        if self.kept.tell() < 32 << 20:
            self.kept.write(b"".join(received))
            self.kept.flush()
    def do(self, order):
        """Once, what the settings say, when the test says so."""
        if order and os.path.exists("go") and not os.path.exists("done-" + order):
            open("done-" + order, "w").close()
            getattr(self, order)()
    def die(self): os._exit(7)
    def spin(self):
        while True: pass
    def quit(self): self.context.failed("feathers lost")
    def leak(self): self.hoard = [bytearray(1 << 20) for _ in range(2000)]
    def flood(self):
        for n in range(20000): self.receive(MolePath(self, ("10.9.%d.%d" % (n >> 8, n & 255), n % 999 + 1)), [b"x"])
        self.endpoints = lambda: ["z" * 9999] * 9999
    def spy(self):
        """Whatever of these paths can be opened, listed, changed or connected to."""
        ways = {
            "read": lambda path: open(path, "rb").read(1), "list": os.listdir, "write": lambda path: open(path, "ab"),
            "remove": os.unlink, "rename": lambda path: os.rename(path, path + ".old"),
            "link": lambda path: os.link(path, "linked"), "mode": lambda path: os.chmod(path, 0o666),
            "connect": lambda path: socket.socket(socket.AF_UNIX).connect(path),
        }
        found = []
        for path in json.load(open("go")):
            for name, way in ways.items():
                try:
                    way(path)
                except OSError:
                    continue
                found.append(f"{name} {path}")
        self.tell(found)
    def tell(self, found):
        with open("found.part", "w") as file:
            json.dump(found, file)
        os.rename("found.part", "found.json")
    def reach(self):
        self.task = asyncio.get_running_loop().create_task(self.attempts())
    async def attempts(self):
        """Every address that a stranger has no business at; what came of it."""
        found = {}
        for host, port in json.load(open("go")):
            for _ in range(3):
                try:
                    (self.six if ":" in host else self.socket).sendto(b"LATERAL", (host, port))
                except OSError:
                    pass
            try:
                await asyncio.wait_for(self.context.sockets.connect(asyncio.Protocol, host, port), 5)
                found[f"{host}:{port}"] = "connected"
            except Exception as error:
                found[f"{host}:{port}"] = f"{type(error).__name__}: {error}"
        for port in (22, 443):
            try:
                await self.context.sockets.listen(asyncio.Protocol, "0.0.0.0", port)
                found[f"listen {port}"] = "listens"
            except Exception as error:
                found[f"listen {port}"] = f"{type(error).__name__}: {error}"
        self.tell(found)
    async def start(self, receive):
        self.receive = receive
        self.socket, self.six = (self.context.sockets.udp(host, 45454) for host in ("0.0.0.0", "::"))
        self.socket.setsockopt(1, 8, 1 << 22)
        told = [repr(self.context), repr(dict(os.environ)), repr(sys.argv), repr(self.context.node_key)]
        told += [repr(self.context.map), repr(self.context.local_addresses()), str(self.context.node_key)]
        self.record(*(text.encode() for text in told))
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self.read)
        self.look()
    def look(self):
        self.do(self.context.settings.orders)
        asyncio.get_running_loop().call_later(0.1, self.look)
    def read(self):
        for _ in range(64):
            try:
                data, address = self.socket.recvfrom(65535)
            except OSError:
                return
            self.record(data)
            self.receive(MolePath(self, address), [data])
    def endpoints(self):
        return [f"{address}:45454" for address in self.context.local_addresses() if ":" not in address]
    def path(self, endpoint):
        host, colon, port = endpoint.rpartition(":")
        if not host or not port.isdigit() or host.count(":"):
            raise ValueError(endpoint)
        self.record(endpoint.encode())
        return MolePath(self, (host, int(port)))
    async def close(self):
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self.socket.close()
        self.six.close()

@hookimpl
def ghostwire_transports():
    yield Provider("mole", Mole)
'''
REFUSED = ("Unavailable", "PermissionDenied")
ONLY_MOLE = """
table inet only {
  chain out { type filter hook output priority 0; policy accept
    oifname "eth0" udp dport != 45454 drop
  }
}
"""
PREFIX = 'ipv4 = "100.99.7.0/24"'
"""Of the mesh; docstrings in the plugin's memory name addresses of the usual one."""
MARK = b"plaintext-that-nobody-else-may-see/"
pytestmark = pytest.mark.usefixtures("tun")

Start = Callable[..., Mesh]


@pytest.fixture
def start(make_lab: Callable[[], Lab], install: Callable[..., Path], tmp_path: Path, monkeypatch: Any) -> Start:
    """``start(orders)`` makes a mesh of aubergine and bilberry; the former's plugin has these orders.

    ``alone``: nothing but the plugin carries it.
    """
    install("mole", MOLE, roles=("node",))

    def start(orders: str = "", *, alone: bool = False) -> Mesh:
        mesh = Mesh(make_lab(), tmp_path, "aubergine", "bilberry", more=PREFIX)
        for name in ("aubergine", "bilberry"):
            said = f'orders = "{orders}"\n' if name == "aubergine" else ""
            mesh[name].config.write_text(f'plugins = ["-derp", "-transport_quic", "mole"]\n[plugin.mole]\n{said}')
            if alone:
                with in_netns(mesh.lab.ns(name)):
                    sh(["nft", "-f", "-"], ONLY_MOLE)
        mesh.start("aubergine", "bilberry")
        return mesh

    return start


def transport(node: Node, name: str = "mole") -> dict[str, Any]:
    return next(each for each in node.status()["transports"] if each["name"] == name)


def child_of(node: Node) -> int:
    """The plugin's process."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == node.pid and b"ghostwire.plugins.isolation.child" in words:
            return int(entry.name)
    return 0


def memory_of(pid: int) -> Iterator[bytes]:
    """Every part of a process's memory that can be read."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(text, 16) for text in line.split()[0].split("-"))
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue


def spellings(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), b64encode(secret).rstrip(b"=")]


def secrets(mesh: Mesh) -> dict[str, list[bytes]]:
    """What no plugin may know, by what it is."""
    found = {"plaintext": [MARK]}
    for name, node in mesh.nodes.items():
        addresses = [node.address(), node.address(6)]  # four bytes of IPv4 are found anywhere
        found[f"address of {name}"] = [*map(str.encode, addresses), socket.inet_pton(socket.AF_INET6, addresses[1])]
        for path in sorted((node.state / "node").glob("*.key")):
            key = load_private_key(path)
            found[f"{path.name} of {name}"] = spellings(key.raw)
        public = load_private_key(node.state / "node" / "node.key")
        found[f"public node key of {name}"] = spellings(public.public(NodeKey).raw)
    return found


def over_mole(here: Node, there: Node) -> bool:
    path = here.can_ping(there.address()) and here.peer(there.member)["path"]
    return bool(path) and path["transport"] == "mole"


def test_a_plugin_that_carries_all_the_meshs_plaintext_sees_none_of_it_nor_a_key_nor_a_name(start: Start) -> None:
    mesh = start(alone=True)
    alice, bob = mesh["aubergine"], mesh["bilberry"]
    wait_for("the plugin carries pings", lambda: over_mole(alice, bob), CROWDED)
    marked = MARK * (2_000_000 // len(MARK))
    assert transfer(alice, bob, marked) == marked
    assert transfer(bob, alice, marked) == marked
    pattern = MARK[:16].hex()
    assert mesh.lab.run("aubergine", ["ping", "-c", "3", "-i", "0.1", "-p", pattern, bob.address()]).returncode == 0
    known = secrets(mesh) | {"ping's pattern": [MARK[:16]]}
    assert len(known) >= 10
    for node in (alice, bob):
        received = (node.state / "node" / "mole" / "received").read_bytes()
        assert len(received) > 2_000_000
        places = {"received": [received], "memory": list(memory_of(child_of(node)))}
        assert sum(map(len, places["memory"])) > 8 << 20
        assert any(b"feathers lost" in part for part in places["memory"])  # a text of the plugin's own is found
        (peer,) = mesh.nodes.keys() - {node.member}  # its own name is that of its folder here
        known["peer's name"] = [peer.encode()]
        found = [
            (node.member, what, where)
            for what, texts in known.items()
            for where, parts in places.items()
            if any(text in part for text in texts for part in parts)
        ]
        assert found == []
    daemons = [b"".join(memory_of(node.pid)) for node in (alice, bob)]
    assert all(
        load_private_key(n.state / "node" / "node.key").raw in d for n, d in zip((alice, bob), daemons, strict=True)
    )


def say_go(node: Node, content: object = 0) -> Path:
    """Have its plugin obey its orders; its folder."""
    folder = node.state / "node" / "mole"
    (folder / "go").write_text(json.dumps(content))
    return folder


class Service:
    """A service of this member, for streams and datagrams at one port of its own."""

    def __init__(self, node: Node, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.stream = node.lab.socket(node.member, family, socket.SOCK_STREAM)
        self.datagram = node.lab.socket(node.member, family)
        self.stream.bind((address, 0))
        self.stream.listen()
        self.target = address, self.stream.getsockname()[1]
        self.datagram.bind(self.target)
        for each in (self.stream, self.datagram):
            each.setblocking(False)

    def visits(self) -> tuple[bool, bool]:
        """Whether a stream came, and a datagram."""
        try:
            came = self.datagram.recv(100) == b"LATERAL"
        except BlockingIOError:
            came = False
        try:
            self.stream.accept()[0].close()
        except BlockingIOError:
            return False, came
        return True, came


def test_a_plugin_reaches_no_service_of_this_machine_of_the_mesh_or_of_the_cloud(start: Start) -> None:
    mesh = start("reach")
    alice, bob = mesh["aubergine"], mesh["bilberry"]
    wait_for("a ping", lambda: alice.can_ping(bob.address()), CROWDED)
    wait_for("a ping over IPv6", lambda: alice.can_ping(bob.address(6)), CROWDED)
    outside = mesh.lab.outside["bilberry"]
    fair = [Service(bob, address) for address in outside]  # reaching these is what transports do
    closed = [Service(alice, address) for address in ("127.0.0.1", "0.0.0.0", "::1", "::")]
    closed += [Service(node, node.address(version)) for node in (alice, bob) for version in (4, 6)]
    ports = {service.target[0]: service.target[1] for service in closed}
    targets = [service.target for service in (*closed, *fair)]
    targets += [(own, ports["::" if ":" in own else "0.0.0.0"]) for own in mesh.lab.outside["aubergine"]]
    targets += [("::ffff:127.0.0.1", ports["127.0.0.1"]), ("localhost", ports["127.0.0.1"])]
    targets += [("169.254.169.254", 80), ("fe80::1", 80)]
    folder = say_go(alice, targets)
    wait_for("the plugin has tried", (folder / "found.json").exists, CROWDED)
    found = json.loads((folder / "found.json").read_text())
    assert len(outside) == 2
    for service in fair:
        assert found.pop(":".join(map(str, service.target))) == "connected"
        wait_for("its datagram", lambda: service.visits()[1])  # noqa: B023
    assert {what: text for what, text in found.items() if not text.startswith(REFUSED)} == {}
    assert {service.target: service.visits() for service in closed} == {each.target: (False, False) for each in closed}


def test_a_plugin_gets_at_no_file_or_socket_of_the_daemons(start: Start) -> None:
    mesh = start("spy")
    alice = mesh["aubergine"]
    wait_for("the plugin runs", lambda: transport(alice)["state"] == "running", CROWDED)
    own = alice.state / "node" / "mole"
    paths = [path for path in (alice.state, *alice.state.rglob("*")) if path != own and own not in path.parents]
    assert {"node.key", "node.sock"} <= {path.name for path in paths}
    process = Path(f"/proc/{alice.pid}")
    paths += [process / name for name in ("mem", "maps", "environ", "cmdline", "fd", "root", "cwd", "task", "net/unix")]
    paths += [alice.config, alice.log, alice.state.parent, Path("/dev/net/tun"), Path("/proc/self/mem"), Path("/proc")]
    say_go(alice, [str(path) for path in paths])
    wait_for("the plugin has tried", (own / "found.json").exists, CROWDED)
    assert json.loads((own / "found.json").read_text()) == []


FAULTS = {
    "die": ("restarting", "status 7"),
    "spin": ("restarting", "hangs"),
    "quit": ("restarting", "feathers lost"),
    "leak": ("running", "MemoryError"),
    "flood": ("running", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_plugin_does_the_tunnel_goes_on_and_the_operator_sees_it(start: Start, fault: str) -> None:
    state, said = FAULTS[fault]
    mesh = start(fault)
    alice, bob = mesh["aubergine"], mesh["bilberry"]
    wait_for("a ping", lambda: alice.can_ping(bob.address()), CROWDED)
    assert {"system calls", "limits"} <= set(transport(alice)["measures"])
    first = child_of(alice)
    folder = say_go(alice)
    wait_for("the plugin does it", (folder / f"done-{fault}").exists, CROWDED)
    if state == "restarting":
        wait_for("its end is seen", lambda: said in transport(alice)["trouble"], CROWDED)
        assert said in alice.gwctl("status")
        assert said in alice.text()
        wait_for("another runs", lambda: transport(alice)["state"] == "running", CROWDED)
        assert transport(alice)["restarts"] >= 1
        assert child_of(alice) not in (0, first)
        assert alice.status()["counters"]["ghostwire_node_transport_mole_restarts_total"] >= 1
    elif said:
        wait_for("its complaint is logged", lambda: said in alice.text(), CROWDED)
    shown = alice.gwctl("status")
    assert ("mole is confined without: " in shown) == bool(transport(alice)["lacking"])
    assert alice.can_ping(bob.address())
    assert transport(alice, "udp")["state"] == "running"
    assert "Traceback" not in alice.text()
    assert len(alice.text().splitlines()) < 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_nothing_of_a_plugin_outlives_its_daemon(start: Start, number: int) -> None:
    mesh = start()
    alice = mesh["aubergine"]
    wait_for("the plugin runs", lambda: transport(alice)["state"] == "running", CROWDED)
    child = child_of(alice)
    alice.end(number)
    wait_for("its process is gone", lambda: not Path(f"/proc/{child}").exists())
    if number == signal.SIGKILL:
        done = mesh.lab.run("aubergine", [*alice.words(), "--cleanup"])
        assert "remove nftables table inet ghostwire_gw0" in done.stdout
    left = alice.leftovers()
    assert [each for each in left if number == signal.SIGTERM or not each.endswith("node.sock")] == []
