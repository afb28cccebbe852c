"""Finds out where this node can be reached: its own addresses, what relays see, what the router forwards.

    at the start, when links change, after sleep    a full look of netcheck, and the router is asked anew
    while packets move                              a few relays every 20-26 s, which also keeps mappings alive
    on demand                                       a few relays at once, for a call-me-maybe
    otherwise                                       what netcheck's looks tell, every 5 minutes

Peers hear of changes by call-me-maybe (`Discovery.addresses`, as they are now) and, where they declared interest,
through the server (`Discovery.endpoints`, told when they have settled, without ports that come and go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from ghostwire import RelayTransport, Transport
from ghostwire.capabilities.tunnel import Prefix
from ghostwire.engine import SECOND
from ghostwire.model import Endpoint
from ghostwire.node.addresses import address_of, is_reachable
from ghostwire.node.endpoints.advertised import IPV4, Known, advertised, port_of, shared
from ghostwire.node.endpoints.observed import Observed
from ghostwire.node.endpoints.settling import Settling
from ghostwire.node.endpoints.sleep import Sleep
from ghostwire.node.netcheck.netcheck import Netcheck
from ghostwire.node.netcheck.round import Mapped
from ghostwire.node.parts import Parts
from ghostwire.node.portmap.mapping import PortMapping
from ghostwire.uplink.backoff import Backoff
from ghostwire.wire.messages import MAX_ENDPOINT_TEXT

FRESH = 5 * SECOND
"""A router that restarts gives other ports from one moment to the next, and who calls looks for a lost peer."""
SOONEST, SPREAD = 20.0, 6.0
"""Seconds between two rounds while packets move: at least, and up to so much more. The shortest timeout of address
translators that is seen in the field is 30 s."""
IDLE = 60.0
"""Seconds between two looks at the clock while none move."""


class Discovery:
    """Works from `start`, when the transports run, to `close`. ``changed`` is called when `endpoints` are others, once
    that has settled; ``slept`` after the machine slept, where `links_changed` of this alone is not enough."""

    def __init__(
        self,
        parts: Parts,
        transports: Sequence[Transport],
        netcheck: Netcheck,
        mapping: PortMapping | None,
        changed: Callable[[], object],
        slept: Callable[[], object] | None = None,
    ) -> None:
        self._parts, self._transports, self._netcheck, self._mapping = parts, transports, netcheck, mapping
        self._slept = slept or self.links_changed
        self._observed, self._settling, self._sleep = Observed(), Settling(changed), Sleep(parts.clock)
        self._spread = Backoff(parts.entropy)
        self._mesh: frozenset[Prefix] = frozenset()
        self._lengths: frozenset[int] = frozenset()
        self._active = self._running = False
        self._timer: asyncio.TimerHandle | None = None
        self._round: asyncio.Task[None] | None = None
        self._asked: int | None = None
        self._then: list[Callable[[], object]] = []
        self._local: Sequence[str] = ()
        self._endpoints: tuple[Endpoint, ...] | None = None
        netcheck.measuring.asking.heard = self._heard
        netcheck.mapping = mapping

    def start(self) -> None:
        """The transports run; netcheck looks at the network of itself."""
        self._running = True
        self._again()
        self.review()

    async def close(self) -> None:
        """Stop, and give back what the router forwards; harmless when called twice."""
        self._running = False
        self._settling.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._round is not None:
            self._round.cancel()
        if self._mapping is not None:
            await self._mapping.close()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """What to advertise, best first; at most `MAX_ENDPOINTS`."""
        self.review()
        return self._endpoints or ()

    def addresses(self) -> tuple[str, ...]:
        """The same of the bare transport alone, as they are at this moment: ``host:port``, for call-me-maybe."""
        lately = self._observed.lately(self._parts.clock.now())
        return self._known(self._local, (*self._observed.endpoints(), *lately))

    @property
    def fresh(self) -> bool:
        """Whether relays were asked within the last 5 s."""
        return self._asked is not None and self._parts.clock.now() - self._asked <= FRESH

    def refresh(self, then: Callable[[], object] | None = None) -> None:
        """Ask a few relays now, unless that is under way; ``then`` is called when they have answered, or would have.

        That is 100 ms after the first answer, and after 1 s where none answers.
        """
        if then is not None:
            self._then.append(then)
        if self._round is None and self._running:
            self._round = asyncio.get_running_loop().create_task(self._ask())

    def seen(self, mapped: str) -> None:
        """A peer sees this node's packets come from there (``host:port``)."""
        self._observed.seen(mapped, self._parts.clock.now())

    def busy(self, active: bool) -> None:
        """Whether packets move: only then are relays asked again and again."""
        if active == self._active:
            return
        self._active = active
        if active and not self.fresh:
            self.refresh()
        if self._running:
            self._again()

    def links_changed(self) -> None:
        """This machine's links changed: nothing that relays or the router said counts any more."""
        self._observed.forget()
        self._asked = None
        if self._mapping is not None:
            self._mapping.links_changed()
        self.review()
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self.refresh()

    def avoid(self, mesh: Iterable[Prefix]) -> None:
        """Never advertise an address in these prefixes."""
        self._mesh = frozenset(mesh)
        self._lengths = frozenset(prefix.prefixlen for prefix in self._mesh)

    def review(self) -> None:
        """Put together what is known; to be called where a transport's or the router's part of it changed."""
        direct = [each for each in self._transports if not isinstance(each, RelayTransport)]
        offers = [(each.name, list(each.endpoints())) for each in direct]
        local = next((texts for name, texts in offers if name == self._parts.bare), [])
        self._forward(local)
        self._local = local
        steady = self._known(local, self._observed.steady())
        own = [(name, steady if name == self._parts.bare else self._fit(texts)) for name, texts in offers]
        before, self._endpoints = self._endpoints, shared(own)
        if before is not None and self._endpoints != before:
            self._settling.changed()

    def _known(self, local: Sequence[str], seen: Sequence[str]) -> tuple[str, ...]:
        known = Known(
            configured=self._parts.configured,
            mapped=self._mapping.mapped if self._mapping is not None else "",
            local=local,
            seen=seen,
            varies=bool(self._observed.varies),
            fixed=self._parts.fixed_port,
        )
        return advertised(known, self._usable)

    def _forward(self, local: Sequence[str]) -> None:
        """Have the router forward the port, as soon as there is one; it does no harm to say so again."""
        if self._mapping is not None and self._running:
            self._mapping.start(port_of(local, IPV4))

    def _fit(self, texts: Iterable[str]) -> list[str]:
        """Of a transport's endpoints, which only it can read, those that no rule forbids."""
        allowed = (text for text in texts if address_of(text) is None or self._usable(text))
        return [text for text in dict.fromkeys(allowed) if len(text) <= MAX_ENDPOINT_TEXT]

    def _usable(self, text: str) -> bool:
        """Whether the text is an IP endpoint that a peer may reach outside the mesh."""
        address = address_of(text)
        if address is None or not is_reachable(address):
            return False
        lengths = (length for length in self._lengths if length <= address.max_prefixlen)
        return not any(ip_network((address, length), strict=False) in self._mesh for length in lengths)

    def _heard(self, relay: str, mapped: Mapped) -> None:
        if self._observed.answered(relay, mapped, self._parts.clock.now()):
            self.review()

    async def _ask(self) -> None:
        """One round; then all hear of it who waited."""
        try:
            await self._netcheck.glance()
        except Exception:
            self._parts.log.exception("internal error in asking relays for this node's endpoints")
        self._round = None
        self._asked = self._parts.clock.now()
        told, self._then = self._then, []
        for then in told:
            then()

    def _again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = SOONEST + self._spread.within(SPREAD) if self._active else IDLE
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._again()
        if self._sleep.slept():
            self._slept()
        elif self._active:
            self.refresh()
