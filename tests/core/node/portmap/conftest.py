"""A router on the simulated network that speaks NAT-PMP, PCP and UPnP as far as it is told to."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h11
import pytest

from ghostwire import Metrics
from ghostwire.engine import SECOND
from ghostwire.errors import PlatformError, Unavailable
from ghostwire.node.portmap.mapping import PortMapping
from ghostwire.testing import Host, MemoryPlatform, Network, SeededEntropy

GATEWAY, LOCAL, OUTSIDE = "10.0.0.1", "10.0.0.5", "203.0.113.7"
PORT = 41641
ALL = frozenset({"NAT-PMP", "PCP", "UPnP"})

DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>urn:schemas-upnp-org:device:{igd}</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
<controlURL>/ctl/L3F</controlURL></service></serviceList>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>{service}</serviceType><serviceId>x</serviceId><controlURL>{control}</controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>"""
SOAP = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    '<u:{action}Response xmlns:u="{service}">{values}</u:{action}Response></s:Body></s:Envelope>'
)
FAULT = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode>'
    "<faultstring>UPnPError</faultstring><detail><UPnPError><errorCode>{number}</errorCode>"
    "<errorDescription>No</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
)


class MemoryPorts:
    """UDP ports of a simulated host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def local(self, gateway: str) -> str:
        if not self.host.addresses:
            raise Unavailable("the router cannot be reached")
        return self.host.addresses[0]

    def open(self, number: int, receive: Callable[[Any, bytes], None], *, local: str = "") -> Any:
        try:
            port = self.host.bind(number, lambda source, burst: [receive(source, each) for each in burst] and None)
        except OSError as error:
            raise PlatformError(str(error)) from None
        return SimpleNamespace(send=lambda target, data: port.send(target, [data]), close=port.close)


@dataclass
class Router:
    """``mappings`` are by outside port: inside address, inside port, when it ends in ns (None: never)."""

    host: Host
    speaks: frozenset[str] = ALL
    outside: str = OUTSIDE
    lifetime: int = 7200
    result: int = 0
    taken: set[int] = field(default_factory=set)
    only_permanent: int = 0
    version: int = 2
    location: str = f"http://{GATEWAY}:5000/desc.xml"
    control: str = "/ctl/IPConn"
    mappings: dict[int, tuple[str, int, int | None]] = field(default_factory=dict)
    nonces: dict[int, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    deaf: bool = False

    def start(self) -> None:
        self.clock = self.host.network.clock
        self.started = self.clock.now()
        self.pmp = self.host.bind(
            5351, lambda source, burst: [self.control_asked(source, each) for each in burst] and None
        )
        self.ssdp = self.host.bind(1900, lambda source, burst: [self.sought(source, each) for each in burst] and None)
        self.host.listen(5000, lambda: HttpServer(self))

    @property
    def epoch(self) -> int:
        return 100 + (self.clock.now() - self.started) // SECOND

    def reboot(self) -> None:
        """Forget everything, and tell all the hosts."""
        self.mappings.clear()
        self.started = self.clock.now() + 100 * SECOND

    def announce(self, target: str = LOCAL) -> None:
        self.pmp.send((target, 5350), [struct.pack(">BBHI4s", 0, 128, 0, self.epoch, IPv4Address(self.outside).packed)])

    def control_asked(self, source: tuple[str, int], data: bytes) -> None:
        if self.deaf:
            return
        version = {0: "NAT-PMP", 2: "PCP"}[data[0]]
        self.asked.append(f"{version} {data[1]}")
        if version in self.speaks:
            answer = self.nat_pmp(source, data) if data[0] == 0 else self.pcp(source, data)
            self.pmp.send(source, [answer])
        elif {"NAT-PMP", "PCP"} & self.speaks:
            other = 0 if data[0] else 2
            self.pmp.send(source, [struct.pack(">BBHI16x", other, data[1] | 128, 1, self.epoch)])

    def nat_pmp(self, source: tuple[str, int], data: bytes) -> bytes:
        head = struct.pack(">BBHI", 0, data[1] | 128, self.result, self.epoch)
        if data[1] == 0:
            return head + IPv4Address(self.outside).packed
        inside, wished, lifetime = struct.unpack(">HHI", data[4:])
        if self.result:
            return head
        outside, lifetime = self.grant(source[0], inside, wished, lifetime)
        return head + struct.pack(">HHI", inside, outside, lifetime)

    def pcp(self, source: tuple[str, int], data: bytes) -> bytes:
        lifetime = int.from_bytes(data[4:8])
        result = self.result
        body = b""
        if data[1] == 1:
            nonce, protocol, inside, wished, _ = struct.unpack(">12sB3xHH16s", data[24:])
            held = self.nonces.setdefault(inside, nonce)
            result = result or (2 if held != nonce else 0)
            outside, lifetime = self.grant(source[0], inside, wished, lifetime) if not result else (0, 600)
            address = IPv4Address(self.outside).packed
            body = struct.pack(">12sB3xHH10x2s4s", nonce, protocol, inside, outside, b"\xff\xff", address)
        return struct.pack(">BBxBII12x", 2, data[1] | 128, result, lifetime, self.epoch) + body

    def grant(self, address: str, inside: int, wished: int, lifetime: int) -> tuple[int, int]:
        if not lifetime:
            self.mappings = {port: held for port, held in self.mappings.items() if held[:2] != (address, inside)}
            return 0, 0
        outside = wished + 1 if wished in self.taken else wished
        lifetime = min(lifetime, self.lifetime)
        self.mappings[outside] = (address, inside, self.clock.now() + lifetime * SECOND)
        return outside, lifetime

    def sought(self, source: tuple[str, int], data: bytes) -> None:
        self.asked.append("UPnP search")
        if "UPnP" in self.speaks and not self.deaf and b"InternetGatewayDevice" in data:
            answer = f"HTTP/1.1 200 OK\r\nST: urn:x:InternetGatewayDevice:1\r\nLocation: {self.location}\r\n\r\n"
            self.ssdp.send(source, [answer.encode()])

    def http(self, method: str, path: str, action: str, body: bytes) -> tuple[int, str]:
        service = f"urn:schemas-upnp-org:service:WANIPConnection:{self.version}"
        if method == "GET":
            igd = f"InternetGatewayDevice:{self.version}"
            return 200, DESCRIPTION.format(igd=igd, service=service, control=self.control)
        name = action.strip('"').partition("#")[2]
        self.asked.append(f"UPnP {name}")
        number, values = self.act(name, body.decode())
        if number:
            return 500, FAULT.format(number=number)
        return 200, SOAP.format(action=name, service=service, values=values)

    def act(self, name: str, body: str) -> tuple[int, str]:
        def value(argument: str) -> str:
            return body.partition(f"<{argument}>")[2].partition("<")[0]

        if name == "GetExternalIPAddress":
            return 0, f"<NewExternalIPAddress>{self.outside}</NewExternalIPAddress>"
        outside = int(value("NewExternalPort"))
        if name == "DeletePortMapping":
            return (0, "") if self.mappings.pop(outside, None) else (714, "")
        lifetime = int(value("NewLeaseDuration"))
        if self.only_permanent and lifetime:
            return self.only_permanent, ""
        if name == "AddPortMapping" and outside in self.taken:
            return 718, ""
        if name == "AddAnyPortMapping":
            if self.version == 1:
                return 401, ""
            outside += outside in self.taken
        ends = self.clock.now() + lifetime * SECOND if lifetime else None
        self.mappings[outside] = (value("NewInternalClient"), int(value("NewInternalPort")), ends)
        return 0, f"<NewReservedPort>{outside}</NewReservedPort>" if name == "AddAnyPortMapping" else ""


class HttpServer(asyncio.Protocol):
    """What the router answers over HTTP."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.connection = h11.Connection(h11.SERVER)
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.connection.receive_data(data)
        while (event := self.connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                self.request = event
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return self.answer()
            else:
                return None
        return None

    def answer(self) -> None:
        action = dict(self.request.headers).get(b"soapaction", b"").decode()
        method, path = self.request.method.decode(), self.request.target.decode()
        status, text = self.router.http(method, path, action, self.body)
        headers = [("Content-Type", "text/xml"), ("Connection", "close")]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=text.encode()),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.connection.send(event))
        self.transport.close()


class Home:
    """A node behind a router; made inside a simulation."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.network = Network(seed=1)
        self.node = self.network.host("node", LOCAL)
        self.router = Router(self.network.host("router", GATEWAY), **options)
        self.router.start()
        self.clock = self.network.clock
        self.platform = MemoryPlatform(self.node)
        self.platform.router = GATEWAY
        self.folder = folder
        self.entropy = SeededEntropy(1)
        self.told: list[str] = []
        self.wanted = True
        self.metrics = Metrics()
        self.mapping = self.make()

    def make(self, **options: Any) -> PortMapping:
        parts: Any = SimpleNamespace(
            sockets=self.node.sockets,
            platform=self.platform,
            clock=self.clock,
            entropy=self.entropy,
            port_mapping=self.wanted,
            state=self.folder,
            log=logging.getLogger("test"),
            metrics=self.metrics,
        )
        return PortMapping(parts, self.changed, ports=MemoryPorts(self.node), **options)

    def changed(self) -> None:
        self.told.append(self.mapping.mapped)

    async def started(self) -> None:
        """Start, and let a search take its time."""
        self.mapping.start(PORT)
        await asyncio.sleep(10)


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., Home]:
    """Makes the home; call it inside the simulation."""
    return lambda **options: Home(tmp_path, **options)
