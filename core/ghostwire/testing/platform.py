"""An operating system in memory: a device with a tiny IP host behind it, and a record of what was configured."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from ghostwire.capabilities.platform import Deliver, Device, FirewallRule, NetworkConfig, Platform
from ghostwire.capabilities.transport import BURST, Buffer
from ghostwire.engine import Clock
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.testing import packets
from ghostwire.testing.loop import running_clock
from ghostwire.testing.network import Host
from ghostwire.testing.packets import Datagram, Echo, Packet

QUEUE = 1024
"""The most packets that wait to enter the program, and datagrams that wait on a port; more are dropped."""
ECHO_DATA = bytes(range(56))

_interface = functools.lru_cache(4096)(ip_interface)
_network = functools.lru_cache(4096)(functools.partial(ip_network, strict=False))
"""Every packet is looked up among the same few prefixes."""


@dataclass(frozen=True, slots=True)
class Received:
    """A UDP payload that reached the host, and from whom."""

    source: str
    port: int
    data: bytes


class UdpPort:
    """An open UDP port of the host behind a device."""

    def __init__(self, device: MemoryDevice, number: int) -> None:
        self.number = number
        self.dropped = 0
        self._device = device
        self._queue: asyncio.Queue[Received] = asyncio.Queue(QUEUE)

    def send(self, address: str, port: int, data: bytes) -> None:
        """Send a payload; PlatformError where no route leads there."""
        source = self._device.source_towards(address)
        self._device.inject(packets.udp_packet(source, address, Datagram(self.number, port, data)))

    async def receive(self, timeout: float = 10.0) -> Received:
        """The next payload; Unavailable after ``timeout`` seconds."""
        try:
            return await asyncio.wait_for(self._queue.get(), timeout)
        except TimeoutError:
            raise Unavailable(f"nothing reached UDP port {self.number} for {timeout:g} s") from None

    def waiting(self) -> list[Received]:
        """What arrived and was not received yet."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def put(self, received: Received) -> None:
        """What the device calls."""
        if self._queue.full():
            self.dropped += 1
        else:
            self._queue.put_nowait(received)


class MemoryDevice(Device):
    """A device whose far side is a small IP host: it answers echo requests, pings, and speaks UDP."""

    def __init__(self, name: str, mtu: int, clock: Clock) -> None:
        self.name, self.mtu = name, mtu
        self.config: NetworkConfig | None = None
        self.closed = False
        self.dropped = 0
        """Packets from the host that found the queue into the program full."""
        self.refused: deque[str] = deque(maxlen=100)
        """Why packets from the program were not taken: malformed, too long, for somebody else."""
        self.received: deque[Packet] = deque(maxlen=1000)
        """The packets that the host took, oldest first."""
        self.beyond: Callable[[bytes, Packet], None] | None = None
        """Takes packets that the configuration passes on; what comes back is injected."""
        self._clock = clock
        self._deliver: Deliver | None = None
        self._outgoing: deque[bytes] = deque()
        self._ports: dict[int, UdpPort] = {}
        self._pings: dict[tuple[str, int], asyncio.Future[None]] = {}
        self._sequence = 0

    # What the program calls

    def start(self, deliver: Deliver) -> None:
        """Deliver what the host sends."""
        self._deliver = deliver
        self._flush_soon()

    def write(self, packets: Sequence[Buffer]) -> int:
        """Give packets to the host; those that no host would take are refused."""
        if self.closed:
            return 0
        return sum(self._take(bytes(packet)) for packet in packets)

    def close(self) -> None:
        """Remove the device."""
        self.closed = True
        self._deliver = None
        self._outgoing.clear()
        for waiter in self._pings.values():
            waiter.cancel()

    # What the test calls: the host's applications

    @property
    def addresses(self) -> list[str]:
        """The host's addresses."""
        return [str(_interface(text).ip) for text in self.config.addresses] if self.config else []

    async def ping(self, address: str, *, timeout: float = 5.0, size: int = len(ECHO_DATA)) -> int:
        """One echo; the round trip in ns. Unavailable after ``timeout`` seconds without an answer."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        key, started = (str(ip_address(address)), self._sequence), self._clock.now()
        waiter = self._pings[key] = asyncio.get_running_loop().create_future()
        try:
            self.send_echo(address, self._sequence, bytes(size))
            await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            raise Unavailable(f"{self.name}: {address} did not answer an echo for {timeout:g} s") from None
        finally:
            del self._pings[key]
        return self._clock.now() - started

    def send_echo(self, address: str, sequence: int = 0, data: bytes = ECHO_DATA) -> None:
        """An echo request whose answer nobody awaits."""
        self.inject(packets.echo_packet(self.source_towards(address), address, Echo(False, 1, sequence, data)))

    def udp(self, port: int) -> UdpPort:
        """The host's UDP port, opened at first use."""
        return self._ports.setdefault(port, UdpPort(self, port))

    def source_towards(self, address: str) -> str:
        """The host's address for packets to that one; PlatformError where no route leads into the device."""
        target = ip_address(address)
        prefixes = [*self.config.routes, *self.config.addresses] if self.config else []
        if not any(target in _network(text) for text in prefixes):
            raise PlatformError(f"{self.name}: no route to {address}; it has {', '.join(prefixes) or 'none'}")
        for own in self.addresses:
            if ip_address(own).version == target.version:
                return own
        raise PlatformError(f"{self.name}: no IPv{target.version} address")

    def inject(self, packet: bytes) -> None:
        """Send any packet into the program, well-formed or not."""
        if len(self._outgoing) >= QUEUE or self.closed:
            self.dropped += 1
            return
        self._outgoing.append(packet)
        if len(self._outgoing) == 1:
            self._flush_soon()

    # The host

    def _flush_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._deliver is None or not self._outgoing:
            return
        burst = [bytearray(self._outgoing.popleft()) for _ in range(min(BURST, len(self._outgoing)))]
        if self._outgoing:
            self._flush_soon()
        self._deliver([memoryview(packet) for packet in burst])
        for packet in burst:
            packet[:] = bytes(len(packet))

    def _take(self, raw: bytes) -> bool:
        try:
            self._receive(raw)
        except ValueError as error:
            self.refused.append(str(error))
            return False
        return True

    def _receive(self, raw: bytes) -> None:
        packet = packets.decode(raw)
        if len(raw) > self.mtu:
            raise ValueError(f"a packet of {len(raw)} bytes on a device with MTU {self.mtu}")
        if self._passes_on(packet.target) and self.beyond is not None:
            self.beyond(raw, packet)
            return
        if packet.target not in self.addresses:
            raise ValueError(f"a packet for {packet.target}, which is not this host's")
        self.received.append(packet)
        echo, datagram = packets.read_echo(packet), packets.read_udp(packet)
        if echo is not None:
            self._echo(packet, echo)
        elif datagram is not None and datagram.target_port in self._ports:
            port = self._ports[datagram.target_port]
            port.put(Received(packet.source, datagram.source_port, datagram.data))

    def _passes_on(self, target: str) -> bool:
        forwarding = self.config.forwarding if self.config is not None else None
        prefixes = forwarding.prefixes if forwarding is not None else ()
        return target not in self.addresses and any(ip_address(target) in _network(text) for text in prefixes)

    def _echo(self, packet: Packet, echo: Echo) -> None:
        waiter = self._pings.get((packet.source, echo.sequence))
        if not echo.reply:
            answer = Echo(True, echo.identifier, echo.sequence, echo.data)
            self.inject(packets.echo_packet(packet.target, packet.source, answer))
        elif waiter is not None and not waiter.done():
            waiter.set_result(None)


class MemoryPlatform(Platform):
    """An operating system that keeps its network configuration in memory, and remembers each change to it."""

    name = "memory"

    def __init__(self, host: Host | None = None, *, clock: Clock | None = None) -> None:
        self._host = host
        self._clock = clock or (host.network.clock if host else running_clock())
        self.devices: dict[str, MemoryDevice] = {}
        self.config: NetworkConfig | None = None
        self.changes: list[str] = []
        """What `configure` and `restore` did to the system, one line each; a no-op adds none."""
        self.router: str | None = None
        """What `gateway` tells."""
        self.rules: tuple[FirewallRule, ...] | None = None
        """The firewall's; None where there is none."""
        self.directly_on: list[str] = []
        """What `networks` tells."""
        self.unreachable: set[str] = set()
        """Prefixes that `reaches` says no of."""

    @property
    def device(self) -> MemoryDevice:
        """The one open device."""
        (device,) = (device for device in self.devices.values() if not device.closed)
        return device

    async def open_device(self, name: str, mtu: int) -> MemoryDevice:
        """Make a device; PlatformError where one of that name exists."""
        held = self.devices.get(name)
        if held is not None and not held.closed:
            raise PlatformError(f"the interface {name} exists; choose another name or stop its owner")
        device = self.devices[name] = MemoryDevice(name, mtu, self._clock)
        return device

    async def configure(self, network: NetworkConfig) -> None:
        """Bring the device to this configuration; PlatformError where it does not exist."""
        device = self.devices.get(network.interface)
        if device is None or device.closed:
            raise PlatformError(f"no interface {network.interface}; open it first")
        self.changes += _differences(self.config, network)
        self.config = device.config = network
        device.mtu = network.mtu

    async def restore(self) -> None:
        """Undo it."""
        if self.config is not None:
            self.changes += _differences(self.config, None)
            self.devices[self.config.interface].config = None
            self.config = None
        if self.rules is not None:
            self.changes.append("remove firewall")
            self.rules = None

    async def firewall(self, interface: str, rules: Sequence[FirewallRule]) -> None:
        """Remember the rules, which nothing here is checked against."""
        if self.rules != tuple(rules):
            self.changes.append(f"add firewall of {len(rules)} rules on {interface}")
            self.rules = tuple(rules)

    def local_addresses(self) -> Sequence[str]:
        """The addresses of the host on the simulated network."""
        return list(self._host.addresses) if self._host else []

    def reaches(self, prefix: str) -> bool:
        """Whether the test did not put it into ``unreachable``."""
        return prefix not in self.unreachable

    def networks(self) -> Sequence[str]:
        """``directly_on``, which the test sets."""
        return self.directly_on

    def gateway(self) -> str | None:
        """``router``, which the test sets."""
        return self.router

    def watch_links(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after the host moved."""
        return self._host.watch(changed) if self._host else lambda: None


def _differences(before: NetworkConfig | None, after: NetworkConfig | None) -> list[str]:
    """What must be done to get from one configuration to the other."""
    old, new = _lines(before), _lines(after)
    return [f"remove {line}" for line in old if line not in new] + [f"add {line}" for line in new if line not in old]


def _lines(config: NetworkConfig | None) -> list[str]:
    if config is None:
        return []
    link = f"link {config.interface} mtu {config.mtu}"
    addresses = [f"address {address} on {config.interface}" for address in config.addresses]
    routes = [f"route {route} on {config.interface}" for route in config.routes]
    lan = ["local networks directly"] if config.lan else []
    return [link, *addresses, *routes, *lan, *_forwarding(config)]


def _forwarding(config: NetworkConfig) -> list[str]:
    if config.forwarding is None:
        return []
    masquerade = " masqueraded" if config.forwarding.masquerade else ""
    return [f"forward {prefix}{masquerade}" for prefix in config.forwarding.prefixes]
