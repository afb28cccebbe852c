"""The path choice of one peer.

    state      packets go over        event                                   next       what is done
    ---------  ---------------------  --------------------------------------  ---------  ------------------------------
    asleep     guess and relay        data moves; the peer calls              searching  a round; direct at once where
                                                                                         the guess answered in `TRUST`
    searching  guess and relay        as `rounds` says                        searching  a round: knock at or ping all
                                                                                         whose turn it is (`stages`),
                                                                                         call, tell the server
                                      the peer calls                          searching  ping where it says; before that
                                                                                         knock, and call back where it
                                                                                         was not called lately
                                      data unanswered, as `revival` says      searching  a handshake over the relay
                                      a pong                                  searching  ping padded to the mesh's MTU
                                      a padded pong                           direct     use it
                                      authentic packets over a direct path    searching  ping it; the guess, if it ever
                                                                                         answered
    direct     the path in use        `HEARTBEAT`; the peer calls; data       direct     ping it
                                      waits for an answer for `SUSPICION`,
                                      and then every `BUSY_HEARTBEAT`
                                      a ping unanswered for the grace         doubted    ping again, and every `AGAIN`
                                      packets over the relay, after           doubted    ping; where all that comes in
                                      `STRAGGLERS`                                       `CARRIAGE` does so too, test it
                                      packets from where it never was         doubted    ping both
                                      data unanswered for `CARRIAGE`          doubted    carriage test: a handshake over
                                                                                         it alone, ever more rarely
                                      the same soon after the relay helped    searching  the path is barred
                                      a padded pong of a better one           direct     use that
                                      every `LOOK`                            direct     ping its kind, if not near
                                      every `UPGRADE`; a bar lapses           direct     call, ping better transports'
                                      a better one passes a carriage test     doubted    use it as well
    doubted    guess, or path in      a pong; the carriage test passes        direct     use it alone
               use, and relay, or     no pong in `LOST` (`TRUST` when quiet)  searching  the path is no guess either
               what was used before   no carriage in `CARRIAGE`               searching  the path is barred until it
                                                                                         passes a test
                                      the same while another is used as well  direct     use that other alone
                                      no pong in `CHANCE`                     doubted    ping worse transports', too
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
from collections.abc import Collection, Iterable

from ghostwire import Activity, Path
from ghostwire.node.paths import timing
from ghostwire.node.paths.candidate import Candidate, Learned, hopes
from ghostwire.node.paths.carriage import Carriage, unheard
from ghostwire.node.paths.heartbeat import Heartbeat
from ghostwire.node.paths.known import Known
from ghostwire.node.paths.orders import Orders
from ghostwire.node.paths.points import better, reason
from ghostwire.node.paths.revival import Revival
from ghostwire.node.paths.rounds import NEAREST, Rounds
from ghostwire.node.paths.shared import REMEMBERED, Shared, State, name, seconds
from ghostwire.node.paths.stages import Stages


class PeerPaths:
    """One peer's engine; ``due`` is when `advance` is to be called, None for never."""

    def __init__(self, shared: Shared, peer: int, relay: Path | None, now: int) -> None:
        self._shared, self.id = shared, peer
        self.candidates = Known(shared.rank)
        self.relay = relay
        self.state = State.ASLEEP
        self.best: Candidate | None = None
        self.guess: Candidate | None = None
        self.history: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
        self.why = "no data moved yet"
        self.due: int | None = None
        self._orders = Orders(shared, peer)
        self._rounds, self._heartbeat, self._carriage = Rounds(shared.entropy), Heartbeat(now), Carriage(now)
        self._revival, self._stages = Revival(), Stages(self.candidates, now)
        self._former: Candidate | None = None
        """Of a worse transport: what was used before, and carries packets too while a better one is on probation."""
        self._next_poll = self._next_look = self._used_since = self._touched = now
        self._wants = False

    @property
    def attached(self) -> tuple[Path, ...] | None:
        """The paths that packets go over; None as long as nothing was decided."""
        return self._orders.attached

    # What happens

    def wake(self, now: int, why: str, *, wants: bool = True) -> None:
        """Data moves, or is about to; with ``wants`` it is this node that has some."""
        self._touched, self._wants = now, self._wants or wants
        if self.state is not State.ASLEEP:
            return
        self.candidates.prune(now)
        for path in self._shared.known(self.id):
            self.candidates.add(path, Learned.CACHE, now)
        self._stages.restart(now)
        guess = self.guess
        if guess is not None and guess.answered is not None and now - guess.answered < timing.TRUST:
            self._use(guess, now, f"{why}; it answered {seconds(now - guess.answered)} ago")
        else:
            self._search(now, why)

    def heard(self, source: Path, now: int) -> None:
        """Authentic packets came over a path that is not in use."""
        if source.relayed:
            self._heard_by_relay(now)
            return
        candidate = self.candidates.add(source, Learned.TUNNEL, now)
        if self._shared.activity(self.id).over == source:
            candidate.pardon()
        if self._shared.plain(self.id):
            self._use(candidate, now, "the peer was heard there")
        elif self.state is not State.DIRECT:
            self._suppose(candidate, now)
        elif candidate.answered is None:
            self._doubt(now, f"packets come from {name(candidate.path)}, where it never was")
            self._suppose(candidate, now)
        if self.state is not State.ASLEEP:
            self._orders.ping_soon(candidate, now)
            self._schedule(now)

    def established(self, source: Path, now: int) -> None:
        """A handshake was completed over ``source``; over the relay that may be a stock peer's answer to the one that
        went over the path in use, on which that peer has not settled yet."""
        candidate = self.best if source.relayed else self.candidates.get(source)
        if candidate is None or not self._carriage.passed(candidate):
            return
        if candidate is not self.best and (self.best is None or better(candidate, self.best)):
            self._use(candidate, now, "it passed a carriage test", state=State.DOUBTED)
        if candidate is self.best:
            self._carriage.watch(now, tested=True, backed=self._former is not None)
        self._schedule(now)

    def pinged(self, source: Path, now: int) -> None:
        """The peer pings from there."""
        if source.relayed:
            return
        candidate = self.candidates.add(source, Learned.PING, now)
        if self.state in (State.SEARCHING, State.DOUBTED):
            self._orders.ping_soon(candidate, now)
            self._rounds.heard(now)
            self._schedule(now)

    def ponged(self, candidate: Candidate, latency: int, now: int, *, padded: bool) -> None:
        """A ping was answered."""
        if candidate is not self.candidates.get(candidate.path):
            return
        candidate.answer(latency, now, padded=padded)
        if candidate is self.best:
            self._heartbeat.pong()
            self._next_poll = self._heartbeat.next_look(candidate, self._shared.activity(self.id), now)
            if self.state is State.DOUBTED and not self._carriage.undecided:
                self._use(candidate, now, "it answers again")
        elif self.state is not State.ASLEEP and self._preferred(candidate):
            self._consider(candidate, now)
        self._schedule(now)

    def offered(self, paths: Iterable[Path], now: int) -> None:
        """The server says where the peer is."""
        new = self.candidates.advertise(paths, now)
        if self.state is State.SEARCHING and self.relay is not None:
            self._knock(new, NEAREST, now)
        elif self.state is not State.ASLEEP:
            self._ping_all(now, new)

    def called(self, paths: Collection[Path], now: int) -> None:
        """The peer says where it is, and wants to be pinged there now: it does not trust the path in use."""
        known = self._orders.called_lately(now)
        if self.state is State.ASLEEP:
            self.wake(now, "the peer called", wants=False)
        news = self.candidates.lack(paths)
        said = [self.candidates.add(path, Learned.CALL, now) for path in paths]
        if self.state is State.DIRECT or (known and (self._orders.heard or self.candidates.lost(now))):
            self._rounds.heard(now)
            for each in [each for each in said if each is not self.best]:
                self._orders.ping(each, now)
            if self.best is not None:
                self._probe(self.best, now, wary=True)
        elif self.state is State.SEARCHING and self._rounds.still(now) and not news:
            self._rounds.heard(now)
        else:
            self._knock(said, NEAREST, now)
            if not known:
                self._call(now)
                self._rounds.hurry(now, lost=self.candidates.lost(now))
        self._schedule(now)

    def proceed(self, now: int, *, heard: bool) -> None:
        """The peer has ``heard`` the last call, or that can't be sent: it is waited for no longer."""
        self._orders.heard = heard
        if heard and self.state is State.SEARCHING:
            self._ping_all(now)
        self._rounds.heard(now)
        self._schedule(now)

    def relayed(self, relay: Path | None, now: int) -> None:
        """The relayed path to the peer is another; a handshake that went over the old one may be lost."""
        if relay == self.relay and (relay and relay.endpoint) == (self.relay and self.relay.endpoint):
            return
        self.relay = relay
        if self.attached is not None:
            self._attach(anew=True)
        if self.state is State.SEARCHING and relay is not None:
            self._orders.trial(relay)
            self._call(now)
        self._schedule(now)

    def links_changed(self, now: int) -> None:
        """This machine's links changed: every path has to prove itself again."""
        for each in self.candidates:
            each.renew()
        self._carriage.stop()
        self._stages.restart(now)
        self._former = None
        if self.state is State.ASLEEP:
            return
        if self.best is not None:
            self._doubt(now, "this machine's links changed")
        else:
            self._rounds.restart(now)
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
        activity = self._shared.activity(self.id)
        if now - max(self._touched, activity.sent, activity.received) >= timing.SESSION:
            self._sleep(now)
            return
        if self._orders.call_at is not None and self._orders.call_at <= now:
            self._call(now)
        self._judge(activity, now)
        if self.best is not None:
            self._watch(self.best, activity, now)
        else:
            self._go_on(activity, now)
        self._schedule(now)

    def _go_on(self, activity: Activity, now: int) -> None:
        """Go on searching, and see to it that the peer knows the session."""
        if self._rounds.next <= now:
            self._begin_round(now)
        if self.relay is not None and self._revival.due(activity, now):
            self._orders.trial(self.relay)
        self._next_poll = self._revival.next_look(activity, now)

    def _watch(self, best: Candidate, activity: Activity, now: int) -> None:
        """Look after the path in use."""
        heartbeat = self._heartbeat
        if heartbeat.lost(best, activity, now):
            self._give_up(now, f"{name(best.path)} no longer answers")
            return
        if self.state is State.DIRECT and heartbeat.late(best, activity, now):
            self._doubt(now, "a ping is not answered")
        elif heartbeat.due(best, activity, now):
            self._probe(best, now)
        if self.state is State.DIRECT:
            self._check_carriage(best, activity, now)
        if self.state is State.DOUBTED:
            self._ping_all(now, [each for each in self.candidates if each.rank > best.rank])
        if now >= self._next_look:
            self._look(best, now)
        self._next_poll = heartbeat.next_look(best, activity, now)

    def _check_carriage(self, best: Candidate, activity: Activity, now: int) -> None:
        doubtful = unheard(best, activity, now) and (self.relay is not None or self._stages.others(best, now))
        if doubtful:
            self._carriage.doubt(now)
        if doubtful and self._carriage.relapsed(now):
            self._bar(best, now)
        elif doubtful and self._carriage.ready(now):
            self._test(best, now)
        elif activity.received and now - activity.received < timing.BUSY and activity.over == best.path:
            self._carriage.carried(now)
            best.pardon()

    def _schedule(self, now: int) -> None:
        if self.state is State.ASLEEP:
            self.due = None
            return
        times = [self._orders.call_at, self._carriage.deadline(now), self._next_poll]
        if self._touched + timing.SESSION > now:
            times.append(self._touched + timing.SESSION)
        if self.best is None:
            times.append(self._rounds.next)
        elif self._heartbeat.asked is not None:
            times.append(self._heartbeat.next_look(self.best, Activity(), now))
        self.due = max(now, min(time for time in times if time is not None))

    # Searching

    def _search(self, now: int, why: str) -> None:
        self.state, self.best, self._former = State.SEARCHING, None, None
        self._heartbeat.pong()
        self._carriage.stop()
        self._note(now, "searching", why)
        self._attach()
        self._rounds.restart(now)
        self._begin_round(now)
        self._schedule(now)

    def _begin_round(self, now: int) -> None:
        """Ping all, and have ourselves pinged; the first round of a burst leaves pinging to the peer."""
        ttl = self._rounds.begin(now, lost=self.candidates.lost(now), knocks=self.relay is not None)
        if self._wants:
            self._orders.want()
        self._drop_silent_guess()
        if ttl is None:
            self._ping_all(now)
        else:
            self._knock(self.candidates, ttl, now)
        if self._rounds.calls:
            self._call(now)

    def _knock(self, candidates: Iterable[Candidate], ttl: int, now: int) -> None:
        """What is asked although there are better ones, as all those are barred, is not kept waiting."""
        for each in self._turn(candidates, now):
            if self._stages.first(each):
                self._orders.knock(each, now, ttl)
            else:
                self._orders.ping_soon(each, now)

    def _drop_silent_guess(self) -> None:
        """A handshake whose answer went there may be lost, so another one is begun over the relay alone."""
        if self.relay is not None and self.guess is not None and self.guess.silent:
            self.guess = None
            self._attach()
            self._orders.trial(self.relay)

    def _ping_all(self, now: int, candidates: Iterable[Candidate] | None = None) -> None:
        for each in self._turn(self.candidates if candidates is None else candidates, now):
            self._orders.ping_soon(each, now)

    def _turn(self, candidates: Iterable[Candidate], now: int) -> Iterable[Candidate]:
        sure = self.state is State.DIRECT or self._carriage.undecided
        return self._stages.asked(candidates, self.best, self.guess, now, sure=sure)

    def _call(self, now: int) -> None:
        self._orders.call(self.relay, now)

    def _suppose(self, candidate: Candidate, now: int) -> None:
        """It is the best guess from now on, if it ever answered a ping: a source may be forged, and nobody is to be
        sent a peer's data for that. Without a relay there is no choice."""
        proven = candidate.answered is not None or self.relay is None
        if proven and candidate.barred <= now and self.guess is not candidate:
            self.guess = candidate
            self._attach()

    # Choosing

    def _preferred(self, candidate: Candidate) -> bool:
        if self.best is None or better(candidate, self.best):
            return True
        return self.state is State.DOUBTED and (candidate.rank <= self.best.rank or not self._carriage.undecided)

    def _consider(self, candidate: Candidate, now: int) -> None:
        """It answers, and would be used: if it carries large datagrams, and WireGuard where that was in doubt."""
        if candidate.barred > now:
            return
        if not candidate.carries:
            self._orders.ping(candidate, now, padded=True)
        elif not candidate.failures:
            self._use(candidate, now, reason(candidate, self.best, doubted=self.state is State.DOUBTED))
        elif self._carriage.ready(now):
            self._test(candidate, now)

    def _use(self, candidate: Candidate, now: int, why: str, *, state: State = State.DIRECT) -> None:
        if self.best is not candidate:
            self._carriage.another(now)
            self._used_since = now
            self._next_look = min(now + timing.UPGRADE, self._stages.next_look(candidate, now))
        news = self.guess is not candidate
        trusted = self.best if self.state is State.DIRECT and state is State.DOUBTED else None
        self._former = trusted if trusted is not None and trusted.rank > candidate.rank else None
        self.best = self.guess = candidate
        self.state, self._next_poll = state, now + timing.BUSY_POLL
        self._heartbeat.pong(candidate.pinged)
        self._carriage.stop()
        self._note(now, f"{'direct over' if state is State.DIRECT else 'trying'} {name(candidate.path)}", why)
        self._attach()
        if news:
            self._orders.trust(candidate.path)
        self._schedule(now)

    def _look(self, best: Candidate, now: int) -> None:
        """Perhaps there is a better one."""
        self.candidates.prune(now)
        self._next_look, upgrade = self._stages.next_look(best, now), self._stages.better(best)
        if upgrade:
            self._call(now)  # so that the peer's routers let the pings in
        if upgrade or (best.latency or 0) > timing.NEAR:
            self._ping_all(now)

    # Doubting

    def _heard_by_relay(self, now: int) -> None:
        """The peer may have lost the path that we trust, or not found it yet, unless its packets come that way too."""
        silent = now - max(self._used_since, self._shared.activity(self.id).direct)
        if self.state is State.DIRECT and silent >= timing.STRAGGLERS:
            self._doubt(now, "the peer's packets come over the relay")
            self._carriage.watch(now, tested=False)
            self._schedule(now)

    def _doubt(self, now: int, why: str) -> None:
        assert self.best is not None
        self.state, self._next_poll = State.DOUBTED, now + timing.AGAIN
        self._stages.restart(now)
        self._note(now, f"in doubt about {name(self.best.path)}", why)
        self._attach()
        self._probe(self.best, now)
        self._ping_all(now)
        self._call(now)

    def _give_up(self, now: int, why: str) -> None:
        """The path in use is none: back to the one of a worse transport that was left for it, or search."""
        former = self._former
        if self.guess is self.best and self.relay is not None:
            self.guess = None
        if former is not None and former.barred <= now and former is self.candidates.get(former.path):
            self._use(former, now, why)
        else:
            self._search(now, why)

    def _probe(self, best: Candidate, now: int, *, wary: bool = False) -> None:
        self._heartbeat.ping(now, wary=wary)
        self._orders.ping(best, now)

    def _test(self, candidate: Candidate, now: int) -> None:
        self._carriage.begin(candidate, now)
        if candidate is self.best and self.state is State.DIRECT:
            self._doubt(now, "it answers pings, but nothing answers data: testing what it carries")
        self._orders.trial(candidate.path)

    def _judge(self, activity: Activity, now: int) -> None:
        """Go on with the carriage test or probation under way."""
        if (repeated := self._carriage.repeat(now)) is not None:
            self._orders.trial(repeated.path)
            self._stages.spend(now)
            self._ping_all(now)
        if (failed := self._carriage.failed(now)) is not None:
            self._fail(failed, activity, now)
        elif self._carriage.decided(activity, now) and self.best is not None:
            verdict = self._carriage.verdict(activity, now, self.best.path)
            if verdict is None:
                self._test(self.best, now)
            elif not verdict:
                self._bar(self.best, now)
            elif self._heartbeat.asked is None:
                self._use(self.best, now, "it carries packets")

    def _fail(self, candidate: Candidate, activity: Activity, now: int) -> None:
        """A handshake was not answered; where pings are not either, that says nothing of what the path carries.

        Where nothing was heard over the relay either it is the peer that has no time for handshakes, and time is given.
        """
        if candidate is self.best and activity.heard < self._used_since and self.relay is not None:
            self._carriage.go_on(candidate, now)
        elif candidate is not self.best or not self._heartbeat.late(candidate, activity, now):
            self._bar(candidate, now)

    def _bar(self, candidate: Candidate, now: int) -> None:
        candidate.bar(now)
        if candidate is self.best:
            self._give_up(now, f"{name(candidate.path)} answers pings and carries no packets")

    # Sleeping, sending

    def _sleep(self, now: int) -> None:
        self.state, self.best, self._former, self.due = State.ASLEEP, None, None, None
        self._heartbeat.pong()
        self._carriage.stop()
        self._wants = False
        self._note(now, "asleep", "no data for 45 s")
        self._attach()
        self._orders.rest()

    def _attach(self, *, anew: bool = False) -> None:
        trusted = self.best if self.state is State.DIRECT else None
        paths = (trusted.path,) if trusted is not None else hopes(self.guess, self.best, self._former, self.relay)
        self._orders.attach(paths, anew=anew)

    def _note(self, now: int, what: str, why: str) -> None:
        self.why = why
        self.history.append((now, f"{what}: {why}"))
