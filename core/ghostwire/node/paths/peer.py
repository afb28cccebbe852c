"""The path choice of one peer.

    state      packets go over        event                                   next       what is done
    ---------  ---------------------  --------------------------------------  ---------  ------------------------------
    asleep     guess and relay        data moves; the peer calls              searching  a round; direct at once where
                                                                                         the guess answered in `TRUST`
    searching  guess and relay        every `ROUNDS`                          searching  a round: ping all candidates,
                                                                                         call, tell the server
                                      a pong                                  searching  ping padded to the mesh's MTU
                                      a padded pong                           direct     use it
                                      authentic packets over a direct path    searching  it is the guess; ping it
    direct     the path in use        `HEARTBEAT`; `BUSY_HEARTBEAT` while     direct     ping it
                                      data leaves; data unanswered for
                                      `SUSPICION`; packets over the relay
                                      a ping unanswered for the grace         doubted    ping again, and every `AGAIN`
                                      packets from where it never was         doubted    that is the guess; ping both
                                      data unanswered for `CARRIAGE`          doubted    carriage test: a handshake over
                                                                                         it alone, ever more rarely
                                      a padded pong of a better one           direct     use that
                                      every `LOOK`                            direct     ping all, where it is not near
    doubted    guess, or path in      a pong; the carriage test passes        direct     use it alone
               use, and relay         no pong in `LOST` (`TRUST` when quiet)  searching  the path is no guess either
                                      no carriage in `CARRIAGE`               searching  the path is barred: it must
                                                                                         pass a test to be used again
    any        (none or the relay)    this machine's links change             doubted,   nothing measured counts any
                                                                              searching  more; a round
                                      no data for `SESSION`                   asleep     no timer, no ping

A pong is counted for the path that its ping went over, and only where it came over a direct one. Pings over which a
peer is heard are answered elsewhere (`ghostwire.node.disco`); here they name a candidate, which is pinged back while
none is trusted. Guess: the direct path that worked last, as long as nothing speaks against it. Without a relay
packets go over the guess alone, and over a path in doubt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ghostwire import Activity, Path
from ghostwire.engine import SECOND, Entropy
from ghostwire.node.paths import timing
from ghostwire.node.paths.candidate import Candidate, Learned
from ghostwire.node.paths.decisions import Attach, Call, Decision, Ping, Rest, Trial, Trust, Want
from ghostwire.node.paths.known import Known
from ghostwire.node.paths.pings import Pings
from ghostwire.node.paths.points import better

REMEMBERED: Final = 16
"""Decisions kept for people."""


class State(StrEnum):
    """Where a peer's path choice is."""

    ASLEEP = "asleep"
    SEARCHING = "searching"
    DOUBTED = "doubted"
    DIRECT = "direct"


@dataclass(slots=True, kw_only=True)
class Shared:
    """What all peers share: where they get facts from, and where their decisions go.

    ``known`` gives the direct paths that a peer may be reached over, as far as others remember them. ``plain`` says
    that a peer speaks no disco: where it was heard last is its path.
    """

    entropy: Entropy
    activity: Callable[[int], Activity]
    rank: Callable[[str], int]
    known: Callable[[int], Iterable[Path]]
    plain: Callable[[int], bool]
    pings: Pings = field(default_factory=Pings)
    decisions: list[Decision] = field(default_factory=list)


class PeerPaths:
    """One peer's engine; ``due`` is when `advance` is to be called, None for never."""

    def __init__(self, shared: Shared, peer: int, relay: Path | None, now: int) -> None:
        self._shared, self.id, self.relay = shared, peer, relay
        self.candidates = Known(shared.rank)
        self.state = State.ASLEEP
        self.best: Candidate | None = None
        self.guess: Candidate | None = None
        self.attached: tuple[Path, ...] | None = None
        self.history: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
        self.why = "no data moved yet"
        self.due: int | None = None
        self._touched = now
        self._round = 0
        self._next_round = self._next_poll = self._next_look = now
        self._called: int | None = None
        self._call_at: int | None = None
        self._probed = now
        self._asked: int | None = None
        """When the first ping over the best path went out since its last pong."""
        self._testing: tuple[Candidate, int] | None = None
        self._next_test, self._test_gap = now, timing.TEST_GAP
        self._wants = False

    # What happens

    def wake(self, now: int, why: str, *, wants: bool = True) -> None:
        """Data moves, or is about to; with ``wants`` it is this node that has some."""
        self._touched, self._wants = now, self._wants or wants
        if self.state is not State.ASLEEP:
            return
        self.candidates.prune(now)
        for path in self._shared.known(self.id):
            self.candidates.add(path, Learned.CACHE, now)
        guess = self.guess
        if guess is not None and guess.answered is not None and now - guess.answered < timing.TRUST:
            self._use(guess, now, f"{why}; it answered {_seconds(now - guess.answered)} ago")
        else:
            self._search(now, why)

    def heard(self, source: Path, now: int) -> None:
        """Authentic packets came over a path that is not in use."""
        if source.relayed:
            self._suspect(now)
            return
        candidate = self.candidates.add(source, Learned.TUNNEL, now)
        if self._shared.plain(self.id):
            self._use(candidate, now, "the peer was heard there")
        elif self.state is not State.DIRECT:
            self._guess(candidate, now)
        elif candidate.answered is None:
            self._follow(candidate, now)
        if self.state is not State.ASLEEP:
            self._ping_soon(candidate, now)
            self._schedule(now)

    def established(self, source: Path, now: int) -> None:
        """A handshake was completed over ``source``."""
        candidate = self.candidates.get(source)
        if candidate is None or self._testing is None or self._testing[0] is not candidate:
            return
        self._testing = None
        candidate.pardon()
        self._next_test = now + self._test_gap
        if self._passed(candidate):
            self._use(candidate, now, "it passed a carriage test")
        self._schedule(now)

    def _passed(self, candidate: Candidate) -> bool:
        """Whether a candidate that carries WireGuard is to be used."""
        if candidate is self.best:
            return self._asked is None
        return self.best is None or better(candidate, self.best)

    def pinged(self, source: Path, now: int) -> None:
        """The peer pings from there."""
        if source.relayed:
            return
        candidate = self.candidates.add(source, Learned.PING, now)
        if self.state in (State.SEARCHING, State.DOUBTED):
            self._ping_soon(candidate, now)

    def ponged(self, candidate: Candidate, latency: int, now: int, *, padded: bool) -> None:
        """A ping was answered."""
        if self.candidates.get(candidate.path) is not candidate:
            return
        candidate.answer(latency, now, padded=padded)
        if candidate is self.best:
            self._asked = None
            if self.state is State.DOUBTED and self._testing is None:
                self._use(candidate, now, "it answers again")
        elif self.state is not State.ASLEEP and self._preferred(candidate):
            self._consider(candidate, now)
        self._schedule(now)

    def offered(self, paths: Iterable[Path], now: int) -> None:
        """The server says where the peer is."""
        self._try(self.candidates.advertise(paths, now), now)

    def called(self, paths: Iterable[Path], now: int) -> None:
        """The peer says where it is, and wants to be pinged there now."""
        if self.state is State.ASLEEP:
            self.wake(now, "the peer called", wants=False)
        for path in paths:
            self._ping(self.candidates.add(path, Learned.CALL, now), now)
        self._schedule(now)

    def relayed(self, relay: Path | None, now: int) -> None:
        """The relayed path to the peer is another; a handshake that went over the old one may be lost."""
        if (relay and relay.endpoint) == (self.relay and self.relay.endpoint):
            return
        self.relay = relay
        if self.attached is not None:
            self.attached = None
            self._attach()
        if self.state is State.SEARCHING and relay is not None:
            self._shared.decisions.append(Trial(self.id, relay))
            self._call(now)
        self._schedule(now)

    def links_changed(self, now: int) -> None:
        """This machine's links changed: every path has to prove itself again."""
        for each in self.candidates:
            each.renew()
        self._testing = None
        if self.state is State.ASLEEP:
            return
        if self.best is not None:
            self._doubt(now, "this machine's links changed")
            self._probe(self.best, now)
        else:
            self._round = 0
            self._begin_round(now)
        self._schedule(now)

    def endpoints_changed(self, now: int) -> None:
        """This node can be reached elsewhere: a peer that is looked for must know."""
        if self.state in (State.SEARCHING, State.DOUBTED):
            self._call(now)
            self._schedule(now)

    # Time

    def advance(self, now: int) -> None:
        """Do what is due."""
        self._tick(now)
        self._schedule(now)

    def _tick(self, now: int) -> None:
        if self.state is State.ASLEEP:
            return
        if self._call_at is not None and self._call_at <= now:
            self._call(now)
        activity = self._shared.activity(self.id)
        if now - max(self._touched, activity.sent, activity.received) >= timing.SESSION:
            self._sleep(now)
            return
        if self._testing is not None and now >= self._testing[1]:
            self._test_failed(self._testing[0], now)
        if self.state is State.SEARCHING:
            if self._next_round <= now:
                self._begin_round(now)
        elif self.best is not None:
            self._watch(self.best, activity, now)

    def _watch(self, best: Candidate, activity: Activity, now: int) -> None:
        """Look after the path in use."""
        self._next_poll = self._poll_after(activity, now)
        busy = now - activity.sent < timing.BUSY if activity.sent else False
        if self._asked is not None:
            self._await_pong(best, now, busy=busy)
            return
        unanswered = now - activity.unanswered if activity.unanswered else 0
        since_pong = now - best.answered if best.answered is not None else timing.TRUST
        pace = timing.BUSY_HEARTBEAT if busy else timing.HEARTBEAT
        if now - self._probed >= pace or min(unanswered, since_pong) >= timing.SUSPICION:
            self._probe(best, now)
        if unanswered >= timing.CARRIAGE and self._testing is None and now >= self._next_test:
            self._test(best, now)
        elif activity.received and now - activity.received < timing.BUSY:
            self._test_gap = timing.TEST_GAP
        if now >= self._next_look:
            self._look(best, now)

    def _poll_after(self, activity: Activity, now: int) -> int:
        """When to look next: in time for what an unanswered packet may call for."""
        moments = (activity.unanswered + each for each in (timing.SUSPICION, timing.CARRIAGE) if activity.unanswered)
        return min((each for each in moments if each > now), default=now + timing.POLL)

    def _await_pong(self, best: Candidate, now: int, *, busy: bool) -> None:
        assert self._asked is not None
        waited = now - self._asked
        quiet = now - best.answered if best.answered is not None else waited
        if waited >= timing.LOST and (busy or quiet >= timing.TRUST):
            self._lose(best, now)
        elif self.state is State.DIRECT and waited >= _grace(best):
            self._doubt(now, f"a ping is unanswered for {_seconds(waited)}")
            self._probe(best, now)
        elif now - self._probed >= timing.AGAIN:
            self._probe(best, now)

    def _schedule(self, now: int) -> None:
        if self.state is State.ASLEEP:
            self.due = None
            return
        times = [self._touched + timing.SESSION] if self._touched + timing.SESSION > now else []
        if self.state is State.SEARCHING:
            times.append(self._next_round)
        elif self._asked is not None and self.state is State.DIRECT and self.best is not None:
            times.append(min(self._next_poll, self._asked + _grace(self.best)))
        else:
            times.append(self._next_poll)
        if self._testing is not None:
            times.append(self._testing[1])
        if self._call_at is not None:
            times.append(self._call_at)
        self.due = max(now, min(times))

    # Searching

    def _search(self, now: int, why: str) -> None:
        self.state, self.best, self._asked = State.SEARCHING, None, None
        self._note(now, "searching", why)
        self._attach()
        self._round = 0
        self._begin_round(now)
        self._schedule(now)

    def _begin_round(self, now: int) -> None:
        """Ping all, and have ourselves pinged."""
        self._next_round = now + timing.ROUNDS[min(self._round, len(timing.ROUNDS) - 1)]
        self._round += 1
        if self._wants:
            self._shared.decisions.append(Want(self.id))
        self._drop_silent_guess()
        self._ping_all(now)
        self._call(now)

    def _drop_silent_guess(self) -> None:
        """A handshake whose answer went there may be lost, so another one is begun over the relay alone."""
        if self.relay is not None and self.guess is not None and self.guess.silent:
            self.guess = None
            self._attach()
            self._shared.decisions.append(Trial(self.id, self.relay))

    def _ping_all(self, now: int) -> None:
        for each in self.candidates:
            self._ping_soon(each, now)

    def _call(self, now: int) -> None:
        if self.relay is None:
            return
        self._call_at = None if self._called is None else self._called + timing.CALL_GAP
        if self._call_at is None or self._call_at <= now:
            self._called, self._call_at = now, None
            self._shared.decisions.append(Call(self.id, self.relay))

    def _try(self, new: Sequence[Candidate], now: int) -> None:
        if self.state is not State.ASLEEP:
            for each in new:
                self._ping_soon(each, now)

    # Choosing

    def _preferred(self, candidate: Candidate) -> bool:
        return self.best is None or self.state is State.DOUBTED or better(candidate, self.best)

    def _consider(self, candidate: Candidate, now: int) -> None:
        """It answers, and would be used: if it carries large datagrams, and WireGuard where that was in doubt."""
        if candidate.barred > now:
            return
        if not candidate.carries:
            self._ping(candidate, now, padded=True)
        elif candidate.failures:
            if self._testing is None and now >= self._next_test:
                self._test(candidate, now)
        else:
            self._use(candidate, now, self._reason(candidate))

    def _reason(self, candidate: Candidate) -> str:
        if self.best is None or self.best is candidate:
            return "it answers"
        if self.state is State.DOUBTED:
            return f"it answers, and {self.best.path.endpoint} does not"
        return f"better than {self.best.path.endpoint}"

    def _use(self, candidate: Candidate, now: int, why: str) -> None:
        news = self.guess is not candidate
        if self.best is not candidate:
            self._test_gap, self._next_test, self._next_look = timing.TEST_GAP, now, now + timing.UPGRADE
        self.best = self.guess = candidate
        self.state, self._asked, self._testing = State.DIRECT, None, None
        self._next_poll, self._probed = now + timing.POLL, candidate.pinged or now
        self._note(now, f"direct over {_name(candidate.path)}", why)
        self._attach()
        if news:
            self._shared.decisions.append(Trust(self.id, candidate.path))
        self._schedule(now)

    def _guess(self, candidate: Candidate, now: int) -> None:
        if candidate.barred <= now and self.guess is not candidate:
            self.guess = candidate
            self._attach()

    def _follow(self, candidate: Candidate, now: int) -> None:
        """The peer was never seen there before: it may have moved."""
        assert self.best is not None
        self._doubt(now, f"packets come from {_name(candidate.path)}")
        self._guess(candidate, now)
        self._probe(self.best, now)

    def _look(self, best: Candidate, now: int) -> None:
        """Perhaps there is a better one."""
        self.candidates.prune(now)
        upgrade = any(each.rank < best.rank for each in self.candidates)
        self._next_look = now + (timing.UPGRADE if upgrade else timing.LOOK)
        if upgrade or (best.latency or 0) > timing.NEAR:
            self._ping_all(now)

    # Doubting

    def _suspect(self, now: int) -> None:
        """Packets come over the relay, though ours go direct."""
        best = self.best
        fresh = best is not None and best.answered is not None and now - best.answered < timing.RECENT
        if best is not None and self.state is State.DIRECT and self._asked is None and not fresh:
            self._probe(best, now)
            self._schedule(now)

    def _doubt(self, now: int, why: str) -> None:
        assert self.best is not None
        self.state = State.DOUBTED
        self._next_poll = now + timing.AGAIN
        self._note(now, f"in doubt about {_name(self.best.path)}", why)
        self._attach()
        self._ping_all(now)
        self._call(now)

    def _lose(self, best: Candidate, now: int) -> None:
        if self.guess is best and self.relay is not None:
            self.guess = None
        self._search(now, f"{_name(best.path)} no longer answers")

    def _probe(self, best: Candidate, now: int) -> None:
        self._probed = now
        if self._asked is None:
            self._asked = now
        self._ping(best, now)

    def _test(self, candidate: Candidate, now: int) -> None:
        self._testing = candidate, now + timing.CARRIAGE
        self._next_test = now + self._test_gap
        self._test_gap = min(timing.LONGEST_TEST_GAP, 2 * self._test_gap)
        if candidate is self.best:
            self._doubt(now, "it answers pings, but nothing answers data: testing what it carries")
        self._shared.decisions.append(Trial(self.id, candidate.path))

    def _test_failed(self, candidate: Candidate, now: int) -> None:
        self._testing = None
        candidate.bar(now)
        if candidate is self.best:
            self.guess = None
            self._search(now, f"{_name(candidate.path)} answers pings and carries no packets")

    # Sleeping

    def _sleep(self, now: int) -> None:
        self.state, self.best, self._asked = State.ASLEEP, None, None
        self._testing = self._call_at = None
        self._wants = False
        self._note(now, "asleep", "no data for 45 s")
        self._attach()
        self._shared.decisions.append(Rest(self.id))

    # Doing

    def _attach(self) -> None:
        paths = (self.best.path,) if self.state is State.DIRECT and self.best is not None else self._hopes()
        if paths != self.attached:
            self.attached = paths
            self._shared.decisions.append(Attach(self.id, paths))

    def _hopes(self) -> tuple[Path, ...]:
        """Where packets go while no path is trusted: the best guess and the relay, without one what is in doubt."""
        guess, best = (each.path if each is not None else None for each in (self.guess, self.best))
        return tuple(dict.fromkeys(path for path in (guess or best, self.relay or best) if path is not None))

    def _ping_soon(self, candidate: Candidate, now: int) -> None:
        """Unless it was just done; one that answers is asked at once what it carries."""
        if candidate.pinged is None or now - candidate.pinged >= timing.RECENT:
            self._ping(candidate, now, padded=candidate.answered is not None and not candidate.carries)

    def _ping(self, candidate: Candidate, now: int, *, padded: bool = False) -> None:
        candidate.pinged = now
        transaction = self._shared.pings.add(self.id, candidate, now, self._shared.entropy, padded=padded)
        self._shared.decisions.append(Ping(self.id, candidate.path, transaction, padded))

    def _note(self, now: int, what: str, why: str) -> None:
        self.why = why
        self.history.append((now, f"{what}: {why}"))


def _grace(best: Candidate) -> int:
    return min(timing.LONGEST_GRACE, max(timing.GRACE, 3 * (best.latency or 0)))


def _name(path: Path) -> str:
    return f"{path.transport} {path.endpoint}"


def _seconds(duration: int) -> str:
    return f"{duration / SECOND:.1f} s"
