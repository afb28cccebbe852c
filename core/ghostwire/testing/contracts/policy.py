"""What every policy engine must do: the same rules and selectors for the same policy, and an error for a wrong one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

from ghostwire.capabilities.policy import EVERYONE, Bearer, CompiledPolicy, Person, PolicyEngine, PolicyRule
from ghostwire.errors import Finding, PolicyError
from ghostwire.testing.contracts.base import Contract, refused, rule

NONSENSE = ("\0", "{", "]" * 1000, "[" * 100_000, "\ud800", "x" * 1_000_000, "'" * 999, "\n" * 10_000 + "{")
NODES = 20
TIME = 5.0
"""Seconds that any call may take; ``selectors`` is called for each node of the mesh."""

PEOPLE = (Person("user1"), Person("user2", "https://issuer.example", "user2@example.com"))
_TAGS = ((), ("tag:web",), ("tag:web", "tag:router"))
_ROUTES = ((), ("10.1.0.0/16", "fd01::/64"), ("0.0.0.0/0", "::/0"))


def bearers() -> list[Bearer]:
    """Nodes of two users, tagged and untagged, some with routes."""
    return [_bearer(number) for number in range(1, NODES)]


def _bearer(number: int) -> Bearer:
    return Bearer(
        addresses=(ip_address(f"100.64.0.{number}"), ip_address(f"fd00::{number:x}")),
        owner=PEOPLE[number % 2],
        tags=_TAGS[number % 3],
        routes=tuple(ip_network(route) for route in _ROUTES[number // 3 % 3]),
    )


class PolicyContract(Contract):
    """Subclass it as ``Test...``, implement `make`, and give ``good`` (two or more policies) and ``wrong``."""

    good: Sequence[str] = ("",)
    """Policies that compile, as different from each other as can be."""
    wrong = ""
    """A policy with a mistake; the rule about it is skipped where it is empty."""

    async def make(self) -> PolicyEngine:
        """The engine, which has compiled nothing yet."""
        raise NotImplementedError

    def answers(self, policy: CompiledPolicy) -> list[tuple[object, ...]]:
        """All that a policy says of a few nodes."""
        return [
            (
                tuple(policy.selectors(node)),
                [tuple(policy.route_selectors(node, route)) for route in node.routes],
                [policy.approves(node, route) for route in node.routes],
                tuple(policy.attributes(node)),
            )
            for node in bearers()
        ]

    def check(self, compiled: CompiledPolicy) -> None:
        """Rules that core can use."""
        assert isinstance(compiled, CompiledPolicy), f"compile() gave a {type(compiled).__name__}, no CompiledPolicy"
        for each in compiled.rules:
            self.check_rule(each)
        for finding in compiled.warnings:
            assert isinstance(finding, Finding), f"warnings are Findings, not {finding!r}"

    def check_rule(self, each: PolicyRule) -> None:
        """One of them."""
        assert isinstance(each, PolicyRule), f"rules are PolicyRules, not {each!r}"
        for selector in named(each):
            assert isinstance(selector, str), f"a selector is a text, not {selector!r}"
            assert selector, "a selector is no empty text"
        for prefix in (*each.source_prefixes, *each.destination_prefixes):
            assert _is_prefix(prefix), f"{prefix!r} is no prefix as in '10.1.0.0/16', with no bit set behind its length"
        assert each.sources or each.source_prefixes, f"a rule has no sources: {each}"
        assert not each.own or not each.destinations, f"a rule of own nodes has destinations as well: {each}"
        assert each.own or each.destinations or each.destination_prefixes, f"a rule has no destinations: {each}"
        assert all(0 <= number <= 255 for number in each.protocols), f"protocols are 0 to 255, not {each.protocols}"
        for first, last in each.ports:
            assert 0 <= first <= last <= 65_535, f"ports {first} to {last} are no range of ports"

    def refuses_or_compiles(self, engine: PolicyEngine, source: str) -> None:
        """Either is right for nonsense; any other error is not."""
        try:
            compiled = engine.compile(source)
        except PolicyError as error:
            for finding in error.findings:
                self.check_finding(finding)
        except Exception as error:
            raise AssertionError(f"compile({source[:10]!r}...) raised {error!r} instead of PolicyError") from error
        else:
            self.check(compiled)

    def check_finding(self, finding: Finding) -> None:
        """One line, and a place that exists."""
        assert isinstance(finding, Finding), f"findings are Findings, not {finding!r}"
        assert finding.message.strip(), "a finding says nothing"
        assert finding.message.isprintable(), f"a finding is one line that can be printed, not {finding.message!r}"
        assert finding.line >= 0, f"a finding's line counts from 1: {finding!r}"
        assert finding.column >= 0, f"a finding's column counts from 1: {finding!r}"

    @rule
    async def test_it_has_a_name(self) -> None:
        """Stored policies are marked with it."""
        engine = await self.make()
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", engine.name), f"{engine.name!r} is not a provider's name"

    @rule
    async def test_a_policy_becomes_rules_between_selectors(self) -> None:
        """With prefixes, protocols and ports that a node's filter can use."""
        engine = await self.make()
        for source in self.good:
            self.check(engine.compile(source))

    @rule
    async def test_nodes_carry_selectors_that_rules_name_each_once(self) -> None:
        """Others would cost every server and node for nothing; ``*`` is carried by all."""
        engine = await self.make()
        for source in self.good:
            policy = engine.compile(source)
            known = {EVERYONE, *(selector for each in policy.rules for selector in named(each))}
            everyone = any(EVERYONE in named(each) for each in policy.rules)
            for node in bearers():
                held = list(policy.selectors(node))
                assert len(set(held)) == len(held), f"a node carries a selector twice: {held}"
                assert set(held) <= known, f"no rule names {sorted(set(held) - known)}, which a node carries"
                assert not everyone or EVERYONE in held, f"a node does not carry {EVERYONE!r}, which a rule names"

    @rule
    async def test_a_route_carries_nothing_that_its_node_does_not(self) -> None:
        """Else somebody is told of a route to a node that he may not see."""
        engine = await self.make()
        for source in self.good:
            policy = engine.compile(source)
            for node in bearers():
                for route in node.routes:
                    held = list(policy.route_selectors(node, route))
                    more = set(held) - set(policy.selectors(node)) - {EVERYONE}
                    assert not more, f"a route carries {sorted(more)}, but its node does not"
                    assert len(set(held)) == len(held), f"a route carries a selector twice: {held}"

    @rule
    async def test_the_same_policy_gives_the_same_answer(self) -> None:
        """Else a restart, or another server, would tell every node new rules."""
        engine, other = await self.make(), await self.make()
        for source in self.good:
            first, second, third = engine.compile(source), engine.compile(source), other.compile(source)
            assert list(first.rules) == list(second.rules), "the same policy has other rules the second time"
            assert list(first.rules) == list(third.rules), "another engine makes other rules of the same policy"
            answer = self.answers(first)
            assert self.answers(first) == answer, "a policy answers otherwise when it is asked again"
            assert self.answers(second) == answer, "the same policy answers otherwise the second time"
            assert self.answers(third) == answer, "another engine's policy answers otherwise"

    @rule
    async def test_a_policy_stays_as_it_is_when_others_are_compiled(self) -> None:
        """One that is only checked must not change the one in force."""
        engine = await self.make()
        before = []
        for source in self.good:
            policy = engine.compile(source)
            before.append((policy, list(policy.rules), self.answers(policy)))
        for source in (*self.good, self.wrong):
            self.refuses_or_compiles(engine, source)
        for policy, rules, answers in before:
            assert list(policy.rules) == rules, "a policy has other rules after others were compiled"
            assert self.answers(policy) == answers, "a policy answers otherwise after others were compiled"

    @rule
    async def test_what_it_says_of_routes_and_tags_is_yes_or_no(self) -> None:
        """And features are texts."""
        engine = await self.make()
        for source in self.good:
            policy = engine.compile(source)
            for node in bearers():
                says = [policy.approves(node, route) for route in node.routes]
                says += [policy.may_tag(node.owner, tag) for tag in ("tag:web", "tag:nobody", "")]
                assert all(isinstance(each, bool) for each in says), f"approves and may_tag say True or False: {says}"
                features = policy.attributes(node)
                assert all(isinstance(each, str) for each in features), f"attributes are texts, not {features!r}"

    @rule
    async def test_its_own_tests_run_in_any_mesh_and_tell_what_fails(self) -> None:
        """In an empty mesh, too, and before the policy is in force."""
        engine = await self.make()
        for source in self.good:
            policy = engine.compile(source)
            for people, nodes in (((), ()), (PEOPLE, tuple(bearers()))):
                for finding in engine.test(policy, people, nodes):
                    self.check_finding(finding)

    @rule
    async def test_a_wrong_policy_is_an_error_with_its_line(self) -> None:
        """The operator reads all findings, in the order of the text."""
        if not self.wrong:
            import pytest

            pytest.skip("wrong is not given: which policy has a mistake?")
        engine = await self.make()
        with refused(PolicyError, "a wrong policy") as caught:
            engine.compile(self.wrong)
        findings = caught[0].findings
        for finding in findings:
            self.check_finding(finding)
            assert finding.line > 0, f"a finding names no line: {finding!r}"
        places = [finding[:2] for finding in findings]
        assert places == sorted(places), f"the findings are not in the order of the text: {places}"

    @rule
    async def test_nonsense_is_refused_in_one_line_and_in_time(self) -> None:
        """Whatever is pasted into the editor."""
        engine = await self.make()
        for source in NONSENSE:
            began = time.monotonic()
            self.refuses_or_compiles(engine, source)
            took = time.monotonic() - began
            assert took < TIME, f"compile({source[:10]!r}...) took {took:.1f} s"


def named(each: PolicyRule) -> Iterator[str]:
    """All selectors of a rule."""
    for selectors in (each.sources, each.destinations, each.source_holders, each.destination_holders):
        yield from selectors


def _is_prefix(text: str) -> bool:
    try:
        return str(ip_network(text)) == text
    except ValueError:
        return False
