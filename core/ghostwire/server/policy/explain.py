"""Why one may reach another, or may not: the rule that decides, or what comes nearest to one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any

import msgspec

from ghostwire.capabilities.policy import EVERYONE, Address, PolicyRule
from ghostwire.errors import Refused
from ghostwire.model import Node, Route, User
from ghostwire.server.mesh import LiveMesh
from ghostwire.server.policy.naming import Meant, Place, World, meant
from ghostwire.server.policy.policies import Policies
from ghostwire.server.policy.verdict import Fit, Flow, Party, fit
from ghostwire.server.policy.wording import NAMES, excerpt, listed, opened_text, port_text, protocol_text, together

MAX_RULES, MAX_MISSES, MAX_PAIRS = 10, 5, 20
"""Rules, near misses and pairs that an answer names."""
NUMBERS = {number: name for name, number in NAMES.items()} | {"ipv6-icmp": 58}
"""Protocols by name (IANA); others are given by number."""
_ANY_CASE = "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in name) for name in NUMBERS)
_NUMBER = "[01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5]"
_WITH_PORTS = frozenset({6, 17, 132})


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """May ``source`` reach ``destination``, which may end in ``:PORT``? ``protocol`` is a name or a number; without
    one a port means TCP, and neither means anything at all."""

    source: str
    destination: str
    protocol: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^({_ANY_CASE}|{_NUMBER})?$"})] = ""


async def explain(mesh: LiveMesh, policies: Policies, question: Question) -> dict[str, Any]:
    """The answer, for programs and (``summary``, ``reasons``) for people; NotFound where a name means nobody."""
    source = policies.version.source if policies.version else ""
    world = World(mesh.list(Node), mesh.list(User), mesh.list(Route), policies.current, source)
    unset = "" if policies.version else policies.warning
    return await asyncio.to_thread(lambda: Inquiry(world, question, unset).answer())


def split_port(text: str) -> tuple[str, int | None]:
    """``web:22`` as name and port; ``fd00::1``, ``tag:web`` and ``web`` have none, ``[fd00::1]:22`` has one."""
    name, colon, tail = text.rpartition(":")
    bare = text.count(":") > 1 and not text.startswith(("[", "tag:", "group:", "user:", "node:", "autogroup:"))
    kind = name in ("tag", "group", "user", "node", "autogroup", "")
    if not colon or bare or kind or not (tail.isascii() and tail.isdecimal()):
        return text, None
    if not 0 < int(tail[:6]) < 65536:
        raise Refused(f"{tail[:20]} is no port: give 1 to 65535", "usage")
    return name, int(tail)


class Inquiry:
    """One question about one moment; ``unset`` is what to say where no policy is stored."""

    def __init__(self, world: World, question: Question, unset: str = "") -> None:
        self._world, self._unset = world, unset
        name, self.port = split_port(question.destination)
        self.protocol = _protocol(question.protocol, self.port)
        self._source, self._destination = meant(world, question.source), meant(world, name)

    def answer(self) -> dict[str, Any]:
        """All that is known."""
        rules, open_, shut = self._judged
        allowed = (bool(open_) and not shut) or self._within
        return {
            "allowed": allowed,
            "partly": bool(open_ and shut),
            "summary": self._summary(rules),
            "reasons": [*self._source.notes, *self._destination.notes, *self._reasons()],
            "source": _said(self._source),
            "destination": _said(self._destination),
            "protocol": protocol_text(self.protocol) if self.protocol is not None else "",
            "port": self.port,
            "rules": [self._rule(rule) for rule in together(rules)[:MAX_RULES]],
            "near_misses": [] if allowed else [{**self._rule(rule), "why": why} for rule, why in self._misses()],
            "refused": [{"source": one.name, "destination": other.name} for one, other in shut[:MAX_PAIRS]],
        }

    @cached_property
    def _judged(self) -> tuple[list[PolicyRule], list[tuple[Place, Place]], list[tuple[Place, Place]]]:
        """The rules that decide, in the order of the text; the pairs that may, and those that may not."""
        found: dict[int, PolicyRule] = {}
        open_: list[tuple[Place, Place]] = []
        shut: list[tuple[Place, Place]] = []
        for one in self._source.places:
            for other in self._destination.places:
                if _same(one, other):
                    continue
                rules = [i for i, rule in enumerate(self._rules) if all(self._fit(rule, one, other))]
                found |= {i: self._rules[i] for i in rules}
                (open_ if rules else shut).append((one, other))
        return [found[i] for i in sorted(found)], open_, shut

    @property
    def _within(self) -> bool:
        """Whether all of it happens within one machine."""
        _, open_, shut = self._judged
        return not (open_ or shut) and bool(self._source.places and self._destination.places)

    @property
    def _rules(self) -> Sequence[PolicyRule]:
        return self._world.policy.rules

    def _fit(self, rule: PolicyRule, one: Place, other: Place) -> Fit:
        """What was not asked for fits."""
        start, end = _ends(one, other)
        flow = Flow(self.protocol or 0, self.port or 0, start, end)
        fits = fit(rule, one.party, other.party, flow)
        return fits._replace(protocol=fits.protocol or self.protocol is None, port=fits.port or self.port is None)

    def _summary(self, rules: Sequence[PolicyRule]) -> str:
        _, open_, shut = self._judged
        who, where = self._source.text, self._destination.text
        what = self._traffic(" on ")
        if open_ and shut:
            return f"partly: {len(open_)} of {len(open_) + len(shut)} pairs of {who} and {where} are allowed{what}"
        if self._within:
            return f"allowed: {who} and {where} are one machine, within which no policy holds"
        if not open_:
            return f"denied: no rule lets {who} reach {where}{what}"
        if self._unset:
            return f"allowed: {self._unset}"
        by = f"the rule at line {rules[0].line}" if rules[0].line else "a rule"
        return f"allowed: {who} may reach {where}{what or self._opened(rules)}, by {by}"

    def _opened(self, rules: Sequence[PolicyRule]) -> str:
        """What rules let in where anything was asked for; empty where they let in anything."""
        ports: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for rule in rules:
            if not (rule.protocols or rule.ports):
                return ""
            ports[rule.protocols] += rule.ports or ((0, 65535),)
        return " on " + "; ".join(opened_text(protocols, pairs) for protocols, pairs in ports.items())

    def _traffic(self, before: str = "") -> str:
        words = [protocol_text(self.protocol)] if self.protocol is not None else []
        words += [f"port {self.port}"] if self.port is not None else []
        return before + " ".join(words) if words else ""

    def _reasons(self) -> Iterator[str]:
        """Why not, where no rule comes near, or where one holds for the other direction."""
        _, _, shut = self._judged
        if not shut:
            return
        if self._unset:
            yield self._unset
        one, other = shut[0]
        fits = [self._fit(rule, one, other) for rule in self._rules]
        if not any(each.source for each in fits):
            yield f"no rule has {one.name} as a source; it is {_known(one.party)}"
        if not any(each.destination for each in fits):
            yield f"no rule leads to {other.name}; it is {_known(other.party)}"
        back = next((rule for rule in self._rules if all(self._fit(rule, other, one))), None)
        if back is not None:
            yield f"{other.name} may reach {one.name} (line {back.line}): answers pass, new connections do not"

    def _misses(self) -> list[tuple[PolicyRule, str]]:
        """Rules of which one condition alone is not met, those for another port first."""
        _, _, shut = self._judged
        if not shut:
            return []
        near: dict[tuple[int, Fit], list[PolicyRule]] = defaultdict(list)
        for rule in self._rules:
            fits = self._fit(rule, *shut[0])
            if sum(fits) == len(fits) - 1:
                rank = len(fits) if rule.own and not fits.destination else fits[::-1].index(False)
                near[rank, fits].append(rule)
        ranked = [(fits, rule) for (_, fits), rules in sorted(near.items()) for rule in together(rules)]
        return [(rule, self._why(rule, fits, *shut[0])) for fits, rule in ranked[:MAX_MISSES]]

    def _why(self, rule: PolicyRule, fits: Fit, one: Place, other: Place) -> str:
        if not fits.port:
            return f"port {listed(map(port_text, rule.ports))} is allowed, not {self.port or 'traffic without ports'}"
        if not fits.protocol:
            return f"{listed(map(protocol_text, rule.protocols))} is allowed, not {protocol_text(self.protocol)}"
        if not fits.source:
            sources = listed(rule.sources + rule.source_prefixes)
            return f"allows {sources} only; {one.name} is {_known(one.party)}"
        if rule.own:
            return f"leads to one user's own untagged nodes only; {other.name} is none of {one.name}'s"
        there = listed(rule.destinations + rule.destination_prefixes)
        return f"leads to {there} only; {other.name} is {_known(other.party)}"

    def _rule(self, rule: PolicyRule) -> dict[str, Any]:
        return {
            "line": rule.line,
            "column": rule.column,
            "text": excerpt(self._world.source, rule.line, rule.column),
            "protocols": [protocol_text(number) for number in rule.protocols],
            "ports": [port_text(ports) for ports in rule.ports],
        }


def _same(one: Place, other: Place) -> bool:
    """Whether both are one machine."""
    return one.party == other.party and one.address == other.address and bool(one.party.bearer.addresses)


def _known(party: Party) -> str:
    """As whom policies may know it: its tags, or its user, and what else rules say that it is."""
    bearer, said = party.bearer, party.selectors - {EVERYONE}
    owner = (bearer.owner.email, bearer.owner.name)
    own = bearer.tags or (() if said.intersection(owner) else (owner[0] or owner[1],))
    return listed(sorted(said.union(own) - {""})) or "known by its address alone"


def _protocol(text: str, port: int | None) -> int | None:
    if not text:
        return None if port is None else NUMBERS["tcp"]
    number = NUMBERS.get(text.lower(), int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 256)
    if number > 255:
        raise Refused(f"{text[:20]!r} is no protocol: give {', '.join(NUMBERS)} or a number up to 255", "usage")
    if port is not None and number not in _WITH_PORTS:
        raise Refused(f"{text} has no ports: leave :{port} out", "usage")
    return number


def _ends(one: Place, other: Place) -> tuple[Address | None, Address | None]:
    """The addresses of a packet: those asked for, else both nodes' own of one family."""
    version = next((place.address.version for place in (other, one) if place.address is not None), 0)
    start = one.address or _own(one, version)
    return start, other.address or _own(other, start.version if start else version)


def _own(place: Place, version: int) -> Address | None:
    """Own address of that family, the first where none is wanted or none is there."""
    addresses = place.party.bearer.addresses
    return next((each for each in addresses if each.version == version), addresses[0] if addresses else None)


def _said(whom: Meant) -> dict[str, Any]:
    return {"text": whom.text, "nodes": [place.name for place in whom.places[:MAX_PAIRS]], "total": whom.total}
