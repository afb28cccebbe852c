"""What a plugin under judgement is given: contexts as core makes them, over sockets of loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ghostwire.capabilities.contexts import Context, Listening, TransportContext
from ghostwire.capabilities.identity import Identity
from ghostwire.capabilities.telemetry import Metrics
from ghostwire.engine import Clock, Entropy
from ghostwire.keys import NodeKey, PrivateKey
from ghostwire.model import NetworkMap
from ghostwire.system.clock import SystemClock
from ghostwire.system.sockets import SystemSockets

ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""What stands for every address, and the one of loopback that it becomes here."""


STALLED = 1.0
"""Seconds after which nobody is taken to read a stream any more."""
_TCP_INFO_SIZE, _DATA_SEGMENTS = 160, struct.Struct("=II")
"""tcp_info of linux/tcp.h ends with tcpi_data_segs_in and tcpi_data_segs_out here."""


class CountedSocket(socket.socket):
    """A UDP socket that counts what is sent."""

    sent = 0

    def sendto(self, *words: Any) -> int:
        """Send one datagram."""
        self.sent += 1
        return super().sendto(*words)

    def sendmsg(self, *words: Any) -> int:
        """Send one datagram, or several that the kernel parts."""
        self.sent += 1
        return super().sendmsg(*words)

    def send(self, *words: Any) -> int:
        """Send one datagram."""
        self.sent += 1
        return super().send(*words)


class LoopbackSockets(SystemSockets):
    """Sockets of loopback. A port that is asked for becomes a free one, and stays the same when it is asked for again,
    so that many objects of the same settings live on one machine: a transport must advertise the port that it got."""

    def __init__(self) -> None:
        super().__init__()
        self._ports: dict[tuple[str, int], int] = {}
        self._datagram: list[CountedSocket] = []
        self.doors: list[Listening] = []
        self._dialled: list[Any] = []

    def udp(self, host: str, port: int) -> socket.socket:
        """A bound UDP socket."""
        made = super().udp(ANY.get(host, host), self._ports.get(("udp", port), 0) if port else 0)
        counted = CountedSocket(fileno=made.detach())
        counted.setblocking(False)
        if port:
            self._ports["udp", port] = counted.getsockname()[1]
        self._datagram.append(counted)
        return counted

    async def connect(self, protocol: Any, host: str, port: int, **options: Any) -> Any:
        """A stream."""
        transport, made = await super().connect(protocol, host, port, **options)
        self._dialled.append(transport.get_extra_info("socket"))
        return transport, made

    async def listen(self, protocol: Any, host: str, port: int, *, tls: Any = None) -> Listening:
        """Accept streams."""
        wanted = self._ports.get(("tcp", port), 0) if port else 0
        door = await super().listen(protocol, ANY.get(host, host), wanted, tls=tls)
        if port:
            self._ports["tcp", port] = door.port
        self.doors.append(door)
        return door

    def spoken(self) -> int:
        """How many datagrams these sockets sent, and segments with data both ends of the streams dialled here."""
        return sum(each.sent for each in self._datagram) + sum(map(_segments, self._dialled))

    def lose(self) -> None:
        """Take the UDP sockets away from whoever has them, as a system may that takes descriptors back."""
        with open(os.devnull, "wb") as nothing:
            for each in self._datagram:
                if each.fileno() != -1:
                    os.dup2(nothing.fileno(), each.fileno())

    async def throw(self, rubbish: Sequence[bytes]) -> bool:
        """Throw each of these at every open port, as anybody could; False where none is open."""
        ports = [each.getsockname() for each in self._datagram if each.fileno() != -1]
        for address in ports:
            with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for datagram in rubbish:
                    stranger.sendto(datagram, address)
        await asyncio.gather(*(_throw(door.port, each) for door in self.doors for each in rubbish))
        return bool(ports or self.doors)


async def pour(stranger: socket.socket, junk: bytes, times: int) -> None:
    """Write this so many times into a connected stream: until it is closed, or nobody reads for a second."""
    stranger.setblocking(False)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        for _ in range(times):
            async with asyncio.timeout(STALLED):
                await loop.sock_sendall(stranger, junk)


async def _throw(port: int, rubbish: bytes) -> None:
    """Over a stream of its own, and until the other side has closed it, or for two seconds."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(rubbish)
                writer.write_eof()
                await reader.read()
            finally:
                writer.close()


def _segments(stream: Any) -> int:
    """Segments with data that a stream has brought and sent; 0 where it is closed or the system does not tell."""
    try:
        told = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        return sum(_DATA_SEGMENTS.unpack(told[-_DATA_SEGMENTS.size :]))
    except (OSError, AttributeError, struct.error):
        return 0


def context(settings: Any, state: Path) -> Context:
    """What every plugin gets."""
    return Context(
        settings=settings,
        clock=SystemClock(),
        entropy=os.urandom,
        metrics=Metrics(),
        log=logging.getLogger("ghostwire.conformance"),
        sockets=LoopbackSockets(),
        state=state,
    )


def transport_context(settings: Any, state: Path, **changes: Any) -> TransportContext:
    """What transports get: a key of their own, an empty map, loopback as the machine's only address."""
    common = context(settings, state)
    fields = {name: getattr(common, name) for name in common.__struct_fields__}
    defaults = {
        "node_key": PrivateKey.generate().public(NodeKey),
        "map": NetworkMap(),
        "local_addresses": lambda: ["127.0.0.1"],
    }
    return TransportContext(**{**fields, **defaults, **changes})


def login(key: PrivateKey, clock: Clock, entropy: Entropy) -> Identity:
    """What core gives to the transport ``derp``: logs in to any relay in the name of this key."""
    from ghostwire.node.relay_login import RelayLogin

    return RelayLogin(key, lambda raw: False, clock, entropy)
