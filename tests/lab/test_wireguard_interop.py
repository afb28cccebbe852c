"""Our userspace tunnel and Debian's wireguard-go, each in a namespace of its own: one protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import itertools
import logging
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from natlab import Lab
from netns import in_netns

from ghostwire import Metrics, NodeContext, TunnelContext, TunnelPeer
from ghostwire import Path as Way
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets
from ghostwire.testing.clock import SeededEntropy
from ghostwire_net_linux.device import LinuxDevice, open_tun
from ghostwire_transport_wireguard.cookie import MacStamper
from ghostwire_transport_wireguard.noise import INITIATION_BODY
from ghostwire_transport_wireguard.settings import Settings
from ghostwire_transport_wireguard.tunnel import UserspaceTunnel
from ghostwire_transport_wireguard.udp import UdpTransport

MTU, PORT = 1280, 41_641
_numbers = itertools.count()
OUR_LINK, THEIR_LINK = "10.50.0.1", "10.50.0.2"
OURS, THEIRS, OURS6, THEIRS6 = "10.99.0.1", "10.99.0.2", "fd99::1", "fd99::2"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (shutil.which("wireguard-go") and shutil.which("wg")),
        reason="needs wireguard-go: apt-get install --no-install-recommends wireguard-go wireguard-tools",
    ),
]
slow = pytest.mark.skipif(not os.environ.get("GHOSTWIRE_SLOW"), reason="takes 135 s: set GHOSTWIRE_SLOW=1")


class MemberSockets(SystemSockets):
    """Sockets in a member of the lab."""

    def __init__(self, lab: Lab, member: str) -> None:
        super().__init__()
        self._namespace = lab.ns(member)

    def udp(self, host: str, port: int) -> socket.socket:
        with in_netns(self._namespace):
            return super().udp(host, port)


class Roamer:
    """A node that sends to where its peer was last heard, as plain WireGuard does."""

    tunnel: UserspaceTunnel

    def __init__(self) -> None:
        self.handshakes = 0

    def awake(self, peer: int) -> None: ...

    def wanted(self, peer: int) -> None: ...

    def authenticated(self, peer: int, source: Way) -> None:
        self.tunnel.attach(peer, [source])

    def established(self, peer: int, source: Way) -> None:
        self.handshakes += 1


class Pair:
    """Both ends, up; neither has said anything yet."""

    def __init__(self, lab: Lab, preshared: bytes | None) -> None:
        self.lab = lab
        self.our_key, self.their_key = PrivateKey.generate(), PrivateKey.generate()
        self.interface = f"wgi{os.getpid()}x{next(_numbers)}"
        self.events = Roamer()
        self._preshared = preshared

    @property
    def stats(self) -> Any:
        """What our tunnel counted for its peer."""
        return self.tunnel.stats()[0]

    async def start_ours(self, stack: contextlib.AsyncExitStack, state: Path) -> None:
        with in_netns(self.lab.ns("ours")):
            self.device = LinuxDevice("gw0", MTU, open_tun("gw0"))
        stack.callback(self.device.close)
        shared: dict[str, Any] = {
            "clock": SystemClock(),
            "entropy": os.urandom,
            "metrics": Metrics(),
            "log": logging.getLogger("interop"),
            "sockets": MemberSockets(self.lab, "ours"),
            "state": state,
            "node_key": self.our_key.public(NodeKey),
            "map": NetworkMap(),
            "local_addresses": lambda: [OUR_LINK],
        }
        trusted = {"private_key": self.our_key, "device": self.device, "filter": None, "events": self.events}
        self.udp = UdpTransport(NodeContext(settings=Settings(PORT), **shared))
        self.tunnel = self.events.tunnel = UserspaceTunnel(TunnelContext(settings=Settings(PORT), **shared, **trusted))
        stack.push_async_callback(self.udp.close)
        stack.push_async_callback(self.tunnel.close)
        await self.tunnel.start()
        await self.udp.start(self.tunnel.receive)
        allowed = ipaddress.ip_network(THEIRS), ipaddress.ip_network(THEIRS6)
        peer = TunnelPeer(1, self.their_key.public(NodeKey), allowed, preshared_key=self._preshared)
        self.tunnel.apply([peer])
        self.tunnel.attach(1, [self.udp.path(f"{THEIR_LINK}:{PORT}")])
        self._address("ours", "gw0", OURS, OURS6)

    async def start_theirs(self) -> None:
        # on one processor its reader and its workers take turns, so that a burst is a queue to it
        self.lab.popen("theirs", ["env", "GOMAXPROCS=1", "wireguard-go", "-f", self.interface])
        control = Path(f"/var/run/wireguard/{self.interface}.sock")
        async with asyncio.timeout(10):
            while not control.exists():
                await asyncio.sleep(0.02)
        peer = base64.b64encode(self.our_key.public_raw).decode()
        words = f"wg set {self.interface} listen-port {PORT} private-key /dev/stdin peer {peer}"
        words += f" allowed-ips {OURS}/32,{OURS6}/128 endpoint {OUR_LINK}:{PORT}"
        await self.run("theirs", words, stdin=self.their_key.raw)
        if self._preshared:
            await self.run("theirs", f"wg set {self.interface} peer {peer} preshared-key /dev/stdin", self._preshared)
        self._address("theirs", self.interface, THEIRS, THEIRS6)
        await self.until_they_listen(PORT)

    async def until_they_listen(self, port: int) -> None:
        """wireguard-go opens its socket some time after its interface is up."""
        async with asyncio.timeout(10):
            while f":{port} " not in await self.run("theirs", "ss -Hlun"):
                await asyncio.sleep(0.02)

    def _address(self, member: str, interface: str, ipv4: str, ipv6: str) -> None:
        self.lab.ip(
            member,
            f"link set {interface} mtu {MTU} up",
            f"addr add {ipv4}/24 dev {interface}",
            f"addr add {ipv6}/64 dev {interface} nodad",
        )

    async def run(self, member: str, words: str, stdin: bytes | None = None) -> str:
        """A command in a member while our tunnel goes on; keys go in by stdin."""
        text = None if stdin is None else base64.b64encode(stdin).decode()
        done = await asyncio.to_thread(self.lab.run, member, words.split(), input=text)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    async def ping(self, member: str, address: str, *options: str) -> None:
        """All of the echoes (one by default) must come back."""
        await self.run(member, " ".join(["ping", "-n", "-c", "1", "-W", "9", *options, address]))

    async def until_linked(self) -> None:
        """A fresh link may lose its first packets."""
        async with asyncio.timeout(20):
            words = f"ping -n -c 1 -W 1 {THEIR_LINK}".split()
            while (await asyncio.to_thread(self.lab.run, "ours", words)).returncode:
                pass

    async def their_handshake(self) -> int:
        """When wireguard-go completed its last handshake, in Unix seconds."""
        return int((await self.run("theirs", f"wg show {self.interface} latest-handshakes")).split()[1])


Make = Callable[..., "contextlib.AbstractAsyncContextManager[Pair]"]


@pytest.fixture
def make(tun: None, make_lab: Callable[[], Lab], tmp_path: Path) -> Make:
    @contextlib.asynccontextmanager
    async def make(preshared: bytes | None = None) -> AsyncIterator[Pair]:
        lab = make_lab()
        lab.host("ours", OUR_LINK)
        lab.host("theirs", THEIR_LINK)
        lab.build()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(lab.close)
            pair = Pair(lab, preshared)
            await pair.start_ours(stack, tmp_path)
            await pair.start_theirs()
            await pair.until_linked()
            yield pair

    return make


async def transfer(lab: Lab, sender: str, receiver: str, address: str, size: int) -> int:
    """Send so many bytes over TCP between two members; how many arrived unchanged."""
    loop, content = asyncio.get_running_loop(), os.urandom(1 << 16)
    kinds = {"family": socket.AF_INET6 if ":" in address else socket.AF_INET, "kind": socket.SOCK_STREAM}
    with lab.socket(receiver, **kinds) as listener, lab.socket(sender, **kinds) as sending:
        for each in (listener, sending):
            each.setblocking(False)
        listener.bind((address, 5001))
        listener.listen()
        await loop.sock_connect(sending, (address, 5001))
        receiving, _ = await loop.sock_accept(listener)
        feeding = asyncio.create_task(_feed(sending, content, size))
        arrived = bytearray()
        with receiving:
            while part := await loop.sock_recv(receiving, 1 << 18):
                arrived += part
        await feeding
    return len(arrived) if bytes(arrived) == (content * (size // len(content) + 1))[:size] else -1


async def _feed(sending: socket.socket, content: bytes, size: int) -> None:
    loop = asyncio.get_running_loop()
    for start in range(0, size, len(content)):
        await loop.sock_sendall(sending, content[: size - start])
    sending.shutdown(socket.SHUT_WR)


async def test_we_initiate_and_both_families_get_through(make: Make) -> None:
    async with make() as pair:
        for address in (THEIRS, THEIRS6):
            await pair.ping("ours", address)
            await pair.ping("ours", address, "-s", "1232", "-M", "do")
        assert pair.tunnel.counters.initiations == 1
        assert abs(await pair.their_handshake() - pair.stats.last_handshake // 10**9) <= 1


async def test_wireguard_go_initiates_and_both_families_get_through(make: Make) -> None:
    async with make() as pair:
        for address in (OURS, OURS6):
            await pair.ping("theirs", address)
            await pair.ping("theirs", address, "-s", "1232", "-M", "do")
        assert pair.tunnel.counters.initiations == 0
        assert pair.events.handshakes == 1


async def test_a_preshared_key_is_agreed_on(make: Make) -> None:
    async with make(preshared=os.urandom(32)) as pair:
        await pair.ping("ours", THEIRS)
        await pair.ping("theirs", OURS)


async def test_tcp_flows_both_ways(make: Make) -> None:
    async with make() as pair:
        size = 8 << 20
        assert await transfer(pair.lab, "ours", "theirs", THEIRS, size) == size
        assert await transfer(pair.lab, "theirs", "ours", OURS6, size) == size
        counters = pair.tunnel.counters
        assert (counters.forged, counters.malformed, counters.bad_source) == (0, 0, 0)
        assert pair.stats.sent_bytes > size
        assert pair.stats.received_bytes > size


async def test_both_sides_follow_a_peer_whose_address_changes(make: Make) -> None:
    async with make() as pair:
        await pair.ping("ours", THEIRS)
        pair.lab.ip("theirs", f"addr del {THEIR_LINK}/16 dev eth0", "addr add 10.50.0.77/16 dev eth0")
        await pair.run("theirs", f"wg set {pair.interface} listen-port 5555")  # its old socket keeps its old source
        await pair.until_they_listen(5555)
        await pair.ping("theirs", OURS)
        assert pair.stats.path == pair.udp.path("10.50.0.77:5555")
        pair.lab.ip("ours", f"addr del {OUR_LINK}/16 dev eth0", "addr add 10.50.0.88/16 dev eth0")
        await pair.ping("ours", THEIRS)
        assert f"10.50.0.88:{PORT}" in await pair.run("theirs", f"wg show {pair.interface} endpoints")
        await pair.ping("theirs", OURS)
        assert pair.events.handshakes == 1, "all on one session"


def forged(receiver: bytes, count: int) -> list[bytes]:
    """Initiations that cost their receiver a key exchange each."""
    entropy, stamper = SeededEntropy("forged"), MacStamper(receiver)
    bodies = [INITIATION_BODY.pack(1, n, entropy(32), entropy(48), entropy(28)) for n in range(count)]
    return [stamper.stamp(body, 0) for body in bodies]


async def test_wireguard_go_under_load_lets_us_in_by_its_cookie(make: Make) -> None:
    async with make() as pair:
        flood = forged(pair.their_key.public_raw, 1_500)
        with pair.lab.socket("ours") as flooder, pair.lab.socket("ours") as knocker:
            async with asyncio.timeout(30):
                while not pair.events.handshakes:
                    for datagram in flood:
                        flooder.sendto(datagram, (THEIR_LINK, PORT))
                    await asyncio.sleep(0.1)
                    knocker.sendto(b"knock", (THEIRS, 9))
                    await asyncio.sleep(0.1)
        assert pair.tunnel.counters.shown == 1, "an initiation was answered by a cookie, and went out again with it"
        await pair.ping("ours", THEIRS)


async def test_we_under_load_let_wireguard_go_in_by_our_cookie(make: Make) -> None:
    async with make() as pair:
        flood, stranger = forged(pair.our_key.public_raw, 10), pair.udp.path("10.50.0.99:9")
        knocking = asyncio.create_task(pair.ping("theirs", OURS))
        counters = pair.tunnel.counters
        while not knocking.done():
            pair.tunnel.receive(stranger, flood)
            await asyncio.sleep(0.1)
        await knocking
        assert counters.cookies > 10
        assert pair.events.handshakes == 1
        assert counters.computed <= 10, "forged ones never show a cookie"


@slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("initiator", ["ours", "theirs"])
async def test_a_session_is_renewed_after_two_minutes_and_no_packet_is_lost(make: Make, initiator: str) -> None:
    async with make() as pair:
        began, other = time.monotonic(), OURS if initiator == "theirs" else THEIRS
        await pair.ping(initiator, other, "-c", "660", "-i", "0.2")
        assert time.monotonic() - began > 125
        assert pair.events.handshakes == 2
        assert pair.tunnel.counters.initiations == (2 if initiator == "ours" else 0)
        assert pair.tunnel.counters.no_session == 0
