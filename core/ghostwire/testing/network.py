"""A network in memory: hosts with addresses, links with faults, address translators, cuts and partitions.

    network = Network(clock, seed=1)
    server = network.host("server", "192.0.2.1")
    router = network.nat("router", "203.0.113.7", NatKind.PORT_RESTRICTED)
    laptop = network.host("laptop", "10.0.0.5", nat=router)
    network.link(server, laptop, Link(latency=40 * MILLISECOND, loss=0.2))

Datagrams go through `Host.bind` and `ghostwire.testing.datagrams`, streams through `Host.listen` and `Host.sockets`.
Chance comes from the seed, so that a failed run can be repeated.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ghostwire.engine import MILLISECOND, SECOND, Clock
from ghostwire.testing.datagrams import Port
from ghostwire.testing.loop import running_clock
from ghostwire.testing.nat import MAPPING_TIMEOUT, Address, Nat, NatKind
from ghostwire.testing.streams import Factory, Listener, MemorySockets, MemoryStream
from ghostwire.testing.trace import Sighting, Trace

RETRANSMISSION = 200 * MILLISECOND
"""What a lost segment costs a stream."""
IN_FLIGHT = 4096
"""The most datagrams one host may have under way; more are dropped."""
_EPHEMERAL = range(49152, 65536)


@dataclass(frozen=True, slots=True)
class Link:
    """How one host's packets reach another. Times in ns, one way; chances from 0 to 1; ``mtu`` is the largest payload.

    ``jitter`` adds up to that much and keeps the order; ``reordering`` is the chance that a datagram is overtaken.
    Without ``datagrams`` only streams pass, as through a firewall that blocks UDP.
    """

    latency: int = 10 * MILLISECOND
    jitter: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    mtu: int = 1472
    datagrams: bool = True


class Host:
    """A machine on the network; make it with `Network.host`."""

    def __init__(self, network: Network, name: str, addresses: tuple[str, ...], nat: Nat | None) -> None:
        self.network, self.name, self.addresses, self.nat = network, name, addresses, nat
        self.sockets = MemorySockets(self)
        self.ports: dict[int, Port] = {}
        self.listeners: dict[int, Listener] = {}
        self.in_flight = 0
        self._watchers: list[Callable[[], None]] = []
        self._next_port = iter(_EPHEMERAL)

    def bind(self, number: int, receive: Callable[[Address, list[bytes]], None]) -> Port:
        """Open a datagram port (0: any free one); bursts from one source go to ``receive``."""
        number = number or self.free_port()
        if number in self.ports:
            raise OSError(f"{self.name}: port {number} is in use")
        port = self.ports[number] = Port(self, number, receive)
        return port

    def listen(self, number: int, factory: Factory, *, tls: object = None) -> Listener:
        """Accept streams on this port; ``tls`` is an ``ssl.SSLContext`` for the server's side."""
        number = number or self.free_port()
        if number in self.listeners:
            raise OSError(f"{self.name}: port {number} is in use")
        listener = self.listeners[number] = Listener(self, number, factory, tls)
        return listener

    def move(self, *addresses: str, nat: Nat | None = None) -> None:
        """Roam: the host leaves its addresses (and translator) for these; open ports stay, streams break."""
        self.network.readdress(self, addresses, nat)
        for stream in self.network.streams_of(self):
            stream.sever()
        for changed in list(self._watchers):
            changed()

    def kill(self) -> None:
        """What the kernel does when the machine's programs die: ports close, streams are reset."""
        self.close()
        for stream in self.network.streams_of(self):
            stream.abort()

    def close(self) -> None:
        """Close every port; open streams stay."""
        for port in list(self.ports.values()):
            port.close()
        for listener in list(self.listeners.values()):
            listener.close()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` when the host moves; the result stops it."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    def address_towards(self, target: str) -> str | None:
        """The address this host uses to send to that one: the first of the same family."""
        return next((address for address in self.addresses if (":" in address) == (":" in target)), None)

    def free_port(self) -> int:
        """An ephemeral port nobody has opened."""
        return next(number for number in self._next_port if number not in self.ports)

    def __repr__(self) -> str:
        return f"Host({self.name}, {', '.join(self.addresses)})"


@dataclass(slots=True)
class _Route:
    """Where a datagram goes: the source its receiver sees, who receives it, and at which of his own addresses."""

    source: Address
    target: Address
    receiver: Host | None = None
    inner: Address = ("", 0)
    gate: Nat | None = None


class Network:
    """All hosts and what lies between them."""

    def __init__(self, clock: Clock | None = None, *, seed: object = 0) -> None:
        self.clock = clock or running_clock()
        self.default = Link()
        """The link between hosts that were given none of their own."""
        self.trace = Trace()
        self.taps: list[Callable[[Host, Address, bytes], None]] = []
        """Called with every datagram that is sent: by whom, whereto, what."""
        self.hosts: dict[str, Host] = {}
        self.streams: dict[MemoryStream, None] = {}
        """Every end of a stream, in order of opening."""
        self._random = random.Random(repr(seed))
        self._seed = seed
        self._owners: dict[tuple[Nat | None, str], Host | Nat] = {}
        self._links: dict[tuple[Host, Host], Link] = {}
        self._cuts: set[tuple[Host, Host]] = set()
        self._groups: dict[Host, int] = {}
        self._arrivals: dict[tuple[Host, Host | None], int] = {}
        self._under_way: list[tuple[int, int, Host, _Route, Sighting]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def host(self, name: str, *addresses: str, nat: Nat | None = None) -> Host:
        """Add a machine; behind a translator its IPv4 addresses are private."""
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        host = self.hosts[name] = Host(self, name, (), nat)
        self.readdress(host, addresses, nat)
        return host

    def nat(self, name: str, address: str, kind: NatKind, *, timeout: int = MAPPING_TIMEOUT) -> Nat:
        """Add an address translator."""
        nat = Nat(name, address, kind, timeout=timeout, seed=(self._seed, name))
        self._own(None, address, nat)
        return nat

    def readdress(self, host: Host, addresses: Iterable[str], nat: Nat | None) -> None:
        """Give a host these addresses instead of its present ones."""
        self._owners = {place: owner for place, owner in self._owners.items() if owner is not host}
        host.addresses, host.nat = tuple(addresses), nat
        for address in host.addresses:
            self._own(_realm(address, nat), address, host)

    def link(self, one: Host, other: Host, link: Link, back: Link | None = None) -> None:
        """Lay a link between two hosts; ``back`` is the other direction where it differs."""
        self._links[one, other], self._links[other, one] = link, back or link

    def cut(self, source: Host, target: Host, *, one_way: bool = False) -> None:
        """Let nothing through from ``source`` to ``target``, nor back unless ``one_way``; streams stall."""
        self._cuts |= {(source, target)} if one_way else {(source, target), (target, source)}

    def partition(self, *groups: Iterable[Host]) -> None:
        """Let hosts reach only those of their own group; hosts in no group form one together."""
        self._groups = {host: number for number, group in enumerate(groups, 1) for host in group}
        self._resume()

    def heal(self) -> None:
        """Undo every cut and partition; stalled streams go on."""
        self._cuts.clear()
        self._groups.clear()
        self._resume()

    def sever(self, one: Host, other: Host) -> None:
        """Reset every stream between two hosts, as a middlebox does."""
        for stream in self.streams_of(one):
            if stream.remote is other:
                stream.sever()

    def connected(self, source: Host, target: Host) -> bool:
        """Whether anything gets through in this direction now."""
        return (source, target) not in self._cuts and self._groups.get(source) == self._groups.get(target)

    def between(self, source: Host, target: Host) -> Link:
        """The link in this direction."""
        return self._links.get((source, target), self.default)

    def streams_of(self, host: Host) -> list[MemoryStream]:
        """The ends of streams that this host holds."""
        return [stream for stream in self.streams if stream.local is host]

    def find(self, name: str) -> Host | None:
        """The public host with this name or address."""
        owner = self.hosts.get(name) or self._owners.get((None, name))
        return owner if isinstance(owner, Host) else None

    def diagram(self, last: int = 60) -> str:
        """The last datagrams as a sequence diagram (see `Trace.diagram`)."""
        return self.trace.diagram(last)

    def stream_delay(self, source: Host, target: Host) -> int:
        """How long a segment takes, lost ones being sent again."""
        link = self.between(source, target)
        delay = link.latency + self._random.randint(0, link.jitter)
        while self._random.random() < min(link.loss, 0.9):
            delay += max(RETRANSMISSION, 2 * link.latency)
        return delay

    def carry(self, port: Port, target: Address, payloads: list[bytes]) -> bool:
        """Take a burst from a host's port; False where any of it could not even be sent."""
        host, now = port.host, self.clock.now()
        route = self._route(host, port.number, target, now)
        sent = [self._send(host, route, payload, now) for payload in payloads]
        return all(sent)

    def _send(self, host: Host, route: _Route, payload: bytes, now: int) -> bool:
        for tap in self.taps:
            tap(host, route.target, payload)
        receiver = route.receiver
        name = receiver.name if receiver else route.target[0]
        sighting = Sighting(now, host.name, name, payload)
        self.trace.add(sighting)
        if receiver is None:
            sighting.fate = "nobody there"
            return True
        link = self.between(host, receiver)
        if len(payload) > link.mtu or host.in_flight >= IN_FLIGHT:
            sighting.fate = "too long" if len(payload) > link.mtu else "queue full"
            return False
        self._travel(host, receiver, link, route, sighting)
        return True

    def _travel(self, host: Host, receiver: Host, link: Link, route: _Route, sighting: Sighting) -> None:
        if not self.connected(host, receiver):
            sighting.fate = "cut"
        elif not link.datagrams:
            sighting.fate = "blocked"
        elif self._random.random() < link.loss:
            sighting.fate = "lost"
        else:
            copies = 2 if self._random.random() < link.duplication else 1
            for _ in range(copies):
                self._schedule(host, receiver, link, route, sighting)

    def _schedule(self, host: Host, receiver: Host, link: Link, route: _Route, sighting: Sighting) -> None:
        arrival = self.clock.now() + link.latency + self._random.randint(0, link.jitter)
        if self._random.random() < link.reordering:
            arrival += self._random.randint(1, link.latency + link.jitter + MILLISECOND)
        else:
            arrival = self._arrivals[host, receiver] = max(arrival, self._arrivals.get((host, receiver), 0))
        host.in_flight += 1
        heapq.heappush(self._under_way, (arrival, next(self._count), host, route, sighting))
        if self._under_way[0][0] == arrival:
            self._arm(arrival)

    def _arm(self, arrival: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, arrival - self.clock.now()) / SECOND
        self._timer = asyncio.get_running_loop().call_later(delay, self._arrive_due)

    def _arrive_due(self) -> None:
        self._timer = None
        while self._under_way and self._under_way[0][0] <= self.clock.now():
            _, _, host, route, sighting = heapq.heappop(self._under_way)
            self._arrive(host, route, sighting)
        if self._under_way:
            self._arm(self._under_way[0][0])

    def _arrive(self, host: Host, route: _Route, sighting: Sighting) -> None:
        host.in_flight -= 1
        receiver, now = route.receiver, self.clock.now()
        if receiver is None or route.inner[0] not in receiver.addresses:
            sighting.fate = "moved away"
        elif route.gate is not None and not route.gate.admits(route.target[1], route.source, now):
            sighting.fate = f"refused by {route.gate.name}"
        elif (port := receiver.ports.get(route.inner[1])) is None:
            sighting.fate = "port closed"
        elif not port.deliver(route.source, sighting.payload):
            sighting.fate = "receive queue full"

    def _route(self, host: Host, number: int, target: Address, now: int) -> _Route:
        own = host.address_towards(target[0])
        if own is None:
            return _Route(("", 0), target)
        source = (own, number)
        neighbour = self._owners.get((_realm(target[0], host.nat), target[0]))
        if isinstance(neighbour, Host):
            return _Route(source, target, neighbour, target)
        if host.nat is not None and ":" not in own:
            source = host.nat.outward(source, target, now)
        owner = self._owners.get((None, target[0]))
        if isinstance(owner, Nat):
            inner = owner.inner(target[1], now)
            receiver = self._owners.get((owner, inner[0])) if inner else None
            return _Route(source, target, receiver if isinstance(receiver, Host) else None, inner or ("", 0), owner)
        return _Route(source, target, owner, target)

    def _own(self, realm: Nat | None, address: str, owner: Host | Nat) -> None:
        if (realm, address) in self._owners:
            raise ValueError(f"{address} belongs to {self._owners[realm, address].name}")
        self._owners[realm, address] = owner

    def _resume(self) -> None:
        for stream in list(self.streams):
            stream.resume()


def _realm(address: str, nat: Nat | None) -> Nat | None:
    """Whose address space an address is in: only IPv4 is translated."""
    return None if ":" in address else nat
