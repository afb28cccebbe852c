"""Transports that core can rely on, made of ones that it need not: what those raise, hang in, flood or say costs only
themselves, and after one failed another is started (see `keeper`). Paths outlive what made them (`paths`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ghostwire import Receive, RelayTransport, Transport
from ghostwire.model import MapRelay
from ghostwire.node.transports.faults import FAULTS
from ghostwire.node.transports.keeper import Keeper
from ghostwire.node.transports.paths import SupervisedPath, sensible
from ghostwire.wire.messages import MAX_ENDPOINTS

T = TypeVar("T")


def supervise(keeper: Keeper) -> Supervised:
    """The transport that it keeps, of the kind that its provider makes."""
    return SupervisedRelay(keeper) if keeper.create() else Supervised(keeper)


class Supervised(Transport):
    """What core asks of a transport, answered by the one that runs, or with nothing."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper, self.name = keeper, keeper.origin.name

    async def start(self, receive: Receive) -> None:
        """See `Keeper.start`."""
        await self.keeper.start(receive)

    def endpoints(self) -> Sequence[str]:
        """What the running one advertises, as far as it can be advertised."""
        transport, faults = self.keeper.transport, self.keeper.faults
        if transport is None:
            return ()
        try:
            said = transport.endpoints()
            if not isinstance(said, list | tuple):
                raise TypeError(f"endpoints() gave a {type(said).__name__} instead of a list")
            fit = [text for text in said[:MAX_ENDPOINTS] if sensible(text)]
        except FAULTS as error:
            self.keeper.raised("endpoints", error)
            return ()
        if len(fit) < len(said):
            faults.refused += len(said) - len(fit)
            faults.say_again("endpoints", "advertises endpoints that are too many, too long or no text")
        return fit

    def path(self, endpoint: str) -> SupervisedPath:
        """The path to a peer's endpoint, which outlives restarts; ValueError where the text makes no sense."""
        return self.keeper.table.path(endpoint)

    async def close(self) -> None:
        """See `Keeper.close`."""
        await self.keeper.close()


class SupervisedRelay(Supervised, RelayTransport):
    """Remembers what core says to a relay transport, and says it to each one that is started."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(keeper)
        self._told: tuple[Sequence[MapRelay], int | None, int | None] | None = None
        self._lost: Callable[[int], object] = lambda region: None
        keeper.began = self._inform

    def use(self, relays: Sequence[MapRelay], home: int | None, assigned: int | None) -> None:
        """Have it use these relays, as from now on every one that follows."""
        self._told = tuple(relays), home, assigned
        self._tell()

    def watch(self, lost: Callable[[int], object]) -> None:
        """Have it tell of lost connections, as every one that follows."""
        self._lost = lost
        self._ask("watch", lambda relay: relay.watch(self._hearing(relay)))

    def links_changed(self) -> None:
        """This machine's links changed."""
        self._ask("links_changed", lambda relay: relay.links_changed())

    def connected(self, region: int) -> bool:
        """Whether a connection to that region is logged in."""
        return self._ask("connected", lambda relay: relay.connected(region)) is True

    def at(self, region: int) -> int | None:
        """The id of the relay that the connection to that region leads to, as far as it is known."""
        return _number(self._ask("at", lambda relay: relay.at(region)))

    def heard(self, region: int) -> int | None:
        """When that region's connection last brought a frame."""
        return _number(self._ask("heard", lambda relay: relay.heard(region)))

    def _inform(self) -> None:
        """Another one runs, which knows nothing yet."""
        self.watch(self._lost)
        self._tell()

    def _tell(self) -> None:
        told = self._told
        if told is not None:
            self._ask("use", lambda relay: relay.use(*told))

    def _hearing(self, relay: RelayTransport) -> Callable[[object], None]:
        """What it may call, from whichever thread, for as long as it runs."""

        def lost(region: object) -> None:
            if relay is self.keeper.transport and isinstance(region, int):
                self._lost(region)

        return lambda region: self.keeper.post(lost, region)

    def _ask(self, where: str, question: Callable[[RelayTransport], T]) -> T | None:
        """What the one that runs answers; None where none runs, or it raises."""
        relay = self.keeper.transport
        if not isinstance(relay, RelayTransport):
            return None
        try:
            return question(relay)
        except FAULTS as error:
            self.keeper.raised(where, error)
            return None


def _number(answer: object) -> int | None:
    return answer if isinstance(answer, int) else None


def runs(transport: Transport) -> bool:
    """Whether it carries anything; one without a supervisor does."""
    return not isinstance(transport, Supervised) or transport.keeper.running
