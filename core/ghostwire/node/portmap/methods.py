"""The protocols by which a router is asked, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from ghostwire.errors import Refused, Unavailable
from ghostwire.node.portmap.asking import SILENT, Asking
from ghostwire.node.portmap.granted import Granted, Wanted
from ghostwire.node.portmap.nat_pmp import NatPmp
from ghostwire.node.portmap.pcp import Pcp
from ghostwire.node.portmap.router import Router


class Method(ABC):
    """One protocol.

    ``spoken`` is what is known of it at the router asked last (see `PortMapProtocols`), ``epoch`` the count of seconds
    that the last answer gave, ``ignored`` how many datagrams were no answers.
    """

    name: str

    def __init__(self) -> None:
        self.spoken: bool | None = None
        self.epoch: int | None = None
        self.ignored = 0

    @abstractmethod
    async def map(self, router: Router, wanted: Wanted) -> Granted:
        """Ask for a mapping, or for more time; Unavailable where nobody answers, Refused with the reason."""

    @abstractmethod
    async def release(self, router: Router, wanted: Wanted) -> None:
        """Give a mapping back; errors as above."""

    @abstractmethod
    async def probe(self, router: Router) -> None:
        """Find out whether it is spoken, changing nothing."""

    def forget(self) -> None:
        """The router is another."""
        self.spoken = self.epoch = None


class ByDatagrams(Method):
    """What NAT-PMP and PCP share."""

    async def map(self, router: Router, wanted: Wanted) -> Granted:
        """Ask once."""
        granted = await self._granted(router, wanted)
        if granted is None:
            raise Refused(f"{self.name}: the router grants no time")
        return granted

    async def release(self, router: Router, wanted: Wanted) -> None:
        """Ask for no time."""
        await self._granted(router, Wanted(wanted.port, 0, 0))

    @abstractmethod
    async def _granted(self, router: Router, wanted: Wanted) -> Granted | None:
        """Run the engine."""

    async def run(self, router: Router, engine: Asking) -> None:
        """Run an engine and note who answered."""
        await router.ask(engine)
        self.spoken, self.ignored = engine.heard, self.ignored + engine.ignored
        if engine.trouble == SILENT:
            raise Unavailable(f"{self.name}: {SILENT}")
        if engine.trouble:
            raise Refused(f"{self.name}: {engine.trouble}")


class ByNatPmp(ByDatagrams):
    """NAT-PMP."""

    name = "NAT-PMP"

    async def _granted(self, router: Router, wanted: Wanted | None) -> Granted | None:
        engine = NatPmp(router.gateway, wanted, router.clock.now())
        await self.run(router, engine)
        self.epoch = engine.epoch
        return engine.granted

    async def probe(self, router: Router) -> None:
        """Ask for the address alone."""
        await self._granted(router, None)


class ByPcp(ByDatagrams):
    """PCP; ``load`` gives the nonce that makes mappings this node's."""

    name = "PCP"

    def __init__(self, load: Callable[[], bytes]) -> None:
        super().__init__()
        self._load = load

    async def _granted(self, router: Router, wanted: Wanted | None) -> Granted | None:
        engine = Pcp(router.gateway, router.local, wanted, self._load(), router.clock.now())
        await self.run(router, engine)
        self.epoch = engine.epoch
        return engine.granted

    async def probe(self, router: Router) -> None:
        """ANNOUNCE."""
        await self._granted(router, None)
