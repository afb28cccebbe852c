"""One node's path choice on a manual clock, before a world that answers pings as the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from ghostwire import Activity, Buffer, Path
from ghostwire.engine import MILLISECOND, SECOND
from ghostwire.node.paths.decisions import Ask, Attach, Call, Decision, Ping, Rest, Trial, Trust, Want
from ghostwire.node.paths.paths import Paths
from ghostwire.node.paths.peer import PeerPaths
from ghostwire.testing import ManualClock, SeededEntropy

PEER = 7


@dataclass(frozen=True)
class Way(Path):
    """A path that goes nowhere."""

    endpoint: str
    transport: str = "udp"
    relayed: bool = False

    def send(self, datagrams: Sequence[Buffer]) -> bool:
        """Nobody calls it: engines do no I/O."""
        raise AssertionError(datagrams)


RELAY = Way("1/nodekey:aa", "derp", relayed=True)
LAN, WAN, OTHER = Way("192.168.1.7:41641"), Way("203.0.113.7:41641"), Way("203.0.113.8:41641")


@dataclass
class World:
    """Runs the engine in steps of a millisecond. ``answering``: path -> round trip in ns of pings over it;
    ``carrying``: the paths over which handshakes are completed. ``flow`` says what data moves, at every step. Whom this
    node looks for calls back after ``calls_back`` ns, None for never."""

    paths: Paths
    clock: ManualClock
    answering: dict[Path, int] = field(default_factory=dict)
    carrying: set[Path] = field(default_factory=set)
    activity: Activity = field(default_factory=Activity)
    decisions: list[tuple[int, Decision]] = field(default_factory=list)
    attached: tuple[Path, ...] = ()
    flow: Callable[[World], None] | None = None
    calls_back: int | None = 20 * MILLISECOND
    _answers: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)

    @property
    def now(self) -> int:
        return self.clock.now()

    @property
    def peer(self) -> PeerPaths:
        found = self.paths.get(PEER)
        assert found is not None
        return found

    @property
    def state(self) -> str:
        return self.peer.state.value

    def awake(self) -> None:
        self.activity = self.activity._replace(sent=self.now)
        self.paths.awake(PEER, self.now)
        self.settle()

    def send(self, *, answered: bool) -> None:
        """Data leaves now, and is answered over what is attached or not."""
        unanswered = 0 if answered else self.activity.unanswered or self.now
        received = self.now if answered else self.activity.received
        self.activity = Activity(self.now, received, unanswered, self.now if answered else self.activity.heard)

    def settle(self) -> None:
        while drained := self.paths.drain():
            for decision in drained:
                self.decisions.append((self.now, decision))
                self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Attach(_, paths):
                self.attached = paths
            case Ping(peer, path, transaction, _, None) if path in self.answering:
                self._later(self.answering[path], lambda: self.paths.ponged(peer, path, transaction, self.now))
            case Ask(peer, relay, transaction) if self.calls_back is not None and self.state == "searching":
                self._later(self.calls_back, lambda: self._call_back(relay, transaction))
            case Trial(peer, path) if path in self.carrying:
                self._later(20 * MILLISECOND, lambda: self.paths.established(peer, path, self.now))

    def _call_back(self, relay: Path, transaction: bytes) -> None:
        if self.paths.get(PEER) is not None:
            self.paths.called(PEER, (), self.now)
            self.paths.ponged(PEER, relay, transaction, self.now)

    def _later(self, delay: int, event: Callable[[], None]) -> None:
        self._answers.append((self.now + delay, len(self.decisions), event))

    def run(self, duration: int, step: int = 10 * MILLISECOND) -> None:
        """Let time pass."""
        end = self.now + duration
        while self.now < end:
            self.clock.advance(min(step, end - self.now))
            due = sorted(each for each in self._answers if each[0] <= self.now)
            self._answers = [each for each in self._answers if each[0] > self.now]
            for _, _, event in due:
                event()
                self.settle()
            if self.flow is not None:
                self.flow(self)
            deadline = self.paths.deadline()
            if deadline is not None and deadline <= self.now:
                self.paths.advance(self.now)
            self.settle()

    def until(self, happened: Callable[[], bool], limit: int = 60 * SECOND) -> int:
        """How long it took; the limit is an error."""
        began = self.now
        while not happened():
            assert self.now - began < limit, self.peer.history
            self.run(10 * MILLISECOND)
        return self.now - began

    def seen(self, kind: type[Decision], since: int = 0) -> list[Decision]:
        return [each for at, each in self.decisions if isinstance(each, kind) and at >= since]

    def pings(self, path: Path, since: int = 0) -> int:
        pings = [each for each in self.seen(Ping, since) if isinstance(each, Ping) and each.ttl is None]
        return sum(each.path == path for each in pings)


def make_world(
    *, relay: Path | None = RELAY, known: Sequence[Path] = (), ranks: Sequence[str] = ("udp", "quic")
) -> World:
    clock = ManualClock()
    clock.advance(1000 * SECOND)
    world: World

    def activity(peer: int) -> Activity:
        return world.activity

    paths = Paths(
        SeededEntropy(1),
        activity,
        rank=lambda name: ranks.index(name),
        relay=lambda peer: relay,
        known=lambda peer: known,
        plain=lambda peer: False,
    )
    world = World(paths, clock)
    return world


@pytest.fixture
def world() -> World:
    """A relay, and two known candidates."""
    return make_world(known=(LAN, WAN))


def talk(world: World) -> None:
    """Data goes both ways."""
    world.send(answered=True)


def deaf(world: World) -> None:
    """Nothing answers; one packet every 100 ms."""
    world.send(answered=False)


def direct(world: World, path: Way = WAN, latency: int = 20 * MILLISECOND) -> World:
    """Talking over a trusted direct path."""
    world.answering[path], world.flow = latency, talk
    world.carrying.add(path)
    world.awake()
    world.until(lambda: world.attached == (path,))
    return world


__all__ = ["LAN", "OTHER", "PEER", "RELAY", "WAN", "Attach", "Call", "Rest", "Trust", "Want", "Way", "World"]
