"""Keeps a port of the router's outside address mapped to this node, as long as the node runs.

The protocols are tried in order: the one that worked last, then NAT-PMP, PCP and UPnP; PCP before NAT-PMP where it
alone was seen. What is granted is renewed at half its time. A router that counts its seconds anew has forgotten
what it granted; it is asked again at once, as is one that tells of another address. A search that found nothing is
repeated every `AGAIN`, when the router tells of itself and when links change; where there is no router, or this machine
has an address that others can reach anyway, when links change alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ghostwire import Metrics
from ghostwire.engine import SECOND
from ghostwire.errors import GhostwireError, Refused, Unavailable
from ghostwire.node.parts import Parts
from ghostwire.node.portmap import nonce
from ghostwire.node.portmap.announced import Announcements
from ghostwire.node.portmap.granted import LIFETIME, Granted, Lease, Wanted, outside_address
from ghostwire.node.portmap.methods import ByNatPmp, ByPcp, Method
from ghostwire.node.portmap.report import PortMapProtocols
from ghostwire.node.portmap.router import Router
from ghostwire.node.portmap.udp import Ports, SystemPorts
from ghostwire.node.portmap.upnp import Upnp

AGAIN = 600 * SECOND
"""Time from a search that found nothing to the next."""
HASTE = 4 * SECOND
"""Time from one request to the next, whatever the router is said to have forgotten; it doubles each time that this is
said, up to `AGAIN`, for anybody on this network may say so."""
PATIENCE = 30
"""Seconds that one protocol's requests may take together."""
GOODBYE = 1.5
"""Seconds that giving a mapping back may take."""


class PortMapping:
    """Works from `start` to `close`; ``changed`` is called when ``mapped`` is another.

    ``mapped`` is the outside ``address:port`` that leads here, empty where there is none; ``trouble`` says in a line
    why there is none, where something was tried; ``lease`` is what the router granted. ``ports`` are the machine's
    unless given; ``lifetime`` is how long mappings are asked for, in nanoseconds.
    """

    def __init__(
        self,
        parts: Parts,
        changed: Callable[[], object],
        *,
        ports: Ports | None = None,
        lifetime: int = LIFETIME,
    ) -> None:
        self._parts, self._clock, self._changed = parts, parts.clock, changed
        self._ports = ports or SystemPorts(parts.sockets)
        self._lifetime = lifetime
        self._pmp, self._pcp = ByNatPmp(), ByPcp(self._nonce)
        self._upnp = Upnp(parts.entropy)
        self._last: Method | None = None
        self._router: Router | None = None
        self._port = self._outside = self._asked = 0
        self._haste = HASTE
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._asking = asyncio.Lock()
        self._announcements = Announcements(self._ports, self._announced)
        self.lease: Lease | None = None
        self.mapped = ""
        self.trouble = ""

    @property
    def found(self) -> PortMapProtocols:
        """What the router is known to speak."""
        return PortMapProtocols(nat_pmp=self._pmp.spoken, pcp=self._pcp.spoken, upnp=self._upnp.spoken)

    def start(self, port: int) -> None:
        """Ask for a mapping to this UDP port of the machine; nothing is done where the operator wants none."""
        if self._task is None and port and self._parts.port_mapping:
            self._port = self._outside = port
            self._metrics = self._parts.metrics.scope()
            self._register(self._metrics)
            self._task = asyncio.get_running_loop().create_task(self._work())

    def links_changed(self) -> None:
        """The router may be another, or have another address for us."""
        if self.lease is not None:
            self.lease.due = self._clock.now()
        self._woken.set()

    async def probe(self) -> PortMapProtocols:
        """Ask now which protocols the router speaks; nobody is asked where the operator wants no mapping."""
        if self._parts.port_mapping:
            async with self._asking:
                with suppress(GhostwireError):
                    await self._probe_all()
        return self.found

    async def close(self) -> None:
        """Stop, and give the mapping back; harmless when called twice."""
        task, self._task = self._task, None
        if task is not None:
            self._parts.metrics.drop(self._metrics)
            task.cancel()
            await asyncio.wait([task])
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._release()
        self.mapped = ""
        self._forget()

    def _register(self, metrics: Metrics) -> None:
        metrics.counter(
            "ghostwire_portmap_ignored_total",
            "Datagrams to the ports that ask the router which were no answers of it.",
            lambda: sum(method.ignored for method in self._methods()),
        )
        metrics.gauge(
            "ghostwire_portmap_mapped", "1 while the router leads a port here.", lambda: int(bool(self.mapped))
        )

    # The work

    async def _work(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self._look()
            except GhostwireError as error:
                self._lose(str(error))
            except Exception:
                self._parts.log.exception("internal error in port mapping")
                self._lose("an internal error; see the node's log")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()

    def _pause(self) -> float | None:
        """Seconds until something is to be done unasked."""
        if self.lease is not None:
            return max(0, self.lease.due - self._clock.now()) / SECOND
        return AGAIN / SECOND if self._router is not None else None

    async def _look(self) -> None:
        """Renew what is held, else search."""
        async with self._asking:
            router = self._here()
            if router is None:
                self._forget()
            elif self.lease is None or not await self._renew(router, self.lease):
                await self._search(router)
            if router is not None and (self._pmp.spoken or self._pcp.spoken):
                self._announcements.listen(router.gateway)

    def _here(self) -> Router | None:
        """The router there is now, unless this machine needs none; what another granted or spoke is forgotten."""
        gateway = self._parts.platform.gateway()
        if gateway is None:
            return None
        router = Router(gateway, self._ports.local(gateway), self._ports, self._parts.sockets, self._clock)
        if outside_address(router.local):
            return None
        if router != self._router:
            self._forget()
            self._router = router
        return self._router

    async def _renew(self, router: Router, lease: Lease) -> bool:
        """Ask for more time; False where it is lost."""
        now, method = self._clock.now(), self._last
        if method is None or now >= lease.ends:
            return False
        if now < lease.due:
            return True
        self._asked = now
        try:
            self._hold(method, await self._map(method, router))
        except Unavailable as error:
            self.trouble = str(error)
            lease.put_off(self._clock.now())
        except GhostwireError as error:
            self.trouble = str(error)
            return False
        return True

    async def _search(self, router: Router) -> None:
        self._asked, troubles = self._clock.now(), list[str]()
        for method in self._methods():
            try:
                self._hold(method, await self._map(method, router))
                return
            except GhostwireError as error:
                troubles.append(str(error))
        self._lose("; ".join(troubles))

    def _methods(self) -> list[Method]:
        """In the order in which they are tried."""
        only_pcp = self._pcp.spoken and not self._pmp.spoken
        usual: list[Method] = [self._pcp, self._pmp] if only_pcp else [self._pmp, self._pcp]
        usual.append(self._upnp)
        return sorted(usual, key=lambda method: method is not self._last)

    async def _map(self, method: Method, router: Router) -> Granted:
        wanted = Wanted(self._port, self._outside, self._lifetime)
        try:
            async with asyncio.timeout(PATIENCE):
                granted = await method.map(router, wanted)
        except TimeoutError:
            raise Unavailable(f"{method.name}: the router takes more than {PATIENCE} s") from None
        if not outside_address(granted.address):
            with suppress(GhostwireError):
                await method.release(router, wanted)
            raise Refused(f"{method.name}: others cannot reach the router's outside address {granted.address}")
        return granted

    async def _probe_all(self) -> None:
        before, router = self._router, self._here()
        if router is not before:
            self._woken.set()
        if router is not None:
            await asyncio.gather(*(self._probe(method, router) for method in self._methods()))

    async def _probe(self, method: Method, router: Router) -> None:
        method.epoch = None
        with suppress(GhostwireError):
            await method.probe(router)
        lease = self.lease
        if lease is not None and method.epoch is not None and lease.forgotten(method.epoch, self._clock.now()):
            self._doubt()

    # What is held

    def _hold(self, method: Method, granted: Granted) -> None:
        self._last, self._outside, self.trouble = method, granted.port, ""
        self.lease = Lease(granted, self._clock.now())
        self._tell(granted.endpoint, f"{method.name}: {granted.endpoint} leads to this node")

    def _lose(self, trouble: str) -> None:
        self.lease, self.trouble = None, trouble
        self._tell("", f"no port mapping: {trouble}")

    def _forget(self) -> None:
        """What is known was another router's."""
        self._router = self.lease = self._last = None
        self._outside, self._haste = self._port, HASTE
        for method in self._methods():
            method.forget()
        self._announcements.close()
        self.trouble = ""
        self._tell("", "no port mapping")

    def _tell(self, mapped: str, line: str) -> None:
        if mapped != self.mapped:
            self.mapped = mapped
            self._parts.log.info("%s", line)
            self._changed()

    async def _release(self) -> None:
        lease, router, method = self.lease, self._router, self._last
        if lease is not None and router is not None and method is not None:
            with suppress(GhostwireError):
                await method.release(router, Wanted(self._port, lease.granted.port, 0))

    def _announced(self, epoch: int, address: str) -> None:
        """The router told of itself, unasked: it may have started, or have got another outside address."""
        lease = self.lease
        moved = lease is not None and address not in ("", lease.granted.address)
        if lease is None or moved or lease.forgotten(epoch, self._clock.now()):
            self._doubt()

    def _doubt(self) -> None:
        """Ask again now, unless that was done just now."""
        now = self._clock.now()
        if now - self._asked >= AGAIN:
            self._haste = HASTE
        if now - self._asked >= self._haste:
            self._haste = min(AGAIN, 2 * self._haste)
            if self.lease is not None:
                self.lease.due = now
            self._woken.set()

    def _nonce(self) -> bytes:
        return nonce.load(self._parts.state, self._parts.entropy)
