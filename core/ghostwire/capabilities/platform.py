"""A platform is one operating system's way to a TUN device, addresses, routes and link changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import msgspec

from ghostwire.capabilities.transport import Buffer
from ghostwire.errors import PlatformError

SOCKET_MARK, SOCKET_MASK = 0x6777_0000, 0xFFFF_0000
"""What packets of a node's own sockets carry under this mask, so that they never take the routes of `NetworkConfig`."""
PLUGIN_MARK = SOCKET_MARK | 1
"""What packets of an isolated plugin's datagram sockets carry."""

Deliver = Callable[[Sequence[Buffer]], None]
"""Takes a burst of IP packets; the buffers are only valid during the call."""


class Device(ABC):
    """A network device that hands whole IP packets to the program and takes them from it."""

    name: str
    mtu: int

    @abstractmethod
    def start(self, deliver: Deliver) -> None:
        """Deliver packets that the system sends into the device, in bursts, from the running loop."""

    @abstractmethod
    def write(self, packets: Sequence[Buffer]) -> int:
        """Give packets to the system; the number taken, the rest are dropped and counted."""

    @abstractmethod
    def close(self) -> None:
        """Remove the device; harmless when called twice."""


class Forwarding(msgspec.Struct, frozen=True):
    """What a subnet router or exit node asks of its system: pass packets from the device on to ``prefixes``, and the
    answers back. ``masquerade``: under this machine's own address, so that the hosts there need no route to the
    mesh."""

    prefixes: tuple[str, ...]
    masquerade: bool = True


class NetworkConfig(msgspec.Struct, frozen=True):
    """What the operating system should have while the node runs.

    ``addresses`` are interface addresses (``100.64.0.2/32``); ``routes`` are prefixes that lead into the device. They
    live in a routing table of their own, which marked sockets (see `Sockets`) never see. With a default route among
    them nothing leaves by another way, whatever becomes of the device; but with ``lan``, networks that this machine is
    directly on are reached directly. Without a default route they are, too, unless a more specific route or the one of
    an own address (the mesh's prefix) leads into the device.

    ``isolated``: plugins run in processes of their own; packets with `PLUGIN_MARK` reach neither this machine nor the
    device nor link-local and metadata addresses.
    """

    interface: str
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[str, ...] = ()
    lan: bool = False
    forwarding: Forwarding | None = None
    isolated: bool = False


class FirewallRule(msgspec.Struct, frozen=True):
    """Packets that may come out of the device: from one of ``sources`` to one of ``destinations`` (prefixes). Empty
    ``protocols`` and ``ports`` mean any; ICMP and ICMPv6 match whatever ``ports`` says."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    protocols: tuple[int, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()


class Platform(ABC):
    """The operating system, as far as a node needs it."""

    name: str

    @abstractmethod
    async def open_device(self, name: str, mtu: int) -> Device:
        """Make the device, down and without addresses. PlatformError or PermissionDenied say what is missing."""

    @abstractmethod
    async def configure(self, network: NetworkConfig) -> None:
        """Bring addresses and routes to exactly this, the interface up; a second call with the same is a no-op."""

    @abstractmethod
    async def restore(self) -> None:
        """Undo everything `configure` did; harmless when called twice."""

    async def firewall(self, interface: str, rules: Sequence[FirewallRule]) -> None:
        """Let exactly these packets out of the device, and answers to what this machine began; one atomic change, which
        holds until `restore`. PlatformError where this system has no such thing (the default)."""
        raise PlatformError("this platform has no firewall for a node; set [node] filter to userspace")

    async def cleanup(self) -> Sequence[str]:
        """Remove what nodes that were killed left on this machine, but nothing of a running one; what was removed, one
        line each. Harmless when called twice."""
        return ()

    def reaches(self, prefix: str) -> bool:
        """Whether this machine has a working way, other than its own devices, to hosts of that prefix."""
        return True

    @abstractmethod
    def local_addresses(self) -> Sequence[str]:
        """This machine's unicast addresses that peers might reach, without loopback, link-local and mesh ones."""

    def networks(self) -> Sequence[str]:
        """The prefixes of the networks that this machine is directly on, its own devices' aside; empty where that is
        not known."""
        return ()

    def gateway(self) -> str | None:
        """The IPv4 address of the router by which this machine reaches the internet; None where there is none."""
        return None

    @abstractmethod
    def watch_links(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after links, addresses or the gateway change; the result stops watching."""
