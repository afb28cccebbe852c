"""A network in memory: hosts with addresses, links with faults, routers of every kind, cuts and partitions.

    network = Network(clock, seed=1)
    server = network.host("server", "192.0.2.1")
    router = network.nat("router", "203.0.113.7", NatKind.PORT_RESTRICTED)
    laptop = network.host("laptop", "10.0.0.5", nat=router)
    network.link(server, laptop, Link(latency=40 * MILLISECOND, loss=0.2))
    network.drop(lambda sender, receiver, payload: describe(payload) == "data")  # a middlebox that passes disco

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
from typing import Any

from ghostwire.engine import MILLISECOND, SECOND, Clock
from ghostwire.testing.datagrams import Port
from ghostwire.testing.loop import running_clock
from ghostwire.testing.nat import Address, Firewall, Nat, NatKind
from ghostwire.testing.routing import TTL, Addresses, Route, space_of
from ghostwire.testing.streams import Factory, Listener, MemorySockets, MemoryStream
from ghostwire.testing.trace import Sighting, Trace

RETRANSMISSION = 200 * MILLISECOND
"""What a lost segment costs a stream."""
IN_FLIGHT = 4096
"""The most datagrams one host may have under way; more are dropped."""
_EPHEMERAL = range(49152, 65536)

Drop = Callable[["Host", "Host | None", bytes], bool]
"""Tells whether a middlebox drops a datagram: its sender, who will receive it (None: not known yet), its payload."""


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

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name
        self.addresses: tuple[str, ...] = ()
        self.nat: Nat | None = None
        self.firewall: Firewall | None = None
        """What stands before those of its addresses that no translator hides."""
        self.datagrams = True
        """Without, only streams pass to and from it, as behind a router that blocks UDP."""
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

    def move(self, *addresses: str, nat: Nat | None = None, firewall: Firewall | None = None) -> None:
        """Roam: the host leaves its addresses (and routers) for these; open ports stay, streams break."""
        self.network.readdress(self, addresses, nat, firewall)
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


class Network:
    """All hosts and what lies between them."""

    def __init__(self, clock: Clock | None = None, *, seed: object = 0) -> None:
        self.clock = clock or running_clock()
        self.default = Link()
        """The link between hosts that were given none of their own."""
        self.trace = Trace()
        self.taps: list[Callable[[Host, Address, bytes], None]] = []
        """Called with every datagram that is sent: by whom, whereto, what."""
        self.drops: list[Drop] = []
        self.hosts: dict[str, Host] = {}
        self.streams: dict[MemoryStream, None] = {}
        """Every end of a stream, in order of opening."""
        self._random = random.Random(repr(seed))
        self._seed = seed
        self._addresses = Addresses()
        self._links: dict[tuple[Host, Host], Link] = {}
        self._cuts: set[tuple[Host, Host]] = set()
        self._blocks: set[tuple[Host, Host]] = set()
        self._groups: dict[Host, int] = {}
        self._arrivals: dict[tuple[Host, Host | None], int] = {}
        self._under_way: list[tuple[int, int, Route, Sighting]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def host(self, name: str, *addresses: str, nat: Nat | None = None, firewall: Firewall | None = None) -> Host:
        """Add a machine; behind a translator its IPv4 addresses are private."""
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        host = Host(self, name)
        self.readdress(host, addresses, nat, firewall)
        self.hosts[name] = host
        return host

    def nat(self, name: str, address: str, kind: NatKind, *, outer: Nat | None = None, **more: Any) -> Nat:
        """Add an address translator, itself behind ``outer``; ``more`` is as in `Nat`."""
        nat = Nat(name, address, kind, outer=outer, seed=(self._seed, name), **more)
        self._addresses.give(outer, address, nat)
        return nat

    def readdress(
        self, host: Host, addresses: Iterable[str], nat: Nat | None = None, firewall: Firewall | None = None
    ) -> None:
        """Give a host these addresses and routers instead of its present ones."""
        self._addresses.take(host)
        host.addresses, host.nat, host.firewall = tuple(addresses), nat, firewall
        for address in host.addresses:
            self._addresses.give(space_of(address, nat), address, host)

    def reboot(self, nat: Nat) -> None:
        """A translator restarts: it loses its mappings, and streams through it are reset."""
        nat.forget()
        for stream in list(self.streams):
            if _is_behind(stream.local, nat) and not _is_behind(stream.remote, nat):
                stream.sever()

    def link(self, one: Host, other: Host, link: Link, back: Link | None = None) -> None:
        """Lay a link between two hosts; ``back`` is the other direction where it differs."""
        self._links[one, other], self._links[other, one] = link, back or link

    def cut(self, source: Host, target: Host, *, one_way: bool = False) -> None:
        """Let nothing through from ``source`` to ``target``, nor back unless ``one_way``; streams stall."""
        self._cuts |= {(source, target)} if one_way else {(source, target), (target, source)}

    def block(self, source: Host, target: Host, *, one_way: bool = False) -> None:
        """Let no datagram through from ``source`` to ``target``, nor back unless ``one_way``; streams go on."""
        self._blocks |= {(source, target)} if one_way else {(source, target), (target, source)}

    def drop(self, what: Drop) -> Callable[[], None]:
        """Put a middlebox between all hosts that drops those datagrams for which ``what`` says so (sender, receiver,
        payload); the result takes it away."""
        self.drops.append(what)
        return lambda: self.drops.remove(what) if what in self.drops else None

    def partition(self, *groups: Iterable[Host]) -> None:
        """Let hosts reach only those of their own group; hosts in no group form one together."""
        self._groups = {host: number for number, group in enumerate(groups, 1) for host in group}
        self._resume()

    def heal(self) -> None:
        """Undo every cut, block, partition and middlebox; stalled streams go on."""
        self._cuts.clear()
        self._blocks.clear()
        self.drops.clear()
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
        owner = self.hosts.get(name) or self._addresses.find(name)
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

    def carry(self, port: Port, target: Address, payloads: list[bytes], ttl: int = TTL) -> bool:
        """Take a burst from a host's port; False where any of it could not even be sent."""
        host, now = port.host, self.clock.now()
        route = self._addresses.out(host, port.number, target, now, ttl)
        receiver = self._addresses.receiver(route, now)
        sent = [self._send(route, receiver, payload, now) for payload in payloads]
        return all(sent)

    def _send(self, route: Route, receiver: Host | None, payload: bytes, now: int) -> bool:
        host = route.sender
        for tap in self.taps:
            tap(host, route.target, payload)
        sighting = Sighting(now, host.name, receiver.name if receiver else route.target[0], payload)
        self.trace.add(sighting)
        if not route.found:
            sighting.fate = "nobody there" if route.ttl else "expired"
            return True
        link = self.between(host, receiver) if receiver else self.default
        if len(payload) > link.mtu or host.in_flight >= IN_FLIGHT:
            sighting.fate = "too long" if len(payload) > link.mtu else "queue full"
            return False
        sighting.fate = self._fault(host, receiver, link, payload)
        if not sighting.fate:
            for _ in range(2 if self._random.random() < link.duplication else 1):
                self._schedule(route, receiver, link, sighting)
        return True

    def _fault(self, host: Host, receiver: Host | None, link: Link, payload: bytes) -> str:
        """Why the network loses a datagram; nothing where it does not."""
        if receiver is not None and not self.connected(host, receiver):
            return "cut"
        if not link.datagrams or not host.datagrams or (receiver is not None and (host, receiver) in self._blocks):
            return "blocked"
        if any(drop(host, receiver, payload) for drop in self.drops):
            return "dropped"
        return "lost" if self._random.random() < link.loss else ""

    def _schedule(self, route: Route, receiver: Host | None, link: Link, sighting: Sighting) -> None:
        host, arrival = route.sender, self.clock.now() + link.latency + self._random.randint(0, link.jitter)
        if self._random.random() < link.reordering:
            arrival += self._random.randint(1, link.latency + link.jitter + MILLISECOND)
        else:
            arrival = self._arrivals[host, receiver] = max(arrival, self._arrivals.get((host, receiver), 0))
        host.in_flight += 1
        heapq.heappush(self._under_way, (arrival, next(self._count), route, sighting))
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
            _, _, route, sighting = heapq.heappop(self._under_way)
            route.sender.in_flight -= 1
            sighting.fate = self._arrive(route, sighting.payload)
        if self._under_way:
            self._arm(self._under_way[0][0])

    def _arrive(self, route: Route, payload: bytes) -> str:
        """Hand over a datagram; the result says why that was impossible."""
        receiver, place, refusing = self._addresses.admit(route, self.clock.now())
        if receiver is None:
            return f"refused by {refusing}" if refusing else "moved away"
        if not receiver.datagrams:
            return "blocked"
        port = receiver.ports.get(place[1])
        if port is None:
            return "port closed"
        return "" if port.deliver(route.source, payload) else "receive queue full"

    def _resume(self) -> None:
        for stream in list(self.streams):
            stream.resume()


def _is_behind(host: Host, nat: Nat) -> bool:
    """Whether a translator stands between a host and the public network."""
    space = host.nat
    while space is not None and space is not nat:
        space = space.outer
    return space is nat
