"""The policy engine's contract passes a right engine, and fails for those that break one of its rules."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from ghostwire import Bearer, CompiledPolicy, Person, PolicyEngine, PolicyRule
from ghostwire.capabilities.policy import EVERYONE, Prefix
from ghostwire.errors import Finding, PolicyError
from ghostwire.testing import simulate
from ghostwire.testing.contracts import PolicyContract

from .catching import failure


class LinePolicy(CompiledPolicy):
    def __init__(self, rules: Sequence[PolicyRule]) -> None:
        self.rules = rules
        self.known = {word for rule in rules for word in (*rule.sources, *rule.destinations)}

    def selectors(self, node: Bearer) -> Sequence[str]:
        return [word for word in (EVERYONE, node.owner.name) if word == EVERYONE or word in self.known]


class Lines(PolicyEngine):
    """A right one: each line is ``USER -> USER``, ``*`` is everybody."""

    name = "lines"
    policy: type[LinePolicy] = LinePolicy

    def compile(self, source: str) -> CompiledPolicy:
        pairs = [self.parse(number, line) for number, line in enumerate(source.splitlines(), 1)]
        return self.policy([self.rule(number, *pair) for number, pair in enumerate(pairs, 1)])

    def parse(self, number: int, line: str) -> tuple[str, str]:
        words = line.split()
        if len(words) != 3 or words[1] != "->":
            raise PolicyError([Finding(number, 1, "expected USER -> USER")])
        return words[0], words[2]

    def rule(self, number: int, source: str, target: str) -> PolicyRule:
        return PolicyRule(sources=(source,), destinations=(target,), line=number)


class Rules(PolicyContract):
    run = staticmethod(simulate)
    kind: type[Lines] = Lines
    good = ("user1 -> user2", "user2 -> *\nuser3 -> user1", "")
    wrong = "user1 -> user2\nuser1 user2"

    async def make(self) -> PolicyEngine:
        return self.kind()


class _Nameless(Lines):
    name = ""


class _HasNoDestinations(Lines):
    def rule(self, number: int, source: str, target: str) -> PolicyRule:
        return PolicyRule(sources=(source,))


class _HasBitsBehindAPrefix(Lines):
    def rule(self, number: int, source: str, target: str) -> PolicyRule:
        return PolicyRule(sources=(source,), destination_prefixes=("10.1.2.3/8",))


class _ForgetsEveryone(Lines):
    class policy(LinePolicy):
        def selectors(self, node: Bearer) -> Sequence[str]:
            return [word for word in super().selectors(node) if word != EVERYONE]


class _CarriesWhatNoRuleNames(Lines):
    class policy(LinePolicy):
        def selectors(self, node: Bearer) -> Sequence[str]:
            return [EVERYONE, node.owner.name, "more"]


class _ShowsRoutesToOthers(Lines):
    class policy(LinePolicy):
        def route_selectors(self, node: Bearer, route: Prefix) -> Sequence[str]:
            return (EVERYONE, "user9")


class _Throws(Lines):
    def rule(self, number: int, source: str, target: str) -> PolicyRule:
        return PolicyRule(sources=(source,), destinations=(target,), ports=((1, random.randint(1, 60_000)),))


class _Remembers(Lines):
    """Its policies all know what the last one named."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def compile(self, source: str) -> CompiledPolicy:
        policy = super().compile(source)
        assert isinstance(policy, LinePolicy)
        self.known.clear()
        self.known |= policy.known
        policy.known = self.known
        return policy


class _Hesitates(Lines):
    class policy(LinePolicy):
        def may_tag(self, user: Person, tag: str) -> Any:
            return None


class _ChokesOnItsTests(Lines):
    def test(self, policy: CompiledPolicy, people: Sequence[Person], nodes: Sequence[Bearer]) -> Sequence[Finding]:
        return [Finding(1, 1, f"{people[0].name} is tested first")]


class _Mutters(Lines):
    def parse(self, number: int, line: str) -> tuple[str, str]:
        try:
            return super().parse(number, line)
        except PolicyError:
            raise PolicyError([Finding(0, 0, "wrong")]) from None


class _Trips(Lines):
    def parse(self, number: int, line: str) -> tuple[str, str]:
        source, _, target = line.split()
        return source, target


BREAKERS = [
    (_Nameless, "it_has_a_name"),
    (_HasNoDestinations, "a_policy_becomes_rules_between_selectors"),
    (_HasBitsBehindAPrefix, "a_policy_becomes_rules_between_selectors"),
    (_ForgetsEveryone, "nodes_carry_selectors_that_rules_name_each_once"),
    (_CarriesWhatNoRuleNames, "nodes_carry_selectors_that_rules_name_each_once"),
    (_ShowsRoutesToOthers, "a_route_carries_nothing_that_its_node_does_not"),
    (_Throws, "the_same_policy_gives_the_same_answer"),
    (_Remembers, "a_policy_stays_as_it_is_when_others_are_compiled"),
    (_Hesitates, "what_it_says_of_routes_and_tags_is_yes_or_no"),
    (_ChokesOnItsTests, "its_own_tests_run_in_any_mesh_and_tell_what_fails"),
    (_Mutters, "a_wrong_policy_is_an_error_with_its_line"),
    (_Trips, "nonsense_is_refused_in_one_line_and_in_time"),
]


@pytest.mark.parametrize(("kind", "rule_name"), BREAKERS)
def test_a_broken_one_is_caught(kind: type[Any], rule_name: str) -> None:
    assert failure(Rules, kind, rule_name)


@pytest.mark.parametrize("rule_name", Rules.rules())
def test_a_right_one_is_not(rule_name: str) -> None:
    assert failure(Rules, Rules.kind, rule_name) == ""


def test_every_rule_has_a_breaker() -> None:
    assert {rule_name for _, rule_name in BREAKERS} == set(Rules.rules())
