"""UPnP IGD: finds the router's description, then adds and deletes port mappings by SOAP over HTTP.

A lease of two hours is asked for; routers that know no leases (errors 402 and 725) get a mapping without an end, which
is deleted at the node's end all the same. Where the outside port is another's, a few more are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ghostwire.engine import SECOND, Entropy
from ghostwire.errors import GhostwireError, Refused, Unavailable
from ghostwire.node.portmap import http, igd
from ghostwire.node.portmap.asking import SILENT
from ghostwire.node.portmap.granted import LIFETIME, Granted, Wanted, outside_address
from ghostwire.node.portmap.igd import Control, Fault
from ghostwire.node.portmap.methods import Method
from ghostwire.node.portmap.router import Router
from ghostwire.node.portmap.ssdp import Ssdp

DESCRIPTION = "GhostWire"
FURTHER_PORTS = 3
"""Outside ports that are tried where the wished one is taken."""
_FIRST_PORT, _PORTS = 20000, 40000


class Upnp(Method):
    """UPnP; the control URL that worked is kept for the router it is of."""

    name = "UPnP"

    def __init__(self, entropy: Entropy) -> None:
        super().__init__()
        self._entropy = entropy
        self._control: Control | None = None
        self._mapped = 0

    def forget(self) -> None:
        """The router is another."""
        super().forget()
        self._control, self._mapped = None, 0

    async def probe(self, router: Router) -> None:
        """Search and read the description."""
        await self._controls(router)

    async def map(self, router: Router, wanted: Wanted) -> Granted:
        """At the service that worked; if that fails, search anew."""
        if self._control is not None:
            try:
                return await self._map_at(router, self._control, wanted)
            except GhostwireError:
                self._control = None
        trouble: GhostwireError = Refused(f"{self.name}: no service that maps ports")
        for control in await self._controls(router):
            try:
                granted = await self._map_at(router, control, wanted)
            except GhostwireError as error:
                trouble = error
            else:
                self._control = control
                return granted
        raise trouble

    async def release(self, router: Router, wanted: Wanted) -> None:
        """Delete what was mapped."""
        if self._control is not None and self._mapped:
            where = (("NewRemoteHost", ""), ("NewExternalPort", self._mapped), ("NewProtocol", "UDP"))
            self._mapped = 0
            await self._do(router, self._control, "DeletePortMapping", where)

    async def _controls(self, router: Router) -> Sequence[Control]:
        search = Ssdp(router.gateway, router.clock.now())
        await router.ask(search)
        self.spoken, self.ignored = False, self.ignored + search.ignored
        if not search.locations:
            raise Unavailable(f"{self.name}: {SILENT}")
        found: list[Control] = []
        trouble: GhostwireError = Refused(f"{self.name}: no service that maps ports")
        for location in search.locations:
            try:
                description = await http.ask(http.Question(location), router.gateway, router.sockets)
                found += igd.controls(bytes(description.body), location, router.gateway)
            except GhostwireError as error:
                trouble = error
        if not found:
            raise trouble
        self.spoken = True
        return found

    async def _map_at(self, router: Router, control: Control, wanted: Wanted) -> Granted:
        """Nothing is mapped where nobody outside could reach it."""
        address = await self._do(router, control, "GetExternalIPAddress", name="NewExternalIPAddress")
        if not outside_address(address):
            raise Refused(f"{self.name}: the router has no outside address that others can reach")
        try:
            port = await self._add(router, control, wanted)
        except Fault as fault:
            if fault.number not in (igd.INVALID_ARGUMENTS, igd.ONLY_PERMANENT):
                raise
            port = await self._add(router, control, replace(wanted, lifetime=0))
        self._mapped = port
        return Granted(address, port, min(wanted.lifetime, LIFETIME))

    async def _add(self, router: Router, control: Control, wanted: Wanted) -> int:
        if control.service.endswith(":2"):
            try:
                return await self._add_any(router, control, wanted)
            except Fault as fault:
                if fault.number != igd.INVALID_ACTION:
                    raise
        return await self._add_one(router, control, wanted)

    async def _add_any(self, router: Router, control: Control, wanted: Wanted) -> int:
        """The router chooses the outside port, if the wished one is not free."""
        asked = _mapping(router, wanted, wanted.outside)
        text = await self._do(router, control, "AddAnyPortMapping", asked, name="NewReservedPort")
        port = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
        if not 0 < port < 65536:
            raise Refused(f"{self.name}: the router names no outside port")
        return port

    async def _add_one(self, router: Router, control: Control, wanted: Wanted) -> int:
        """We choose it, and again where it is taken."""
        taken: Fault | None = None
        for port in self._candidates(wanted):
            try:
                await self._do(router, control, "AddPortMapping", _mapping(router, wanted, port))
            except Fault as fault:
                if fault.number != igd.PORT_TAKEN:
                    raise
                taken = fault
            else:
                return port
        raise taken or Refused(f"{self.name}: no outside port")

    def _candidates(self, wanted: Wanted) -> Iterator[int]:
        yield wanted.outside
        for _ in range(FURTHER_PORTS):
            yield _FIRST_PORT + int.from_bytes(self._entropy(4)) % _PORTS

    async def _do(
        self, router: Router, control: Control, action: str, arguments: igd.Arguments = (), *, name: str = ""
    ) -> str:
        """One action; the value it answered under ``name``."""
        headers = (
            ("Content-Type", 'text/xml; charset="utf-8"'),
            ("SOAPAction", f'"{control.service}#{action}"'),
        )
        question = http.Question(control.url, headers, igd.envelope(control, action, arguments))
        answer = await http.ask(question, router.gateway, router.sockets)
        return igd.answer(answer.status, bytes(answer.body), action, name)


def _mapping(router: Router, wanted: Wanted, outside: int) -> igd.Arguments:
    return (
        ("NewRemoteHost", ""),
        ("NewExternalPort", outside),
        ("NewProtocol", "UDP"),
        ("NewInternalPort", wanted.port),
        ("NewInternalClient", router.local),
        ("NewEnabled", 1),
        ("NewPortMappingDescription", DESCRIPTION),
        ("NewLeaseDuration", wanted.lifetime // SECOND),
    )
