"""What nodes say of their routes, taken from their reports into records: bounded, so often, and judged.

A report counts at once while its node stays within `CHANGES`; one that changes its mind all the time is listened to
once every `EVERY` seconds. Several nodes' words share a transaction. Routes are judged anew when the policy changes,
when a node or its user does, when relays move, and when another node's route is no longer in the way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ghostwire.capabilities.policy import CompiledPolicy
from ghostwire.capabilities.storage import Commit, Transaction
from ghostwire.engine import Clock
from ghostwire.errors import GhostwireError
from ghostwire.model import Node, Relay, Route, User
from ghostwire.server.limits import Buckets, Complaints
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.policy.open import AllowAll
from ghostwire.server.routes.judgement import Terms
from ghostwire.server.routes.ledger import Ledger
from ghostwire.server.routes.offers import NOTHING, Offer, Word, read
from ghostwire.server.routes.rules import Rules
from ghostwire.server.timers import Timers
from ghostwire.wire.messages import Report
from ghostwire.wire.prefixes import Prefix

CHANGES, EVERY = 16, 5.0
"""Changes of one node's routes that are taken at once, and the seconds to one more."""
RETRY = 5.0
"""Seconds after which what could not be stored is tried again."""
STORING = 0
"""The timer of that; the others are nodes'."""

RulesOf = Callable[[Collection[Relay]], Rules]
Down = Callable[[int, frozenset[str]], None]
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Reported:
    """``rules_of(relays)`` says what is refused; ``spawn`` runs what writes. Set ``down`` to hear which of a node's
    routes it cannot reach at present."""

    def __init__(
        self, mesh: LiveMesh, rules_of: RulesOf, spawn: Spawn, clock: Clock, log: logging.Logger, *, longest: bool
    ) -> None:
        self._mesh, self._rules_of, self._spawn, self._log = mesh, rules_of, spawn, log
        self._terms = Terms(AllowAll(), rules_of(mesh.list(Relay)), longest)
        self._complaints = Complaints(log, clock)
        self._buckets = Buckets(clock, burst=CHANGES, interval=EVERY, addresses=1 << 16)
        self._timers = Timers(self._due)
        self._words: dict[int, Word] = {}
        self._offers: dict[int, Offer] = {}
        self._elsewhere: dict[int, tuple[str, ...]] = {}
        self._approved = {route.id for route in mesh.list(Route) if route.approved}
        self._waiting: dict[int, None] = {}
        self._writing = self._closed = False
        self.down: Down = _nobody

    @property
    def terms(self) -> Terms:
        """By what routes are judged now."""
        return self._terms

    def take(self, node: int, report: Report) -> None:
        """Take what a node says of its routes, once or when it may say more."""
        word = Word.of(report)
        if word == self._words.get(node, NOTHING) and (node in self._words or not self._mesh.state.routes_of(node)):
            return
        self._words[node] = word
        if node not in self._timers:
            wait = self._buckets.wait(f"node {node}")
            self._timers.arm(node, wait) if wait else self._due(node)

    def refused(self) -> Iterator[tuple[int, str, str]]:
        """What of nodes' last reports was refused: node, prefix, reason."""
        for node, offer in sorted(self._offers.items()):
            yield from ((node, text, reason) for text, reason in offer.refused.items())

    def down_of(self, node: int) -> Collection[str]:
        """The prefixes that the node says it cannot reach at present."""
        offer = self._offers.get(node)
        return offer.down if offer else self._elsewhere.get(node, ())

    def elsewhere(self, node: int, down: tuple[str, ...]) -> None:
        """The node speaks to another server now, and cannot reach these of its prefixes."""
        self._forget(node)
        if down:
            self._elsewhere[node] = down

    def say(self, lines: Iterable[str]) -> None:
        """Tell the log what was decided about routes."""
        for line in lines:
            self._log.info("route %s", line)

    def policy_changed(self, policy: CompiledPolicy) -> None:
        """Judge all routes by this policy from now on."""
        self._terms = Terms(policy, self._terms.rules, self._terms.longest)
        self.judge_all()

    def judge_all(self) -> None:
        """Judge the routes of every node anew."""
        self.judge(*dict.fromkeys(route.node for route in self._mesh.list(Route)))
        self.judge(*(node for node, offer in self._offers.items() if offer.prefixes))

    def judge(self, *nodes: int) -> None:
        """Judge the routes of these nodes anew."""
        self._waiting |= dict.fromkeys(nodes)
        if self._waiting and not self._writing and not self._closed:
            self._writing = True
            self._spawn(self._write())

    def committed(self, commit: Commit) -> None:
        """Take over a commit, which the mesh has taken already."""
        kinds = {change.kind for change in commit.changes}
        if Relay in kinds:
            self._relays_moved()
        if Route in kinds and self._freed(commit):
            self.judge_all()
        self.judge(*self._contradicted(commit))
        for change in commit.changes:
            if change.kind is Node and change.record is None:
                self._forget(change.id)
            elif change.kind is Node and self._mesh.state.routes_of(change.id):
                self.judge(change.id)
        if User in kinds:
            self.judge(*self._nodes_of({change.id for change in commit.changes if change.kind is User}))

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True
        self._timers.close()

    def _due(self, node: int) -> None:
        if node == STORING:
            self.judge()
            return
        self._buckets.take(f"node {node}")
        before = self._offers.get(node)
        self._hear(node)
        if before is None or self._offers[node].down != before.down:
            self.down(node, self._offers[node].down)
        if not self._is_stored(node):
            self.judge(node)

    def _hear(self, node: int) -> None:
        """Read a node's word, and say what of it is refused."""
        offer = self._offers[node] = read(self._words[node], self._terms.rules)
        for text, reason in offer.refused.items():
            self._complaints.add("refused a route", f"node {node} offers {text}: {reason}")

    def _is_stored(self, node: int) -> bool:
        """Whether what the node offers is what it offered before, and has been judged as such."""
        held = [route.prefix for route in self._mesh.state.routes_of(node) if route.advertised]
        return sorted(held) == sorted(map(str, self._offers[node].prefixes))

    def _relays_moved(self) -> None:
        self._terms = Terms(self._terms.policy, self._rules_of(self._mesh.list(Relay)), self._terms.longest)
        for node in self._offers:
            self._hear(node)
        self.judge_all()

    def _freed(self, commit: Commit) -> bool:
        """Whether a route that was approved is so no longer: another may have waited for that."""
        before = len(self._approved)
        routes = [change for change in commit.changes if change.kind is Route]
        gone = {change.id for change in routes if not (isinstance(change.record, Route) and change.record.approved)}
        self._approved -= gone
        freed = len(self._approved) < before
        self._approved |= {change.id for change in routes} - gone
        return freed

    def _contradicted(self, commit: Commit) -> list[int]:
        """Nodes whose routes are not what they say here: another server went by what it was told before."""
        nodes = {change.record.node: None for change in commit.changes if isinstance(change.record, Route)}
        return [node for node in nodes if node in self._offers and not self._is_stored(node)]

    def _nodes_of(self, users: Collection[int]) -> list[int]:
        """The nodes of these users that have routes."""
        routing = dict.fromkeys(route.node for route in self._mesh.list(Route))
        return [node for node in routing if (held := self._mesh.state.get(Node, node)) and held.user in users]

    def _forget(self, node: int) -> None:
        self._timers.cancel(node)
        self._words.pop(node, None)
        self._offers.pop(node, None)
        self._elsewhere.pop(node, None)

    async def _write(self) -> None:
        try:
            while self._waiting and not self._closed:
                nodes, self._waiting = self._waiting, {}
                await self._store(nodes)
        except GhostwireError as error:
            self._log.error("routes of %d nodes could not be stored: %s", len(nodes), error)
            self._waiting = nodes | self._waiting
            if not self._closed:
                self._timers.arm(STORING, RETRY)
        finally:
            self._writing = False

    async def _store(self, nodes: Collection[int]) -> None:
        offers = {node: self._offers[node].prefixes if node in self._offers else None for node in nodes}
        work = partial(_taken, offers=offers, terms=self._terms, now=self._mesh.now())
        self.say(await self._mesh.write(work))


def _taken(
    transaction: Transaction, offers: Mapping[int, Collection[Prefix] | None], terms: Terms, now: int
) -> list[str]:
    ledger = Ledger(transaction, terms, now)
    ledger.take(offers)
    return ledger.said


def _nobody(_node: int, _prefixes: frozenset[str]) -> None:
    """Nobody wants to know."""
