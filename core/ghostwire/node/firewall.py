"""The map's rules as the operating system's firewall takes them, for `[node] filter = "kernel"`, and their upkeep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from ghostwire import Platform
from ghostwire.capabilities.platform import FirewallRule
from ghostwire.errors import GhostwireError
from ghostwire.model import MapNode, NetworkMap
from ghostwire.node.filter import MapFilter
from ghostwire.node.prefixes import NONE, Prefixes, read
from ghostwire.node.ruleset import LocalRule, Ruleset

PAUSE = 0.2
"""Seconds in which changes of the map become one change of the firewall."""


def firewall_rules(network: NetworkMap, own: MapNode) -> tuple[FirewallRule, ...]:
    """What may come out of the device, sets written out; equal for equal meshes, in order of the rules' ids."""
    rules = Ruleset()
    rules.update(network, own, None)
    people = _People(rules)
    ordered = sorted(rules.rules, key=lambda each: each.rule.id)
    made = (_firewall_rule(each, people.sources(each)) for each in ordered)
    return tuple(dict.fromkeys(rule for rule in made if rule.sources))


def _firewall_rule(each: LocalRule, sources: Prefixes) -> FirewallRule:
    protocols, ports = tuple(sorted(set(each.rule.protocols))), tuple(sorted(set(each.rule.ports)))
    return FirewallRule(sources.texts(), each.destinations.texts(), protocols, ports)


class _People:
    """Where packets of nodes may come from: their addresses, and the hosts behind their routes."""

    def __init__(self, rules: Ruleset) -> None:
        self._rules = rules
        self._addresses = {node.id: read(node.addresses) for node in rules.peers()}
        self._mates = {node.id for node in rules.peers() if rules.mates(node)}
        self._all: dict[bool, Prefixes] = {}

    def sources(self, each: LocalRule) -> Prefixes:
        """All that a rule lets in, whoever sends it."""
        own = each.rule.own
        if each.everyone:
            return self._everywhere(own=own)
        within = self._everywhere(own=own) & each.source_prefixes if each.source_prefixes else NONE
        return self._addresses_of(self._bearers(each.rule.sources, own=own)) | within

    def _bearers(self, labels: Iterable[int], *, own: bool) -> set[int]:
        bearers = {id_ for label in labels for id_ in self._rules.labels.bearers(label)}
        return bearers & self._mates if own else bearers

    def _addresses_of(self, nodes: Iterable[int]) -> Prefixes:
        return Prefixes(each for id_ in nodes for each in self._addresses.get(id_, NONE))

    def _everywhere(self, *, own: bool) -> Prefixes:
        """The addresses of all, with the hosts behind them; with ``own``, of nodes of this node's owner alone."""
        if own not in self._all:
            routed = [] if own else [each for id_ in self._addresses for each in self._rules.routes(id_)]
            self._all[own] = self._addresses_of(self._mates if own else self._addresses) | Prefixes(routed)
        return self._all[own]


class Firewall:
    """Lets the operating system filter in the filter's stead; where it cannot, the filter goes on by itself.

    ``trouble`` says in a line why it cannot, and is empty where it does. The next change of the map is another try.
    """

    def __init__(self, platform: Platform, interface: str, filter_: MapFilter, log: logging.Logger) -> None:
        self._platform, self._interface, self._filter, self._log = platform, interface, filter_, log
        self.trouble = ""
        self._wanted: tuple[NetworkMap, MapNode] | None = None
        self._held: Sequence[FirewallRule] | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed, self._lock = False, asyncio.Lock()

    async def start(self, network: NetworkMap, own: MapNode) -> None:
        """Hand over now; from now on `follow` counts."""
        self._wanted = network, own
        await self._apply()

    def follow(self, network: NetworkMap, own: MapNode) -> None:
        """The map changed."""
        if self._wanted is not None:
            self._wanted = network, own
            self._hurry()

    def _hurry(self) -> None:
        self._changed = True
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._changed:
            await asyncio.sleep(PAUSE)
            self._changed = False
            await self._apply()
        self._task = None

    async def _apply(self) -> None:
        async with self._lock:
            assert self._wanted is not None
            rules = firewall_rules(*self._wanted)
            if rules != self._held:
                await self._put(rules)

    async def _put(self, rules: Sequence[FirewallRule]) -> None:
        try:
            await self._platform.firewall(self._interface, rules)
        except GhostwireError as error:
            self._fall_back(str(error))
        else:
            self._held, self.trouble, self._filter.delegated = rules, "", True

    def _fall_back(self, trouble: str) -> None:
        self._held, self._filter.delegated = None, False
        if trouble != self.trouble:
            self._log.error("the system's firewall does not filter, so this program does: %s", trouble)
        self.trouble = trouble

    async def close(self) -> None:
        """Follow no longer; harmless when called twice."""
        task, self._task, self._wanted = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
